"""Siglip and Siglip2 vision towers: the understanding encoders that people already have.

In: folders of transformers, of a whole model or of a tower alone. Out: our vision config, and rules
whose weights are those of `transformers.Siglip2VisionModel`, as they lie in `vision/`. Siglip2 at a
fixed resolution has the classes and files of Siglip. Source of names and shapes:
`modeling_siglip.py` and `modeling_siglip2.py` of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mogao.config import VisionConfig, parse
from mogao.errors import CheckpointError, ConfigError
from mogao.model.weights.rules import STACKED, Family, Foreign, Form, Rearranged, Rule, Settings

CONFIG = "config.json"
# Heads and towers that give no features of patches, and a buffer of old files.
IGNORED = (
    r"(vision_model\.)?head\..*",
    r"(vision_model\.)?embeddings\.position_ids",
    r"text_model\..*",
    r"logit_(scale|bias)",
)
FIXED = {"hidden_act": "gelu_pytorch_tanh", "num_channels": 3, "attention_dropout": 0.0}
"""What the encoder has no setting for, because every published tower agrees."""
NUMBERS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
           "layer_norm_eps", "patch_size")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traits:
    """In what one layout of files differs from another.

    Attributes:
        name: Of the family.
        model_type: Of a whole model in `config.json`; its tower appends "_vision_model".
        prefix: Before every name: that of the tower inside a whole model, or nothing.
    """

    name: str
    model_type: str
    prefix: str

    @property
    def is_first(self) -> bool:
        """Whether patches are a convolution and positions are counted by `image_size`."""
        return self.model_type == "siglip"


def tower_settings(config: VisionConfig) -> dict[str, Any]:
    """Return `vision/config.json`, whose keys are the settings of `Siglip2VisionConfig`.

    The library keeps `mogao_positions`, which it does not know, and does without it.
    """
    own = {} if config.positions == "resample" else {"mogao_positions": config.positions}
    return _shared_settings(config) | {"num_patches": config.num_positions} | own


def read_tower(values: Mapping[str, Any], *, traits: Traits, where: str) -> VisionConfig:
    """Return the encoder that a `config.json` describes; keys that it leaves out are the library's.

    Raises:
        CheckpointError: It is another family, or has something that the encoder cannot express;
            each is named.
    """
    vision = values.get("vision_config", values)
    if not isinstance(vision, Mapping):
        raise CheckpointError(f"{where}: vision_config must be an object, got {vision!r:.80}")
    vision = _defaults(traits) | dict(vision)
    found = [*_inexpressible(vision, traits)]
    if found:
        raise CheckpointError(f"{where} cannot be taken as {traits.name}: " + "; ".join(found))
    if traits.is_first:
        positions = (vision["image_size"] // vision["patch_size"]) ** 2
    else:
        positions = vision["num_patches"]
    data = {
        "hidden": vision["hidden_size"],
        "num_layers": vision["num_hidden_layers"],
        "num_heads": vision["num_attention_heads"],
        "ffn_hidden": vision["intermediate_size"],
        "norm_eps": vision["layer_norm_eps"],
        "patch_pixels": vision["patch_size"],
        "num_positions": positions,
        "positions": vision.get("mogao_positions", "resample"),
    }
    try:
        return parse(VisionConfig, data, where=where)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _shared_settings(config: VisionConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn_hidden,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "layer_norm_eps": config.norm_eps,
        "patch_size": config.patch_pixels,
        "vision_use_head": False,
    }


def _defaults(traits: Traits) -> dict[str, Any]:
    """What a key means that a published `config.json` leaves out."""
    from transformers import Siglip2VisionConfig, SiglipVisionConfig

    config: Any = SiglipVisionConfig() if traits.is_first else Siglip2VisionConfig()
    values: dict[str, Any] = config.to_dict()
    return values


def _inexpressible(vision: Mapping[str, Any], traits: Traits) -> Iterator[str]:
    known = (traits.model_type, f"{traits.model_type}_vision_model")
    if vision["model_type"] not in known:
        yield f"model_type is {vision['model_type']!r}, not {' or '.join(known)}"
    for name, value in FIXED.items():
        if vision[name] != value:
            yield f"{name} is {vision[name]!r}, but only {value!r} is known"
    for name in (*NUMBERS, "image_size" if traits.is_first else "num_patches"):
        value = vision[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            yield f"{name} is {value!r}, but must be one number above 0"


def _read(settings: Settings, *, traits: Traits) -> VisionConfig:
    if CONFIG not in settings:
        raise CheckpointError(f"a {traits.name} folder needs {CONFIG}")
    return read_tower(settings[CONFIG], traits=traits, where=CONFIG)


def _write(config: VisionConfig, *, traits: Traits) -> dict[str, dict[str, Any]]:
    """The JSON of a tower alone; its pooling head is gone."""
    if traits.is_first and config.positions == "crop":
        raise CheckpointError(
            "positions that are cut (vision.positions = crop) have no Siglip counterpart; "
            "write the encoder as siglip2"
        )
    side = math.isqrt(config.num_positions) * config.patch_pixels
    kind = {"model_type": f"{traits.model_type}_vision_model"} | FIXED
    if traits.is_first:
        return {CONFIG: kind | _shared_settings(config) | {"image_size": side}}
    return {CONFIG: kind | tower_settings(config)}


def tower_rules(config: VisionConfig, *, traits: Traits) -> tuple[Rule, ...]:
    """Return the rules of a tower: its own names behind the prefix, shapes as the library has."""
    from transformers import Siglip2VisionConfig, Siglip2VisionModel

    with torch.device("meta"):
        tower: Any = Siglip2VisionModel(Siglip2VisionConfig(**tower_settings(config)))
    rules = []
    for name, weight in tower.state_dict().items():
        shape: tuple[int, ...] = tuple(weight.shape)
        form: Form = STACKED
        if traits.is_first and name == "embeddings.patch_embedding.weight":
            side = config.patch_pixels
            shape = (config.hidden, 3, side, side)
            form = Rearranged("o c p q", "o (p q c)", (("p", side), ("q", side)))
        rules.append(Rule(name, (Foreign(traits.prefix + name, shape),), form))
    return tuple(rules)


def _family(traits: Traits) -> Family[VisionConfig]:
    return Family(
        name=traits.name,
        part="vision",
        config=partial(_read, traits=traits),
        settings=partial(_write, traits=traits),
        rules=partial(tower_rules, traits=traits),
        ignored=IGNORED,
    )


SIGLIP2_TRAITS = Traits("siglip2", "siglip2", "vision_model.")
SIGLIP = _family(Traits("siglip", "siglip", "vision_model."))
"""Siglip, and Siglip2 of a fixed resolution, as on the hub."""
SIGLIP_TOWER = _family(Traits("siglip_tower", "siglip", ""))
"""The same, of a tower that version 5 of transformers saved alone."""
SIGLIP2 = _family(SIGLIP2_TRAITS)
"""Siglip2 of any resolution (naflex), as on the hub."""
SIGLIP2_TOWER = _family(Traits("siglip2_tower", "siglip2", ""))
"""The same, of a tower that was saved alone, such as our own `vision/`."""
