"""Shapes that have names: what `mogao plan 7b` plans and what a composed model starts from.

In: a name. Out: a `ModelConfig`. The language parts are those of Qwen2.5, so that its weights fit;
choices that no paper fixes are explained in docs/plan.md.
"""

from __future__ import annotations

from typing import Any

from mogao.config.model import (
    AutoencoderConfig,
    GridTablesConfig,
    IlRopeConfig,
    InputTime,
    LayoutConfig,
    ModelConfig,
    OneDConfig,
    SharedAdaLN,
    TransformerConfig,
    VisibilityConfig,
    VisionConfig,
    VitSizeConfig,
)
from mogao.errors import ConfigError, nearest

MODEL_PRESETS = ("nano", "0.5b", "1.5b", "3b", "7b", "bagel-7b-mot")
"""Every name that `preset` knows."""

_QWEN_SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {"hidden": 896, "num_layers": 24, "num_heads": 14, "ffn_hidden": 4864},
    "1.5b": {"hidden": 1536, "num_layers": 28, "num_heads": 12, "ffn_hidden": 8960},
    "3b": {"hidden": 2048, "num_layers": 36, "num_heads": 16, "ffn_hidden": 11008},
    "7b": {"hidden": 3584, "num_layers": 28, "num_heads": 28, "ffn_hidden": 18944,
           "num_kv_heads": 4, "vocab_size": 152_064, "tied_embeddings": False},
}  # fmt: skip


def preset(name: str) -> ModelConfig:
    """Return the config of a preset.

    Raises:
        ConfigError: There is none of that name; the message names the nearest.
    """
    if name == "nano":
        return ModelConfig(name="nano")  # the defaults are its shape; a test holds them together
    if name == "bagel-7b-mot":
        return _bagel(name)
    if name in MODEL_PRESETS:
        return _mogao(name)
    raise ConfigError(f"no preset {name!r} ({nearest(name, MODEL_PRESETS)})")


def _mogao(name: str) -> ModelConfig:
    """Mogao around a Qwen2.5 model; its picture tokens are two that Qwen's vocabulary has."""
    # Neither branch norms queries and keys: the visual one starts as a copy of the language model.
    own = {
        "qk_norm": {"text": False, "visual": False},
        "positions": IlRopeConfig(text_axes="same"),
        "time": SharedAdaLN(),
    }
    return ModelConfig(
        name=name,
        transformer=_qwen(name, **own),
        vision=_so400m(patch_pixels=16, num_layers=27, num_positions=16 * 16),
        autoencoder=_eightfold(),
    )


def _bagel(name: str) -> ModelConfig:
    """BAGEL-7B-MoT. Source: arXiv 2505.14683 and the configuration in its public code."""
    finished = ("text", "vit", "clean")
    own = {
        "qk_norm": {"text": True, "visual": True},
        "positions": OneDConfig(),
        "time": InputTime(stretch=1.0),
        "grid_tables": GridTablesConfig(vit_side=70, latent_side=64),
        "connector_activation": "gelu_tanh",
        "visibility": VisibilityConfig(
            earlier={"text": finished, "vit": finished, "clean": finished, "noisy": finished},
            own={
                "text": ("text",),
                "vit": ("vit", "clean"),
                "clean": ("clean",),
                "noisy": ("noisy",),
            },
        ),
        "layout": LayoutConfig(
            part_order=("noisy", "clean", "vit"),
            part_step=1,
            boundary="part",
            begin=False,
            text_frame=True,
            vit_size=VitSizeConfig(patch_pixels=14, longest=980, shortest=224),
        ),
    }
    return ModelConfig(
        name=name,
        transformer=_qwen("7b", **own),
        # The last of the encoder's 27 layers is not used.
        vision=_so400m(patch_pixels=14, num_layers=26, num_positions=70 * 70, positions="crop"),
        autoencoder=_eightfold(scaling_factor=0.3611, shift_factor=0.1159),
    )


def _qwen(size: str, **own: Any) -> TransformerConfig:
    """The transformer around a Qwen2.5 model; `own` is what the language model leaves open."""
    shape = {"num_kv_heads": 2, "vocab_size": 151_936, "tied_embeddings": True}
    shape |= _QWEN_SHAPES[size]
    return TransformerConfig(
        **shape,
        **own,
        head_dim=shape["hidden"] // shape["num_heads"],
        ffn="swiglu",
        norm_eps=1e-6,
        qkv_bias=True,
        rope_base=1e6,
        latent_dim=16 * 2**2,
        vision_dim=1152,
    )


def _so400m(**own: Any) -> VisionConfig:
    """The encoder of SigLIP2 so400m; `own` is what its versions differ in.

    Source: arXiv 2502.14786.
    """
    return VisionConfig(hidden=1152, num_heads=16, ffn_hidden=4304, **own)


def _eightfold(**numbers: float) -> AutoencoderConfig:
    """Eight pixels a cell, sixteen channels: the shape of SD3's and FLUX's autoencoders.

    Their scaling and shift differ; without `numbers` those of the weights themselves count.
    """
    return AutoencoderConfig(
        space_to_depth=1,
        block_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        norm_groups=32,
        mid_attention=True,
        **numbers,
    )
