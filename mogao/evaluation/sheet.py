"""A contact sheet: every picture of an evaluation with its prompt and a mark for right or wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mogao.sequence import Pixels

_PICTURE = 128
_TEXT = 52  # height of the caption, pixels
_GAP = 6
_COLUMNS = 10
_MARKS = {True: (30, 140, 60), False: (200, 40, 40), None: (120, 120, 120)}


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One captioned picture; `right` is None where nothing was judged."""

    pixels: Pixels
    caption: str
    right: bool | None = None


def draw_sheet(tiles: Sequence[Tile]) -> Pixels:
    """Lay tiles out in rows of ten; a green frame means right, red wrong, grey not judged."""
    rows = max(1, -(-len(tiles) // _COLUMNS))
    width, height = _PICTURE + 2 * _GAP, _PICTURE + _TEXT + 2 * _GAP
    sheet = Image.new("RGB", (_COLUMNS * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(10)
    for number, tile in enumerate(tiles):
        left, top = number % _COLUMNS * width + _GAP, number // _COLUMNS * height + _GAP
        mark = _MARKS[tile.right]
        frame = (left - 3, top - 3, left + _PICTURE + 2, top + _PICTURE + 2)
        draw.rectangle(frame, outline=mark, width=3)
        picture = Image.fromarray(tile.pixels).resize((_PICTURE, _PICTURE))
        sheet.paste(picture, (left, top))
        lines = textwrap.wrap(tile.caption, 25, max_lines=4, placeholder="...")
        draw.multiline_text((left, top + _PICTURE + 4), "\n".join(lines), fill=mark, font=font)
    return np.asarray(sheet)
