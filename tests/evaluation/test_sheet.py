"""Contact sheets."""

from __future__ import annotations

import numpy as np

from mogao.evaluation.sheet import Tile, draw_sheet


def test_marks_are_green_red_and_grey():
    black = np.zeros((128, 128, 3), np.uint8)
    sheet = draw_sheet([Tile(black, "a", True), Tile(black, "b", False), Tile(black, "c")])
    frames = [tuple(int(v) for v in sheet[4, x]) for x in (70, 210, 350)]
    assert frames == [(30, 140, 60), (200, 40, 40), (120, 120, 120)]


def test_rows_hold_ten_tiles():
    tile = Tile(np.zeros((64, 64, 3), np.uint8), "a very long caption " * 20)
    assert draw_sheet([tile] * 11).shape[0] == 2 * draw_sheet([tile] * 10).shape[0]
    assert draw_sheet([]).shape == draw_sheet([tile]).shape
