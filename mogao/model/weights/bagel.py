"""BAGEL (arXiv 2505.14683): the open sibling, as a configuration of our transformer.

In: `llm_config.json`, `vit_config.json` and, where it differs from BAGEL-7B-MoT, `config.json` of
its folder; the tensors of `ema.safetensors`. Out: our configs of transformer and understanding
encoder, and their rules, both directions; the autoencoder is `FLUX_AE`. Source of names, shapes and
constants: `modeling/bagel/*.py`, `data/*.py` and `app.py` of its public code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from mogao.config import (
    GenerationConfig,
    GridTablesConfig,
    ImageSamplingConfig,
    LimitsConfig,
    ModelConfig,
    TransformerConfig,
    VisionConfig,
    VitSizeConfig,
)
from mogao.config.presets import preset
from mogao.errors import CheckpointError
from mogao.model.weights.decoder import (
    Traits,
    decoder_rules,
    read_config,
    write_settings,
)
from mogao.model.weights.rules import Family, Foreign, Rule, Settings
from mogao.model.weights.siglip import Traits as TowerTraits
from mogao.model.weights.siglip import read_tower, tower_rules

CONFIG, LLM_CONFIG, VIT_CONFIG = "config.json", "llm_config.json", "vit_config.json"
DECODER = Traits("qwen2", "Qwen2ForCausalLM", qkv_bias=True, qk_norm=True)
TOWER = TowerTraits("bagel_vision", "siglip", "vit_model.vision_model.")
# The tower's file holds its patch embedding as a matrix, as Siglip2 does.
TOWER_WEIGHTS = replace(TOWER, model_type="siglip2")
LAYER_MODULE = "Qwen2MoTDecoderLayer"
PRESET = "bagel-7b-mot"
DROPPED_VIT_LAYERS = 1
"""The features are those before the last layer of `vit_config.json`, which is left out."""
DEFAULTS: dict[str, Any] = {
    "latent_patch_size": 2, "max_latent_size": 64, "vit_max_num_patch_per_side": 70,
    "connector_act": "gelu_pytorch_tanh", "interpolate_pos": False,
    "vae_config": {"z_channels": 16, "downsample": 8},
}  # fmt: skip
"""What `app.py` sets, whatever the folder says; toy models differ."""
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
GENERATION_EXPERT = re.compile(
    r"(self_attn\.\w+|mlp|input_layernorm|post_attention_layernorm|model\.norm)(?=\.)"
)
"""What has a second set of weights, named with `_moe_gen` behind it."""
SHARED = ("positions", "visibility", "time", "qk_norm")
"""Tables of the transformer that are the same at every size; those of the preset."""
PICTURE_PIXELS = 1024
"""Side of its pictures, and of the square that no picture exceeds."""


def bagel_generation(config: ModelConfig) -> GenerationConfig:
    """Return its defaults; what it calls 50 time steps are 49 intervals."""
    most = config.most_side_tokens or 1
    side = min(PICTURE_PIXELS, most * config.token_pixels)
    image = ImageSamplingConfig(num_steps=49, shift=3.0, guidance="bagel", height=side, width=side)
    return GenerationConfig(image=image, limits=LimitsConfig(pixel_budget=side**2))


def bagel_config(settings: Settings) -> TransformerConfig:
    """Return the transformer of a folder.

    Raises:
        CheckpointError: A file is missing, or has something that the core cannot express.
    """
    language = dict(_file(settings, LLM_CONFIG))
    if language.get("layer_module", LAYER_MODULE) != LAYER_MODULE:
        raise CheckpointError(
            f"{LLM_CONFIG}: layer_module is {language['layer_module']!r}, only {LAYER_MODULE} "
            "(experts for text and for generation) is known"
        )
    # Its code sets these two, whatever the file says.
    language |= {"tie_word_embeddings": False, "architectures": [DECODER.architecture]}
    base = read_config({CONFIG: language}, traits=DECODER)
    own, vision = _own(settings), bagel_vision_config(settings)
    longest = own["vit_max_num_patch_per_side"] * vision.patch_pixels
    known = preset(PRESET).transformer
    vit_size = VitSizeConfig(
        patch_pixels=vision.patch_pixels,
        longest=longest,
        shortest=min(longest, VitSizeConfig().shortest),
    )
    return base.model_copy(
        update={name: getattr(known, name) for name in SHARED}
        | {
            "layout": known.layout.model_copy(update={"vit_size": vit_size}),
            "grid_tables": GridTablesConfig(
                vit_side=own["vit_max_num_patch_per_side"], latent_side=own["max_latent_size"]
            ),
            "connector_activation": ACTIVATIONS[own["connector_act"]],
            "latent_dim": own["vae_config"]["z_channels"] * own["latent_patch_size"] ** 2,
            "vision_dim": vision.hidden,
        }
    )


def bagel_settings(config: TransformerConfig) -> dict[str, dict[str, Any]]:
    """Return `llm_config.json` and `config.json`.

    Raises:
        CheckpointError: The transformer is not laid out as BAGEL is.
    """
    tables, patch = config.grid_tables, DEFAULTS["latent_patch_size"]
    known = preset(PRESET).transformer
    layout = known.layout.model_copy(update={"vit_size": config.layout.vit_size})
    differing = [name for name in SHARED if getattr(config, name) != getattr(known, name)]
    differing += [] if config.layout == layout else ["layout"]
    if differing or tables is None or config.latent_dim % patch**2:
        wrong = ", ".join(differing or ["grid_tables or latent_dim"])
        raise CheckpointError(f"bagel cannot express this model: {wrong} must be as in {PRESET}")
    written = write_settings(config, traits=DECODER)[CONFIG]
    language = written | {"qk_norm": True, "layer_module": LAYER_MODULE}
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    own = DEFAULTS | {
        "model_type": "bagel",
        "max_latent_size": tables.latent_side,
        "vit_max_num_patch_per_side": tables.vit_side,
        "connector_act": names[config.connector_activation],
        "vae_config": DEFAULTS["vae_config"] | {"z_channels": config.latent_dim // patch**2},
    }
    return {LLM_CONFIG: language, CONFIG: own}


def bagel_rules(config: TransformerConfig) -> tuple[Rule, ...]:
    """Return the rules of the transformer: two experts, embeddings, heads, tables."""
    rules = [_expert(rule) for rule in decoder_rules(config)]
    hidden, latents, tables = config.hidden, config.latent_dim, config.grid_tables
    assert tables is not None
    table: dict[str, tuple[str, tuple[int, ...]]] = {
        "embedding.time.first.weight": ("time_embedder.mlp.0.weight", (hidden, 256)),
        "embedding.time.first.bias": ("time_embedder.mlp.0.bias", (hidden,)),
        "embedding.time.second.weight": ("time_embedder.mlp.2.weight", (hidden, hidden)),
        "embedding.time.second.bias": ("time_embedder.mlp.2.bias", (hidden,)),
        "embedding.latents.weight": ("vae2llm.weight", (hidden, latents)),
        "embedding.latents.bias": ("vae2llm.bias", (hidden,)),
        "velocity_head.projection.weight": ("llm2vae.weight", (latents, hidden)),
        "velocity_head.projection.bias": ("llm2vae.bias", (latents,)),
        "embedding.connector_in.weight": ("connector.fc1.weight", (hidden, config.vision_dim)),
        "embedding.connector_in.bias": ("connector.fc1.bias", (hidden,)),
        "embedding.connector_out.weight": ("connector.fc2.weight", (hidden, hidden)),
        "embedding.connector_out.bias": ("connector.fc2.bias", (hidden,)),
        "embedding.vit_grid.weight": ("vit_pos_embed.pos_embed", (tables.vit_side**2, hidden)),
        "embedding.latent_grid.weight": (
            "latent_pos_embed.pos_embed", (tables.latent_side**2, hidden)
        ),
    }  # fmt: skip
    rules += [Rule(ours, (Foreign(*theirs),)) for ours, theirs in table.items()]
    return tuple(rules)


def bagel_vision_config(settings: Settings) -> VisionConfig:
    """Return the understanding encoder of a folder.

    Raises:
        CheckpointError: A file is missing, or has something that the encoder cannot express.
    """
    values = {"model_type": TOWER.model_type} | dict(_file(settings, VIT_CONFIG))
    tower = read_tower(values, traits=TOWER, where=VIT_CONFIG)
    if tower.num_layers <= DROPPED_VIT_LAYERS:
        raise CheckpointError(f"{VIT_CONFIG}: num_hidden_layers must be at least 2: one is dropped")
    changes = {"num_layers": tower.num_layers - DROPPED_VIT_LAYERS, "positions": "crop"}
    return tower.model_copy(update=changes)


def bagel_vision_settings(config: VisionConfig) -> dict[str, dict[str, Any]]:
    """Return `vit_config.json`.

    Raises:
        CheckpointError: The encoder resamples its positions, which BAGEL does not.
    """
    if config.positions != "crop":
        raise CheckpointError("bagel cannot express vision.positions: resample")
    return {
        VIT_CONFIG: {
            "model_type": f"{TOWER.model_type}_vision_model",
            "hidden_size": config.hidden,
            "intermediate_size": config.ffn_hidden,
            "num_hidden_layers": config.num_layers + DROPPED_VIT_LAYERS,
            "num_attention_heads": config.num_heads,
            "layer_norm_eps": config.norm_eps,
            "patch_size": config.patch_pixels,
            "image_size": math.isqrt(config.num_positions) * config.patch_pixels,
        }
    }


def _expert(rule: Rule) -> Rule:
    """A rule of a language model as one of its two experts; here the second is no copy."""
    names = [one.name for one in rule.theirs]
    if rule.is_copy:
        names = [GENERATION_EXPERT.sub(r"\1_moe_gen", name, count=1) for name in names]
    theirs = tuple(
        Foreign(f"language_model.{name}", one.shape)
        for name, one in zip(names, rule.theirs, strict=True)
    )
    return replace(rule, theirs=theirs, is_copy=False)


def _file(settings: Settings, name: str) -> Mapping[str, Any]:
    if name not in settings:
        raise CheckpointError(f"a BAGEL folder needs {name}")
    return settings[name]


def _own(settings: Settings) -> dict[str, Any]:
    """What BAGEL itself sets, from `config.json` where there is one."""
    found = settings.get(CONFIG, {})
    values = DEFAULTS | {name: found[name] for name in DEFAULTS if name in found}
    values["vae_config"] = DEFAULTS["vae_config"] | dict(values["vae_config"] or {})
    fixed = ("latent_patch_size", "interpolate_pos")
    wrong = [name for name in fixed if values[name] != DEFAULTS[name]]
    if values["connector_act"] not in ACTIVATIONS:
        wrong.append("connector_act")
    if wrong:
        raise CheckpointError(
            f"{CONFIG}: {', '.join(f'{name} = {values[name]!r}' for name in wrong)} is not known"
        )
    return values


BAGEL = Family("bagel", "transformer", bagel_config, bagel_settings, bagel_rules)
BAGEL_VISION = Family(
    "bagel_vision",
    "vision",
    bagel_vision_config,
    bagel_vision_settings,
    partial(tower_rules, traits=TOWER_WEIGHTS),
)
