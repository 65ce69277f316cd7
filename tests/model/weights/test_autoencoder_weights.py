"""Autoencoders of diffusers and FLUX: names, shapes and settings, there and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from torch import Tensor

from mogao.config import AutoencoderConfig
from mogao.errors import CheckpointError
from mogao.model.vae import Autoencoder
from mogao.model.weights.autoencoder import (
    AUTOENCODER_KL,
    AUTOENCODER_KL_OLD,
    FLUX_AE,
    current_name,
    library_settings,
)
from mogao.model.weights.rules import Family, to_ours, to_theirs

TOY = AutoencoderConfig(
    space_to_depth=1, block_channels=(32, 64, 64), layers_per_block=1, latent_channels=4,
    norm_groups=32, mid_attention=True, scaling_factor=0.5, shift_factor=0.25,
)  # fmt: skip
FLUX = AutoencoderConfig(
    space_to_depth=1, block_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16,
    norm_groups=32, mid_attention=True, scaling_factor=0.3611, shift_factor=0.1159,
)  # fmt: skip
FOLDERS = [AUTOENCODER_KL, AUTOENCODER_KL_OLD]
FAMILIES = [*FOLDERS, FLUX_AE]
SDXL_SETTINGS = {
    "_class_name": "AutoencoderKL", "_diffusers_version": "0.20.0.dev0", "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True, "in_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "norm_num_groups": 32, "out_channels": 3, "sample_size": 1024, "scaling_factor": 0.13025,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
SD3_SETTINGS = SDXL_SETTINGS | {
    "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609, "latents_mean": None,
    "latents_std": None, "use_quant_conv": False, "use_post_quant_conv": False,
    "mid_block_add_attention": True,
}  # fmt: skip


def weights_of(config: AutoencoderConfig) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = Autoencoder(config, seed=2).kl.state_dict()
    return weights


def shapes_of(family: Family[AutoencoderConfig]) -> dict[str, tuple[int, ...]]:
    return {one.name: one.shape for rule in family.rules(FLUX) for one in rule.theirs}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(weight, second[name]) for name, weight in first.items()
    )


def test_flux_names_mean_what_the_library_reads_in_them() -> None:
    ours = weights_of(TOY)
    theirs = to_theirs(ours, TOY, family=FLUX_AE)
    assert equal(convert_ldm_vae_checkpoint(dict(theirs), library_settings(TOY)), ours)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_weight_returns_bit_for_bit(family: Family[AutoencoderConfig]) -> None:
    ours = {name: weight.bfloat16() for name, weight in weights_of(TOY).items()}
    theirs = to_theirs(ours, TOY, family=family)
    assert equal(to_ours(theirs, TOY, family=family, where="toy"), ours)
    assert len(theirs) == len(ours)


def test_flux_has_the_names_and_shapes_of_its_own_code() -> None:
    shapes = shapes_of(FLUX_AE)
    assert shapes["encoder.conv_in.weight"] == (128, 3, 3, 3)
    assert shapes["encoder.down.1.block.0.nin_shortcut.weight"] == (256, 128, 1, 1)
    assert shapes["encoder.down.2.downsample.conv.weight"] == (512, 512, 3, 3)
    assert shapes["encoder.mid.attn_1.q.weight"] == (512, 512, 1, 1)
    assert shapes["encoder.mid.attn_1.norm.bias"] == (512,)
    assert shapes["encoder.conv_out.weight"] == (32, 512, 3, 3)
    assert shapes["decoder.mid.block_2.norm2.weight"] == (512,)
    assert shapes["decoder.mid.attn_1.proj_out.bias"] == (512,)
    assert shapes["decoder.up.3.block.2.conv1.weight"] == (512, 512, 3, 3)
    assert shapes["decoder.up.0.block.0.conv1.weight"] == (128, 256, 3, 3)
    assert shapes["decoder.up.1.upsample.conv.weight"] == (256, 256, 3, 3)
    assert shapes["decoder.norm_out.weight"] == (128,)
    assert not any(name.startswith("decoder.up.0.upsample") for name in shapes)
    assert not any(name.startswith("encoder.down.3.downsample") for name in shapes)


def test_a_diffusers_folder_keeps_its_names() -> None:
    with torch.device("meta"):
        network: Any = AutoencoderKL(**library_settings(FLUX))
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert shapes_of(AUTOENCODER_KL) == shapes


def test_old_attention_names_are_todays_by_another_name() -> None:
    old, today = shapes_of(AUTOENCODER_KL_OLD), shapes_of(AUTOENCODER_KL)
    assert old["decoder.mid_block.attentions.0.proj_attn.weight"] == (512, 512)
    assert old["encoder.mid_block.attentions.0.query.bias"] == (512,)
    assert {current_name(name): shape for name, shape in old.items()} == today
    assert sum(name not in today for name in old) == 16


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_settings_lead_back_to_the_config(family: Family[AutoencoderConfig]) -> None:
    assert family.config(family.settings(TOY)) == TOY
    plain = TOY.model_copy(update={"scaling_factor": None, "shift_factor": None})
    measured = {"scaling_factor": 1.0, "shift_factor": 0.0}
    assert family.config(family.settings(plain)) == plain.model_copy(update=measured)


def test_published_settings_are_read() -> None:
    sdxl = AUTOENCODER_KL.config({"config.json": SDXL_SETTINGS})
    shape = FLUX.model_dump() | {"latent_channels": 4, "quant_convs": True}
    assert sdxl.model_dump() == shape | {"scaling_factor": 0.13025, "shift_factor": 0.0}
    sd3 = AUTOENCODER_KL.config({"config.json": SD3_SETTINGS})
    numbers = {"scaling_factor": 1.5305, "shift_factor": 0.0609}
    assert sd3.model_dump() == FLUX.model_dump() | numbers
    assert FLUX_AE.config({}) == FLUX
    assert FLUX_AE.settings(FLUX) == {}
    # Others may lie beside FLUX's file, as in BAGEL's folder.
    assert FLUX_AE.config({"config.json": {"model_type": "bagel"}}) == FLUX


def test_settings_written_open_in_the_library() -> None:
    (settings,) = AUTOENCODER_KL.settings(TOY).values()
    library: Any = AutoencoderKL.from_config(settings)
    assert library.config.scaling_factor == 0.5
    assert library.tile_sample_min_size == 1024


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "AutoencoderTiny"}, "_class_name is 'AutoencoderTiny'"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ({"latents_mean": [0.1] * 4}, "latents_mean"),
        ({"use_post_quant_conv": False}, "use_post_quant_conv is False"),
        ({"up_block_types": ["AttnUpDecoderBlock2D"] * 4}, "up_block_types"),
        ({"out_channels": 4}, "out_channels is 4"),
        ({"in_channels": 5, "out_channels": 5}, "in_channels is 5"),
        ({"block_out_channels": 128}, "block_out_channels is 128"),
        ({"layers_per_block": 0}, "layers_per_block"),
    ],
)
def test_what_cannot_be_expressed_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        AUTOENCODER_KL.config({"config.json": SDXL_SETTINGS | change})


def test_foreign_settings_of_flux_are_checked() -> None:
    with pytest.raises(CheckpointError, match="ch_mult"):
        FLUX_AE.config({"ae.json": {"ch_mult": 4}})
    with pytest.raises(CheckpointError, match="must be 3"):
        FLUX_AE.config({"ae.json": {"in_channels": 4}})
    with pytest.raises(CheckpointError, match="layers_per_block"):
        FLUX_AE.config({"ae.json": {"num_res_blocks": "two"}})
    with pytest.raises(CheckpointError, match="needs config"):
        AUTOENCODER_KL.config({})


@pytest.mark.parametrize(
    "change", [{"quant_convs": True}, {"space_to_depth": 2}, {"norm_groups": 8}]
)
def test_what_flux_cannot_hold_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="FLUX's own code cannot express"):
        FLUX_AE.settings(TOY.model_copy(update=change))
