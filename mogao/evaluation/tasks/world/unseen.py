"""Scenes that training never showed, of things that it knows: the draws that suites share.

In: generators and settings. Out: scenes with a colour or a pair of things that is held out. The
order of the draws is part of the suites: another order gives other items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mogao.data.world.draw import choose_colour, family_scene
from mogao.data.world.sampling import compose, grounds_for
from mogao.data.world.scene import Scene
from mogao.data.world.splits import (
    Settings,
    concept_is_held_out,
    is_held_out,
    objects_held_out,
    style_is_held_out,
)
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
    """Return a scene with so many of each thing; None where nothing in it is unseen, or is lost.

    Args:
        rng: Of the places and the background.
        things: Concepts with their colours.
        counts: How many of each.
        style: Of all things.
        settings: Of the world.
    """
    if not (objects_held_out(things, style) and grounds_for(things, style)):
        return None
    objects = [thing for thing, count in zip(things, counts, strict=True) for _ in range(count)]
    return compose(rng, objects, style=style, pixels=settings.pixels)


def family_scenes(num: int, *, suite: str, seed: int, settings: Settings) -> list[Scene]:
    """Return unseen scenes of the families of training, which take turns; see `unseen_scene`."""

    def draw(rng: np.random.Generator, *, family: str) -> Scene:
        return family_scene(rng, replace(settings, split="heldout", families={family: 1.0}))[1]

    return [
        unseen_scene(
            partial(draw, family=FAMILIES[number % len(FAMILIES)]),
            number=number,
            suite=suite,
            seed=seed,
        )
        for number in range(num)
    ]


def unseen_scene(
    draw: Callable[[np.random.Generator], Scene | None], *, number: int, suite: str, seed: int
) -> Scene:
    """Draw until a scene shows a colour or a pair that training never showed.

    All its concepts are shown in training, and in its style.

    Args:
        draw: Draws a scene, or None where the draw is no good.
        number: Of the scene; its draws depend on this, the suite and the seed alone.
        suite: Name, so that no two suites have the same draws.
        seed: Of the suite.

    Raises:
        DataError: None of many draws is unseen.
    """
    rng = np.random.default_rng([seed, number, *suite.encode(), _SALT])
    for _ in range(_TRIES):
        scene = draw(rng)
        if scene is not None and is_held_out(scene) and _is_of_known_things(scene):
            return scene
    raise DataError(f"{suite}: no unseen scene for item {number} in {_TRIES} tries")


def _is_of_known_things(scene: Scene) -> bool:
    return not any(
        concept_is_held_out(item.concept) or style_is_held_out(item.concept, scene.style)
        for item in scene.objects
    )
