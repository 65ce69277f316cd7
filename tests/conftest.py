"""Fixtures shared by the tests: a tiny model folder and a seeded generator."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator for test data."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder with first weights; small enough to run in milliseconds."""
    from mogao.config import (
        AutoencoderConfig,
        GenerationConfig,
        ImageSamplingConfig,
        ModelConfig,
        TextSamplingConfig,
        TransformerConfig,
        VisionConfig,
    )
    from mogao.pipeline import Mogao
    from mogao.tokenizer import Tokenizer

    tokenizer = Tokenizer.train([], vocab_size=264)
    config = ModelConfig(
        name="tiny",
        transformer=TransformerConfig(
            vocab_size=tokenizer.vocab_size, hidden=32, num_layers=2, num_heads=2, num_kv_heads=1,
            head_dim=16, ffn_hidden=64, latent_dim=16, vision_dim=24,
        ),
        vision=VisionConfig(hidden=24, num_layers=1, num_heads=2, ffn_hidden=48, num_positions=16),
        autoencoder=AutoencoderConfig(
            space_to_depth=4, block_channels=(8, 8), layers_per_block=1, latent_channels=4,
            norm_groups=4,
        ),
    )  # fmt: skip
    generation = GenerationConfig(
        text=TextSamplingConfig(max_tokens=8),
        image=ImageSamplingConfig(num_steps=2, height=32, width=32),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = Mogao.from_config(config, tokenizer=tokenizer, generation=generation)
    model.save_pretrained(folder)
    return folder
