"""Scenes of things that training knows: the draws that suites share.

In: generators and settings of the split "unseen" or "train". Out: scenes with a colour or a pair of
things that is held out, or without any. The order of the draws is part of the suites: another order
gives other items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mogao.data.world.draw import choose_colour, family_scene
from mogao.data.world.sampling import compose, grounds_for
from mogao.data.world.scene import Scene
from mogao.data.world.splits import Settings, Split, fits, objects_held_out
from mogao.errors import DataError

FAMILIES = ("colors", "two_object", "counting", "color_attr", "mixed")
"""Families of scenes that can show something unseen with concepts that are known."""
_PAINTED = 0.5  # share of things that have a colour
_SALT = 310_512  # sets these draws apart from those of training and of other prompts
_TRIES = 2000


def painted(
    rng: np.random.Generator, names: Sequence[str], settings: Settings
) -> list[tuple[str, str | None]]:
    """Return concepts with a colour for half of them."""
    return [
        (name, choose_colour(rng, name, settings.colours) if rng.random() < _PAINTED else None)
        for name in names
    ]


def composed(
    rng: np.random.Generator,
    things: Sequence[tuple[str, str | None]],
    counts: Sequence[int],
    *,
    style: str,
    settings: Settings,
) -> Scene | None:
    """Return a scene with so many of each thing; None where it misses the split or a thing is lost.

    Args:
        rng: Of the places and the background.
        things: Concepts with their colours.
        counts: How many of each.
        style: Of all things.
        settings: Of the world.
    """
    if objects_held_out(things, style) != (settings.split == "unseen"):
        return None
    if not grounds_for(things, style, among=settings.stage.backgrounds):
        return None
    objects = [thing for thing, count in zip(things, counts, strict=True) for _ in range(count)]
    return compose(rng, objects, style=style, stage=settings.stage)


def family_scenes(num: int, *, suite: str, seed: int, settings: Settings) -> list[Scene]:
    """Return scenes of the families of training, which take turns; see `scene_of_split`."""

    def draw(rng: np.random.Generator, *, family: str) -> Scene:
        return family_scene(rng, replace(before_choice(settings), families={family: 1.0}))[1]

    return [
        scene_of_split(
            partial(draw, family=FAMILIES[number % len(FAMILIES)]),
            number=number,
            suite=suite,
            seed=seed,
            split=settings.split,
        )
        for number in range(num)
    ]


def before_choice(settings: Settings) -> Settings:
    """Return settings to draw with before scenes are chosen by `fits`, for recipes of training.

    What is unseen is drawn as if whole concepts might be held out too, and chosen from that.
    """
    return replace(settings, split="heldout") if settings.split == "unseen" else settings


def scene_of_split(
    draw: Callable[[np.random.Generator], Scene | None],
    *,
    number: int,
    suite: str,
    seed: int,
    split: Split,
) -> Scene:
    """Draw until a scene fits a split; see `mogao.data.world.splits.fits`.

    Args:
        draw: Draws a scene, or None where the draw is no good.
        number: Of the scene; its draws depend on this, the suite and the seed alone.
        suite: Name, so that no two suites have the same draws.
        seed: Of the suite.
        split: Whether a colour or a pair must be new to training ("unseen"), or none ("train").

    Raises:
        DataError: None of many draws fits.
    """
    rng = np.random.default_rng([seed, number, *suite.encode(), _SALT])
    for _ in range(_TRIES):
        scene = draw(rng)
        if scene is not None and fits(split, [scene]):
            return scene
    raise DataError(f"{suite}: no scene of split {split!r} for item {number} in {_TRIES} tries")
