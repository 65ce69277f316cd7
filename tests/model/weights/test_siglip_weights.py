"""Siglip and Siglip2 towers give the library's features, use every weight and come back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    Siglip2Config,
    Siglip2Model,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from mogao.config import VisionConfig
from mogao.errors import CheckpointError
from mogao.model.vision import VisionEncoder
from mogao.model.weights.rules import Family, to_ours, to_theirs
from mogao.model.weights.siglip import SIGLIP, SIGLIP2, SIGLIP2_TOWER, SIGLIP_TOWER
from tests.tolerances import FLOAT32

TEXT = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 32}  # fmt: skip
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
         "num_attention_heads": 3, "layer_norm_eps": 1e-5}  # fmt: skip
FIRST = SHAPE | {"patch_size": 14, "image_size": 44}
SECOND = SHAPE | {"patch_size": 16, "num_patches": 9}
OURS = {"hidden": 24, "ffn_hidden": 40, "num_layers": 2, "num_heads": 3, "norm_eps": 1e-5}
SO400M = {
    "hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
    "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 27,
    "patch_size": 14,
}  # fmt: skip


def drawn(model: Any) -> Any:
    """The model with no weight left at a constant, so that a mistaken one shows."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def pixels(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(7)) * 2 - 1


def encoder_of(family: Family[VisionConfig], model: Any) -> VisionEncoder:
    config = family.config({"config.json": model.config.to_dict()})
    encoder = VisionEncoder(config).eval().requires_grad_(False)
    encoder.model.load_state_dict(to_ours(model.state_dict(), config, family=family, where="toy"))
    return encoder


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def first() -> Any:
    return drawn(SiglipModel(SiglipConfig(text_config=TEXT, vision_config=FIRST)))


@pytest.fixture(scope="module")
def second() -> Any:
    return drawn(Siglip2Model(Siglip2Config(text_config=TEXT, vision_config=SECOND)))


def test_siglip_features_equal_the_librarys_at_its_own_grid(first: Any) -> None:
    encoder = encoder_of(SIGLIP, first)
    assert encoder.config == VisionConfig(patch_pixels=14, num_positions=9, **OURS)
    with torch.no_grad():  # a border narrower than a patch is not read
        expected = first.vision_model(pixels(44, 44)).last_hidden_state
    assert relative(encoder(pixels(44, 44)[..., :42, :42]), expected.flatten(0, 1)) < FLOAT32


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (6, 1)])
def test_siglip2_features_equal_the_librarys_at_any_grid(
    second: Any, grid: tuple[int, int]
) -> None:
    encoder = encoder_of(SIGLIP2, second)
    assert encoder.config == VisionConfig(patch_pixels=16, num_positions=9, **OURS)
    pictures = pixels(16 * grid[0], 16 * grid[1])
    patches = rearrange(pictures, "n c (r p) (s q) -> n (r s) (p q c)", p=16, q=16)
    mask = torch.ones(patches.shape[:2], dtype=torch.int64)
    with torch.no_grad():
        expected = second.vision_model(patches, mask, torch.tensor([grid, grid]))
    features = expected.last_hidden_state.flatten(0, 1)
    assert relative(encoder(pictures), features) < FLOAT32


@pytest.mark.parametrize("family", [SIGLIP, SIGLIP2], ids=["siglip", "siglip2"])
def test_every_weight_of_the_tower_returns_bit_for_bit(
    family: Family[VisionConfig], request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue("first" if family is SIGLIP else "second")
    config = family.config({"config.json": model.config.to_dict()})
    theirs = {name: weight.bfloat16() for name, weight in model.state_dict().items()}
    ours = to_ours(theirs, config, family=family, where="toy")
    assert ours.keys() == VisionEncoder(config).model.state_dict().keys()
    again = to_theirs(ours, config, family=family)
    left_behind = theirs.keys() - again.keys()
    assert all(
        name.startswith(("text_model.", "vision_model.head.", "logit_")) for name in left_behind
    )
    assert all(torch.equal(weight, theirs[name]) for name, weight in again.items())


@pytest.mark.parametrize(
    ("family", "model"),
    [
        (SIGLIP_TOWER, SiglipVisionModel(SiglipVisionConfig(**FIRST))),
        (SIGLIP2_TOWER, Siglip2VisionModel(Siglip2VisionConfig(**SECOND))),
    ],
    ids=["siglip", "siglip2"],
)
def test_a_tower_that_was_saved_alone_is_read(
    family: Family[VisionConfig], model: Any, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    theirs = load_file(tmp_path / "model.safetensors")
    config = family.config({"config.json": model.config.to_dict()})
    ours = to_ours(theirs, config, family=family, where="toy")
    again = to_theirs(ours, config, family=family)
    assert {name for name in theirs.keys() - again.keys() if not name.startswith("head.")} == set()
    assert all(torch.equal(weight, theirs[name]) for name, weight in again.items())


@pytest.mark.parametrize("family", [SIGLIP, SIGLIP_TOWER, SIGLIP2, SIGLIP2_TOWER])
def test_settings_lead_back_to_the_config_and_fit_the_library(
    family: Family[VisionConfig],
) -> None:
    config = VisionConfig(patch_pixels=14, num_positions=9, **OURS)
    settings = family.settings(config)
    assert family.config(settings) == config
    is_first = family in (SIGLIP, SIGLIP_TOWER)
    library: Any = (
        SiglipVisionModel(SiglipVisionConfig.from_dict(settings["config.json"]))
        if is_first
        else Siglip2VisionModel(Siglip2VisionConfig.from_dict(settings["config.json"]))
    )
    prefix = "vision_model." if family in (SIGLIP, SIGLIP2) else ""
    shapes = {prefix + name: tuple(weight.shape) for name, weight in library.state_dict().items()}
    assert {one.name: one.shape for rule in family.rules(config) for one in rule.theirs} == shapes


def test_published_settings_are_read() -> None:
    so400m = SIGLIP.config({"config.json": {"model_type": "siglip", "vision_config": SO400M}})
    assert so400m == VisionConfig(
        hidden=1152, num_layers=27, num_heads=16, ffn_hidden=4304, patch_pixels=14,
        num_positions=27 * 27,
    )  # fmt: skip
    base = SIGLIP.config({"config.json": {"vision_config": {"model_type": "siglip_vision_model"}}})
    assert (base.hidden, base.num_layers, base.num_positions) == (768, 12, 14 * 14)
    tower = {"model_type": "siglip2_vision_model"}
    naflex = SIGLIP2.config({"config.json": {"vision_config": tower}})
    assert (naflex.patch_pixels, naflex.num_positions) == (16, 256)


def test_cut_positions_travel_in_the_settings_of_siglip2_alone() -> None:
    config = VisionConfig(positions="crop", **OURS)
    assert SIGLIP2.config(SIGLIP2.settings(config)) == config
    with pytest.raises(CheckpointError, match="write the encoder as siglip2"):
        SIGLIP.settings(config)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        (SIGLIP, {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        (SIGLIP, {"num_channels": 4}, "num_channels is 4"),
        (SIGLIP, {"attention_dropout": 0.1}, "attention_dropout"),
        (SIGLIP, {"image_size": [384, 384]}, "image_size is"),
        (SIGLIP, {"patch_size": 0}, "patch_size is 0"),
        (SIGLIP, {"num_attention_heads": 7}, "multiple of num_heads"),
        (SIGLIP, {"hidden_size": None}, "hidden_size is None"),
        (SIGLIP2, {}, "model_type is 'siglip_vision_model'"),
    ],
)
def test_what_cannot_be_expressed_is_named(
    family: Family[VisionConfig], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        family.config({"config.json": SO400M | change})


def test_missing_settings_are_named() -> None:
    with pytest.raises(CheckpointError, match="siglip2 folder needs config"):
        SIGLIP2.config({})
    with pytest.raises(CheckpointError, match="vision_config must be an object"):
        SIGLIP.config({"config.json": {"vision_config": 3}})
