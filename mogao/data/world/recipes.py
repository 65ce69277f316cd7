"""All recipes of the world by name, and how one becomes a document of a split.

In: a generator and settings. Out: `InterleavedSequence` with exact truth in `meta`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mogao.data.world.draw import caption, draw
from mogao.data.world.edits import edit, edits
from mogao.data.world.questions import question
from mogao.data.world.script import Script, realise
from mogao.data.world.splits import Settings, fits
from mogao.data.world.stories import story
from mogao.errors import DataError
from mogao.sequence import InterleavedSequence

Recipe = Callable[[np.random.Generator, Settings], Script]
RECIPES: dict[str, Recipe] = {
    "draw": draw,
    "caption": caption,
    "question": question,
    "edit": edit,
    "edits": edits,
    "story": story,
}
_TRIES = 500


def write(name: str, rng: np.random.Generator, settings: Settings) -> Script:
    """Draw scripts of a recipe until one fits the split.

    Raises:
        DataError: None of many fits.
    """
    for _ in range(_TRIES):
        script = RECIPES[name](rng, settings)
        if fits(settings.split, script.scenes, script.mentions):
            return script
    raise DataError(
        f"recipe {name!r} gave nothing for split {settings.split!r} in {_TRIES} tries; "
        "allow more styles or objects"
    )


def make(
    name: str, rng: np.random.Generator, settings: Settings, *, record_id: str = ""
) -> InterleavedSequence:
    """Draw one document of a recipe with its pictures painted.

    Args:
        name: A key of RECIPES.
        rng: Source of all choices.
        settings: Split, styles and the most objects of a scene.
        record_id: Name of the document in messages and traces.

    Raises:
        DataError: No document fits the split.
    """
    return realise(write(name, rng, settings), recipe=name, name=record_id)
