"""The atlas at run time: what each concept is, and its sprite in any style, size and colour.

In: the committed sheets and `concepts.json`. Out: facts and cached RGBA sprites. It knows nothing
of scenes or language.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mogao.data.world.colours import COLOURS, recolour
from mogao.errors import DataError, nearest

_FOLDER = Path(__file__).parent / "atlas"
STYLES = ("noto", "fluent")
_ALIKE = 0.99  # least correlation of two drawings that nobody can tell apart


@dataclass(frozen=True, slots=True)
class Concept:
    """A thing that the world can show.

    Attributes:
        id: Plain English singular, for example "traffic light".
        plural: Plain English plural.
        category: One word, for example "animal".
        geneval: Whether it is one of the 80 GenEval classes.
        colourable: Whether texts may give it a colour.
        natural: Style to the colour that most of the unpainted sprite shows, or None.
        cell: (row, col) in the sheets.
    """

    id: str
    plural: str
    category: str
    geneval: bool
    colourable: bool
    natural: dict[str, str | None]
    cell: tuple[int, int]

    @property
    def singular(self) -> str:
        """How texts name one: the id, or "pair of scissors" for a word without a singular."""
        return f"pair of {self.id}" if self.plural.startswith("pairs of ") else self.id


@cache
def _facts() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((_FOLDER / "concepts.json").read_text(encoding="utf-8"))
    return data


@cache
def concepts() -> dict[str, Concept]:
    """All concepts by id, in atlas order: the GenEval classes first."""
    fields = ("id", "plural", "category", "geneval", "colourable", "natural")
    return {
        row["id"]: Concept(**{name: row[name] for name in fields}, cell=tuple(row["cell"]))
        for row in _facts()["concepts"]
    }


def concept(name: str) -> Concept:
    """Look up a concept.

    Raises:
        DataError: There is no such concept; the message names the nearest.
    """
    try:
        return concepts()[name]
    except KeyError:
        raise DataError(f"no concept {name!r} in the world; {nearest(name, concepts())}") from None


@lru_cache(maxsize=4096)
def sprite(name: str, *, style: str, colour: str | None, pixels: int, flip: bool) -> Image.Image:
    """A concept as an RGBA picture; treat it as read-only, it is shared.

    Args:
        name: Concept id.
        style: One of STYLES.
        colour: A GenEval colour, or None for the natural look.
        pixels: Side of the square picture; the longer side of the sprite fills it.
        flip: Mirror left to right.

    Raises:
        DataError: The concept, style or colour is unknown.
    """
    native = Image.fromarray(_painted(name, style, colour))
    if flip:
        native = native.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Premultiplied, so that colours of transparent pixels do not bleed into the edge.
    scaled = native.convert("RGBa").resize((pixels, pixels), Image.Resampling.LANCZOS)
    return scaled.convert("RGBA")


@lru_cache(maxsize=4096)
def extent(name: str, style: str) -> tuple[float, float]:
    """(height, width) of the opaque part of a sprite as shares of its cell, each in (0, 1]."""
    opaque = _painted(name, style, None)[..., 3] > 24
    side = len(opaque)
    return float(opaque.any(1).sum() / side), float(opaque.any(0).sum() / side)


@cache
def alike(name: str, colour: str | None) -> bool:
    """Whether all styles show a concept in a colour so alike that nobody can tell which it is.

    The classes that no emoji shows have one drawing of ours for all styles, in colours typical of
    each: painted over, it is the same. Measured by the least correlation of the differences of the
    sprites from black, gray and white.

    Args:
        name: Concept id.
        colour: A GenEval colour, or None for the natural look.

    Raises:
        DataError: The concept or colour is unknown.
    """
    drawn = [_painted(name, style, colour).astype(np.float64) for style in STYLES]
    for ground in (0, 128, 255):
        first, *others = ((rgba[..., :3] - ground) * rgba[..., 3:] for rgba in drawn)
        for other in others:
            lengths = np.sqrt(np.square(first).sum() * np.square(other).sum())
            if (first * other).sum() < _ALIKE * lengths:
                return False
    return True


@lru_cache(maxsize=4096)
def _painted(name: str, style: str, colour: str | None) -> NDArray[np.uint8]:
    row, col = concept(name).cell
    side = int(_facts()["cell_pixels"])
    cell = _sheet(style)[row * side : (row + 1) * side, col * side : (col + 1) * side]
    if colour is None:
        return cell
    if colour not in COLOURS:
        raise DataError(f"no colour {colour!r} in the world; {nearest(colour, COLOURS)}")
    return recolour(cell, colour)


@cache
def _sheet(style: str) -> NDArray[np.uint8]:
    if style not in STYLES:
        raise DataError(f"no style {style!r} in the world; {nearest(style, STYLES)}")
    with Image.open(_FOLDER / f"{style}.webp") as picture:
        return np.asarray(picture.convert("RGBA"))
