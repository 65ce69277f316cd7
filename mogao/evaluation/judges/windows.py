"""Square windows of a picture: where they are, and how a line of pixels becomes their cells.

In: centres and sides in pixels. Out: matrices that average. What lies outside counts as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Grids:
    """Square windows in rows and columns, one side a grid.

    Attributes:
        x: Middles of the columns, pixels [grids, columns].
        y: Middles of the rows, pixels [grids, rows].
        sides: Of the windows, pixels [grids].
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    sides: NDArray[np.floating]

    @classmethod
    def around(
        cls, place: NDArray[np.floating], *, scales: Sequence[float], shifts: Sequence[float]
    ) -> Grids:
        """Return grids about a window, given by centre x, centre y and side."""
        moved = np.tile(np.array(shifts, np.float32), (len(scales), 1))
        return cls(place[0] + moved, place[1] + moved, place[2] * np.array(scales, np.float32))

    def lines(self, pixels: int) -> tuple[range, range]:
        """Columns and rows of a square picture that some window touches; at least one of each."""
        half = self.sides[:, None] / 2
        return _touched(self.x, half, pixels=pixels), _touched(self.y, half, pixels=pixels)

    def window(self, number: int) -> tuple[float, float, float]:
        """Centre x, centre y and side of a window, counted grid by grid and row by row."""
        grid, row, col = np.unravel_index(
            number, (len(self.sides), self.y.shape[1], self.x.shape[1])
        )
        return float(self.x[grid, col]), float(self.y[grid, row]), float(self.sides[grid])


def windows(
    centres: NDArray[np.floating], sides: NDArray[np.floating], *, line: range, cells: int
) -> Floats:
    """Matrices that average a line of pixels into the cells of windows.

    Args:
        centres: Middles of the windows, pixels from the border of the picture.
        sides: Lengths of the windows, pixels; what lies outside the line counts as zero.
        line: The pixels that are averaged, such as all of a picture's row.
        cells: Cells of each window.

    Returns:
        [..., cells, pixels], windows first.
    """
    borders = (np.arange(cells + 1) / cells - 0.5) * sides[..., None] + centres[..., None]
    low, high = borders[..., :-1, None], borders[..., 1:, None]
    left = np.arange(line.start, line.stop)
    overlap = np.minimum(high, left + 1) - np.maximum(low, left)
    matrices: Floats = (np.clip(overlap, 0, None) / (high - low)).astype(np.float32)
    return matrices


def _touched(middles: NDArray[np.floating], half: NDArray[np.floating], *, pixels: int) -> range:
    """Pixels of a line that windows touch."""
    first = min(max(int(np.floor((middles - half).min())), 0), pixels - 1)
    last = max(int(np.ceil((middles + half).max())), first + 1)
    return range(first, min(last, pixels))
