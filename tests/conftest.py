"""Fixtures shared by the tests: a tiny model folder and a seeded generator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from mogao.pipeline import Mogao
    from mogao.sampling.engine import Engine

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


@pytest.fixture(scope="module")
def model() -> Mogao:
    """One tiny model for all tests of a file."""
    from tests.tiny import tiny_model

    return tiny_model()


@pytest.fixture
def engine(model: Mogao) -> Iterator[Engine]:
    """An engine of that model."""
    from mogao.sampling.engine import Engine

    with Engine(model.parts, generation=model.generation) as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model folder with first weights; small enough to run in milliseconds."""
    from mogao.config import GenerationConfig, ImageSamplingConfig, TextSamplingConfig
    from mogao.pipeline import Mogao
    from tests.tiny import tiny_config, tiny_tokenizer

    generation = GenerationConfig(
        text=TextSamplingConfig(max_tokens=8),
        image=ImageSamplingConfig(num_steps=2, height=32, width=32),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = Mogao.from_config(tiny_config(), tokenizer=tiny_tokenizer(), generation=generation)
    model.save_pretrained(folder)
    return folder
