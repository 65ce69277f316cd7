"""Shapes that have names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mogao.config import IlRopeConfig, ModelConfig
from mogao.config.presets import MODEL_PRESETS, preset
from mogao.errors import ConfigError
from mogao.model.count import build_on_meta, count_parameters
from mogao.model.storage import BUILT_IN


def test_nano_is_the_shipped_checkpoint() -> None:
    stored = json.loads((Path(BUILT_IN) / "nano/config.json").read_text(encoding="utf-8"))
    assert preset("nano") == ModelConfig.model_validate(stored)


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_a_preset_is_built_without_memory(name: str) -> None:
    config = preset(name)
    assert config.name == name
    transformer, vision, autoencoder = build_on_meta(config)
    assert all(weight.is_meta for weight in transformer.parameters())
    counts = count_parameters(transformer, vision, autoencoder)
    assert all(count > 0 for count in counts.values())


# Published sizes of Qwen2.5: all parameters, input and output embedding included.
QWEN_BILLIONS = {"0.5b": 0.494, "1.5b": 1.544, "3b": 3.086, "7b": 7.616}


@pytest.mark.parametrize("name", QWEN_BILLIONS)
def test_the_text_branch_is_a_qwen(name: str) -> None:
    counts = count_parameters(*build_on_meta(preset(name)))
    assert round((counts["text"] + counts["embeddings"]) / 1e9, 3) == QWEN_BILLIONS[name]
    # The visual branch is its copy, beside the ways into and out of the latents.
    assert counts["text"] < counts["visual"] < 1.001 * counts["text"]


@pytest.mark.parametrize("name", QWEN_BILLIONS)
def test_a_preset_starts_as_the_language_model_does(name: str) -> None:
    config = preset(name)
    assert config.transformer.positions == IlRopeConfig(text_axes="same")
    assert not any(config.transformer.qk_norm.values())
    assert config.token_pixels == config.vision.patch_pixels == 16


def test_time_costs_less_than_a_hundredth() -> None:
    counts = count_parameters(*build_on_meta(preset("7b")))
    assert counts["time"] < 0.01 * sum(counts.values())


def test_bagel_has_the_grids_of_both_encoders() -> None:
    config = preset("bagel-7b-mot")
    assert (config.token_pixels, config.vision.patch_pixels) == (16, 14)
    assert round(sum(count_parameters(*build_on_meta(config)).values()) / 1e9, 1) == 14.7


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'bagel-7b' .*'bagel-7b-mot'"):
        preset("bagel-7b")
