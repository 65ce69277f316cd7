"""The checkpoint that ships: it is whole, small, safe, and its autoencoder and judge hold."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import mogao
from mogao.data.world import atlas
from mogao.data.world.sampling import compose, sample_scene
from mogao.data.world.scene import render
from mogao.data.world.splits import known_concepts
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.model.vae import pixels_to_tensor, tensor_to_pixels
from mogao.pipeline import Mogao
from mogao.sampling.events import ImageFinished
from mogao.sequence import Pixels, Role
from tests.tolerances import AUTOENCODER_DECIBEL

FOLDER = Path(mogao.__file__).parent / "checkpoints" / "nano"


@cache
def nano() -> Mogao:
    return Mogao.from_pretrained("nano")


def round_trip(pictures: list[Pixels]) -> list[Pixels]:
    """The pictures behind encoder and decoder."""
    autoencoder = nano().parts.autoencoder
    with torch.inference_mode():
        return tensor_to_pixels(autoencoder.decode(autoencoder.encode(pixels_to_tensor(pictures))))


def test_it_is_small_and_holds_nothing_but_weights_and_text() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 60_000_000
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}


def test_its_card_says_what_it_is() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("Data", "minutes", "cannot"):
        assert word in card


def test_its_autoencoder_keeps_unseen_scenes() -> None:
    rng = np.random.default_rng(20_261_122)
    pictures = [render(sample_scene(rng)) for _ in range(48)]
    error = np.mean(
        [
            np.square(a.astype(float) - b)
            for a, b in zip(pictures, round_trip(pictures), strict=True)
        ]
    )
    assert 10 * np.log10(255**2 / error) >= AUTOENCODER_DECIBEL


@pytest.mark.parametrize("style", atlas.STYLES)
def test_the_judge_reads_what_its_autoencoder_gives_back(style: str) -> None:
    rng = np.random.default_rng(7)
    names = [str(name) for name in rng.permutation(known_concepts())]
    pairs = zip(names[17:51:2], names[18:51:2], strict=True)
    shown = [[name] for name in names[:17]] + [list(pair) for pair in pairs]
    pictures = [render(compose(rng, [(n, None) for n in group], style=style)) for group in shown]
    judge = CorrelationJudge()
    read = [
        sorted(finding.concept for finding in judge.read(picture).findings) == sorted(group)
        for group, picture in zip(shown, round_trip(pictures), strict=True)
    ]
    assert np.mean(read) >= 0.97


@pytest.mark.parametrize("role", ["user", "model"])
def test_it_opens_a_picture_by_itself_when_asked_to_draw(role: Role) -> None:
    session = nano().session(seed=0)
    session.extend("a photo of a red apple", role=role)
    events = list(session.stream(max_images=1))
    (drawn,) = [event for event in events if isinstance(event, ImageFinished)]
    assert drawn.pixels.shape == (128, 128, 3)
