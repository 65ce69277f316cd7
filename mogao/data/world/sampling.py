"""Draw random scenes: which places are free, which colours stand out, which relations hold.

In: a generator and a vocabulary. Out: scenes that keep the rules: little overlap, a clear margin
for every relation that a text may state, no object lost in its background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS, background
from mogao.data.world.choice import pick
from mogao.data.world.colours import COLOURS
from mogao.data.world.scene import CANVAS, SIZES, Box, Scene, SceneObject, Size
from mogao.errors import DataError

RELATIONS = ("left of", "right of", "above", "below")
MARGIN = 36  # least distance of centres along a stated relation, pixels of the canvas
GRID = 16  # corners of sprites lie on multiples of this, pixels of the canvas
MAX_GRID = 32  # four things still find room
_GAP = 2  # least distance of two cells, pixels
_TRIES = 200
_PLACE_TRIES = 8  # a bad early place can block the rest
_PAIR_SIZES: tuple[Size, ...] = ("large", "medium", "medium", "small")
_FEW_SIZES: tuple[Size, ...] = ("medium", "small")
_NEAR = 55.0  # Euclidean RGB distance below which a pixel is lost in the background
_LOST = 0.3  # share of lost pixels above which an object is not placed on a background


@dataclass(frozen=True, slots=True)
class Stage:
    """Where things are shown.

    Attributes:
        backgrounds: That scenes may have.
        grid: Corners of sprites lie on multiples of so many pixels of the canvas, 1 to 32.
        pixels: Side of the pictures.
    """

    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
    grid: int = GRID
    pixels: int = CANVAS


WHOLE = Stage()
"""The stage of the whole world."""


def stands_out(concept: str, colour: str | None, *, style: str, ground: str) -> bool:
    """Whether an object differs enough from every row of a background."""
    return ground in _visible_on(concept, colour, style)


@lru_cache(maxsize=100_000)
def _visible_on(concept: str, colour: str | None, style: str) -> frozenset[str]:
    sprite = np.asarray(atlas.sprite(concept, style=style, colour=colour, pixels=32, flip=False))
    pixels = sprite[sprite[..., 3] > 127][:, :3].astype(np.float32)
    # Channel by channel: sums over an axis of three take five times as long.
    squares = sum(
        np.square(channel - row) for channel, row in zip(pixels.T, _ground_rows(), strict=True)
    )
    lost = (np.sqrt(squares) < _NEAR).mean(-1).max(-1)
    return frozenset(name for name, share in zip(BACKGROUNDS, lost, strict=True) if share <= _LOST)


@cache
def _ground_rows() -> NDArray[np.float32]:
    """Colours of all backgrounds [rgb, backgrounds, rows, 1]."""
    rows = np.stack([background(name, 8)[:, 0] for name in BACKGROUNDS]).astype(np.float32)
    return rows.transpose(2, 0, 1)[..., None]


def grounds_for(
    objects: Sequence[tuple[str, str | None]],
    style: str,
    *,
    among: Sequence[str] = WHOLE.backgrounds,
) -> list[str]:
    """Backgrounds on which all of these (concept, colour) pairs stand out."""
    visible = [_visible_on(concept, colour, style) for concept, colour in objects]
    return [name for name in among if all(name in names for names in visible)]


def holds(relation: str, first: SceneObject, second: SceneObject, *, margin: int = MARGIN) -> bool:
    """Whether `first` is clearly `relation` (left of, right of, above, below) `second`."""
    dx, dy = first.x - second.x, first.y - second.y
    along = {"left of": -dx, "right of": dx, "above": -dy, "below": dy}[relation]
    across = abs(dy) if relation in ("left of", "right of") else abs(dx)
    return along >= margin and across <= 0.7 * along


def apart(first: Box, second: Box) -> bool:
    """Whether two boxes keep the least distance from each other."""
    return (
        first[2] + _GAP <= second[0]
        or second[2] + _GAP <= first[0]
        or first[3] + _GAP <= second[1]
        or second[3] + _GAP <= first[1]
    )


def centres(size: Size, grid: int) -> range:
    """Coordinates of a centre for which the cell lies inside the canvas and on the grid."""
    half = SIZES[size] // 2
    return range(half, CANVAS - half + 1, grid)


def place(
    rng: np.random.Generator,
    sizes: Sequence[Size],
    *,
    grid: int = GRID,
    taken: Sequence[SceneObject] = (),
) -> list[tuple[int, int]] | None:
    """Draw centres so that all cells lie inside the canvas and apart from each other.

    Corners lie on a grid. Where its step is a whole number of generation tokens, a sprite has one
    look in latents: moved by a few pixels they differ much (docs/lab.md), and a small model learns
    one look of a thing far sooner than 256.

    Returns:
        (x, y) per size, or None where no free places were found.
    """
    for _ in range(_PLACE_TRIES):
        cells = [item.cell for item in taken]
        places: list[tuple[int, int]] = []
        for size in sizes:
            free = [
                (x, y, cell)
                for x, y, cell in _cells(size, grid)
                if all(apart(cell, other) for other in cells)
            ]
            if not free:
                break
            x, y, cell = pick(rng, free)
            places.append((x, y))
            cells.append(cell)
        else:
            return places
    return None


@cache
def _cells(size: Size, grid: int) -> list[tuple[int, int, Box]]:
    """Every place of a sprite: its centre and its cell."""
    half = SIZES[size] / 2
    return [
        (x, y, (x - half, y - half, x + half, y + half))
        for x, y in product(centres(size, grid), repeat=2)
    ]


def sizes_for(rng: np.random.Generator, count: int) -> list[Size]:
    """Sizes of `count` objects: one is medium or large, many are small."""
    if count == 1:
        return ["large" if rng.random() < 0.6 else "medium"]
    if count == 2:
        return [pick(rng, _PAIR_SIZES) for _ in range(2)]
    if count <= 4:
        return [pick(rng, _FEW_SIZES) for _ in range(count)]
    return ["small"] * count


def compose(
    rng: np.random.Generator,
    objects: Sequence[tuple[str, str | None]],
    *,
    style: str,
    relation: str | None = None,
    ground: str | None = None,
    flip_share: float = 0.0,
    stage: Stage = WHOLE,
) -> Scene:
    """Place given (concept, colour) pairs on a background on which they stand out.

    Args:
        rng: Source of all choices.
        objects: At most 6 pairs; objects of the same concept get the same size.
        style: Style of all sprites.
        relation: Relation of the first object to the second that must hold clearly.
        ground: Background to use; None draws a fitting one.
        flip_share: Share of mirrored objects, in [0, 1]; no text speaks of it.
        stage: Backgrounds to draw from, the grid and the side of the picture.

    Raises:
        DataError: No background fits, or the objects cannot be placed.
    """
    if ground is None:
        fitting = grounds_for(objects, style, among=stage.backgrounds)
        if not fitting:
            raise DataError(f"no background lets all of {list(objects)} stand out in {style}")
        ground = pick(rng, fitting)
    by_concept: dict[str, Size] = {}
    for _ in range(_TRIES):
        by_concept.clear()
        for (concept, _), size in zip(objects, sizes_for(rng, len(objects)), strict=True):
            by_concept.setdefault(concept, size)
        sizes = [by_concept[concept] for concept, _ in objects]
        places = place(rng, sizes, grid=stage.grid)
        if places is None:
            continue
        items = tuple(
            SceneObject(concept, colour, by_concept[concept], x, y, bool(rng.random() < flip_share))
            for (concept, colour), (x, y) in zip(objects, places, strict=True)
        )
        if relation is None or holds(relation, items[0], items[1]):
            return Scene(ground, style, items, stage.pixels)
        swapped = (_moved(items[0], items[1]), _moved(items[1], items[0]), *items[2:])
        if items[0].size == items[1].size and holds(relation, swapped[0], swapped[1]):
            return Scene(ground, style, swapped, stage.pixels)
    raise DataError(f"cannot place {len(objects)} objects {list(objects)} with {relation!r}")


def sample_scene(
    rng: np.random.Generator,
    *,
    concepts: Sequence[str] = (),
    styles: Sequence[str] = atlas.STYLES,
    max_objects: int = 4,
) -> Scene:
    """Draw any scene: style, background and 1 to `max_objects` objects, some of them coloured."""
    names = list(concepts or atlas.concepts())
    style = pick(rng, styles)
    colours = list(COLOURS)
    while True:
        objects: list[tuple[str, str | None]] = []
        for _ in range(int(rng.integers(1, max_objects + 1))):
            name = pick(rng, names)
            painted = atlas.concept(name).colourable and rng.random() < 0.4
            objects.append((name, pick(rng, colours) if painted else None))
        if grounds_for(objects, style):
            return compose(rng, objects, style=style, flip_share=0.3)


def _moved(item: SceneObject, to: SceneObject) -> SceneObject:
    return SceneObject(item.concept, item.colour, item.size, to.x, to.y, item.flip)
