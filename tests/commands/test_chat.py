"""Pictures in the terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from mogao.commands.chat import half_blocks


def test_each_character_shows_two_pixels_in_true_colour() -> None:
    pixels = np.array([[[255, 0, 0], [0, 0, 255]], [[0, 255, 0], [1, 2, 3]]], np.uint8)
    console = Console(color_system="truecolor", force_terminal=True, width=10, legacy_windows=False)
    with console.capture() as captured:
        console.print(half_blocks(pixels, columns=2))
    shown = captured.get()
    assert shown.count("\u2580") == 2
    assert "38;2;255;0;0;48;2;0;255;0" in shown
    assert "38;2;0;0;255;48;2;1;2;3" in shown


def test_proportions_are_kept() -> None:
    wide = half_blocks(np.zeros((64, 128, 3), np.uint8), columns=32).plain.splitlines()
    assert (len(wide), len(wide[0])) == (8, 32)
