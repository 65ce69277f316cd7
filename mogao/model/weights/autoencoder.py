"""Autoencoders of SDXL, SD3 and FLUX: folders of diffusers, and the files of FLUX's own code.

In: their settings and weights. Out: our autoencoder config, and rules whose weights are those of
`diffusers.AutoencoderKL`, as they lie in `vae/`. Sources: `autoencoder_kl.py` and
`loaders/single_file_utils.py` of diffusers; `src/flux/modules/autoencoder.py` and
`src/flux/util.py` of the FLUX repository.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from mogao.config import AutoencoderConfig, parse
from mogao.errors import CheckpointError, ConfigError
from mogao.model.weights.rules import STACKED, Family, Foreign, Rearranged, Rule, Settings

CONFIG = "config.json"
DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
DEFAULTS: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "down_block_types": [DOWN], "up_block_types": [UP],
    "block_out_channels": [64], "layers_per_block": 1, "act_fn": "silu", "latent_channels": 4,
    "norm_num_groups": 32, "scaling_factor": 0.18215, "shift_factor": None, "latents_mean": None,
    "latents_std": None, "use_quant_conv": True, "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}  # fmt: skip
"""What a key means that a published `config.json` leaves out."""
LIBRARY_KEYS = ("force_upcast", "sample_size")
"""Keys that change nothing here: a warning of float16, and the size of the library's own tiles."""
MAX_FOLD = 8
"""Largest space-to-depth."""
SAMPLE_PIXELS = 1024
"""`sample_size` of SDXL, SD3 and FLUX."""
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names that diffusers gave before version 0.15, and gives today."""

FLUX_SETTINGS = "ae.json"
FLUX_DEFAULTS: dict[str, Any] = {
    "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2,
    "z_channels": 16, "scale_factor": 0.3611, "shift_factor": 0.1159,
}  # fmt: skip
"""Parameters of FLUX.1: its file comes without settings."""
FLUX_GROUPS = 32
FLUX_NAMES = (
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
    (r"mid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1."),
    (r"mid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
    (r"(down|up)_blocks\.(\d+)\.resnets\.", r"\1.\2.block."),
    (r"(down|up)_blocks\.(\d+)\.(down|up)samplers\.0\.", r"\1.\2.\3sample."),
    (r"conv_shortcut\.", "nin_shortcut."),
    (r"conv_norm_out\.", "norm_out."),
)


def library_settings(config: AutoencoderConfig) -> dict[str, Any]:
    """Return the settings of `diffusers.AutoencoderKL`; numbers left open are 1 and 0."""
    stages = len(config.block_channels)
    pixel_channels = 3 * config.space_to_depth**2
    return {
        "in_channels": pixel_channels,
        "out_channels": pixel_channels,
        "down_block_types": [DOWN] * stages,
        "up_block_types": [UP] * stages,
        "block_out_channels": list(config.block_channels),
        "layers_per_block": config.layers_per_block,
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.norm_groups,
        "mid_block_add_attention": config.mid_attention,
        "use_quant_conv": config.quant_convs,
        "use_post_quant_conv": config.quant_convs,
        "scaling_factor": 1.0 if config.scaling_factor is None else config.scaling_factor,
        "shift_factor": config.shift_factor or 0.0,
    }


def read_library(values: Mapping[str, Any], *, where: str) -> AutoencoderConfig:
    """Return the autoencoder that a `config.json` of diffusers describes.

    The pixel channels tell the space-to-depth.

    Raises:
        CheckpointError: It has something that the autoencoder cannot express; each is named.
    """
    values = DEFAULTS | dict(values)
    found = [*_inexpressible(values)]
    if found:
        raise CheckpointError(
            f"{where} is no AutoencoderKL that can be taken over: " + "; ".join(found)
        )
    data = {
        "space_to_depth": math.isqrt(values["in_channels"] // 3),
        "block_channels": values["block_out_channels"],
        "layers_per_block": values["layers_per_block"],
        "latent_channels": values["latent_channels"],
        "norm_groups": values["norm_num_groups"],
        "mid_attention": values["mid_block_add_attention"],
        "quant_convs": values["use_quant_conv"],
        "scaling_factor": values["scaling_factor"],
        "shift_factor": 0.0 if values["shift_factor"] is None else values["shift_factor"],
    }
    return _parse(data, where)


def current_name(name: str) -> str:
    """Return what diffusers calls a weight today; old folders name the attention otherwise."""
    pattern = rf"(?<=\.attentions\.0\.)({'|'.join(OLD_ATTENTION)})(?=\.)"
    return re.sub(pattern, lambda match: OLD_ATTENTION[match[0]], name)


def _inexpressible(values: Mapping[str, Any]) -> Iterator[str]:
    stages = values["block_out_channels"]
    if not isinstance(stages, list | tuple):
        yield f"block_out_channels is {stages!r}, not a list"
        return
    channels = values["in_channels"]
    if channels not in [3 * fold**2 for fold in range(1, MAX_FOLD + 1)]:
        yield f"in_channels is {channels!r}, not 3 x a square number up to {MAX_FOLD**2}"
    expected = {
        "_class_name": "AutoencoderKL", "out_channels": channels, "act_fn": "silu",
        "down_block_types": [DOWN] * len(stages), "up_block_types": [UP] * len(stages),
        "use_post_quant_conv": values["use_quant_conv"], "latents_mean": None, "latents_std": None,
    }  # fmt: skip
    for name, value in expected.items():
        got = values.get(name, value)
        got = list(got) if isinstance(got, tuple) else got
        if got != value:
            yield f"{name} is {got!r}, but only {value!r} is known"


def _parse(data: dict[str, Any], where: str) -> AutoencoderConfig:
    try:
        return parse(AutoencoderConfig, data, where=where)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _read_folder(settings: Settings) -> AutoencoderConfig:
    if CONFIG not in settings:
        raise CheckpointError(f"a folder of AutoencoderKL needs {CONFIG}")
    return read_library(settings[CONFIG], where=CONFIG)


def _write_folder(config: AutoencoderConfig) -> dict[str, dict[str, Any]]:
    extra = {"_class_name": "AutoencoderKL", "sample_size": SAMPLE_PIXELS}
    return {CONFIG: extra | library_settings(config)}


def _read_flux(settings: Settings) -> AutoencoderConfig:
    values = FLUX_DEFAULTS | dict(settings.get(FLUX_SETTINGS, {}))
    try:
        widths = [values["ch"] * factor for factor in values["ch_mult"]]
    except TypeError:
        raise CheckpointError(
            f"{FLUX_SETTINGS}: ch {values['ch']!r} must be a number, ch_mult "
            f"{values['ch_mult']!r} a list of numbers"
        ) from None
    if values["in_channels"] != 3 or values["out_ch"] != 3:
        raise CheckpointError(f"{FLUX_SETTINGS}: in_channels and out_ch must be 3")
    data = {
        "space_to_depth": 1,
        "block_channels": widths,
        "layers_per_block": values["num_res_blocks"],
        "latent_channels": values["z_channels"],
        "norm_groups": FLUX_GROUPS,
        "mid_attention": True,
        "scaling_factor": values["scale_factor"],
        "shift_factor": values["shift_factor"],
    }
    return _parse(data, FLUX_SETTINGS)


def _write_flux(config: AutoencoderConfig) -> dict[str, dict[str, Any]]:
    width = config.block_channels[0]
    settings = {
        "in_channels": 3,
        "out_ch": 3,
        "ch": width,
        "ch_mult": [channels // width for channels in config.block_channels],
        "num_res_blocks": config.layers_per_block,
        "z_channels": config.latent_channels,
        "scale_factor": 1.0 if config.scaling_factor is None else config.scaling_factor,
        "shift_factor": config.shift_factor or 0.0,
    }
    # FLUX's own parameters stand in its code, so its folder has no settings.
    written = {} if settings == FLUX_DEFAULTS else {FLUX_SETTINGS: settings}
    if not config.admits(_read_flux(written)):
        raise CheckpointError(
            "FLUX's own code cannot express this autoencoder: it needs space_to_depth 1, "
            f"norm_groups {FLUX_GROUPS}, mid_attention, no quant_convs, and widths that are "
            f"multiples of the first one; got {config.model_dump()}"
        )
    return written


def _flux_name(name: str, *, last: int) -> str:
    """Return FLUX's name of a weight; it counts the stages of the decoder from the other end."""
    for pattern, replacement in FLUX_NAMES:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"(?<=decoder\.up\.)\d+", lambda match: str(last - int(match[0])), name)


def _old_name(name: str) -> str:
    for old, current in OLD_ATTENTION.items():
        name = name.replace(f".attentions.0.{current}.", f".attentions.0.{old}.")
    return name


def _shapes(config: AutoencoderConfig) -> dict[str, tuple[int, ...]]:
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        network: Any = AutoencoderKL(**library_settings(config))
    return {name: tuple(weight.shape) for name, weight in network.state_dict().items()}


def _rules(config: AutoencoderConfig, *, rename: Callable[[str], str]) -> tuple[Rule, ...]:
    shapes = _shapes(config)
    return tuple(Rule(name, (Foreign(rename(name), shapes[name]),)) for name in shapes)


def _flux_rules(config: AutoencoderConfig) -> tuple[Rule, ...]:
    rules = []
    for name, shape in _shapes(config).items():
        # FLUX has convolutions of one pixel where diffusers has linear maps.
        is_map = ".attentions." in name and len(shape) == 2
        form = Rearranged("o i 1 1", "o i") if is_map else STACKED
        foreign = _flux_name(name, last=len(config.block_channels) - 1)
        rules.append(Rule(name, (Foreign(foreign, (*shape, 1, 1) if is_map else shape),), form))
    return tuple(rules)


AUTOENCODER_KL = Family(
    "autoencoder_kl", "vae", _read_folder, _write_folder, partial(_rules, rename=str)
)
"""A folder of diffusers: SDXL, SD3, FLUX, and our own `vae/`."""
AUTOENCODER_KL_OLD = Family(
    "autoencoder_kl_old", "vae", _read_folder, _write_folder, partial(_rules, rename=_old_name)
)
"""The same with the attention names of its first versions (SD 1 and 2)."""
FLUX_AE = Family("flux_ae", "vae", _read_flux, _write_flux, _flux_rules)
"""`ae.safetensors` of FLUX.1 and BAGEL; other shapes need an `ae.json` with FLUX's parameters."""
