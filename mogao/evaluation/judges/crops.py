"""From a picture to crops: which background it has and which connected pieces stand out from it.

In: RGB bytes. Out: the background's name and rows, and boolean pieces. Backgrounds of the world
change from top to bottom only, so one colour per row describes them; a generated background may be
off in colour, so the known one is corrected row by row by what the picture shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mogao.data.world.backgrounds import BACKGROUNDS, background
from mogao.data.world.scene import SIZES

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FOREGROUND = 30.0  # least RGB distance from the background at which a pixel stands out
_NOISE = 3.0  # the same as a multiple of the median distance, for uneven backgrounds
MIN_PIECE_PIXELS = 24
MAX_PIECES = 10  # the largest ones; more are noise, and the partition below them is exponential
MAX_SIDE = SIZES["large"] + 4  # no thing of the world is longer, pixels
_LEVELS = (1.0, 1.5, 2.2)  # thresholds as multiples of the first
_SOFT = 20.0  # width of the vote for a known background, RGB distance
_DRIFT = 40.0  # how far a background may be off and still be corrected, RGB distance


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A connected part of the foreground.

    Attributes:
        mask: The picture's pixels that belong to it [height, width].
        box: Left, top, right, bottom in pixels; right and bottom are one past the last pixel.
    """

    mask: Mask
    box: tuple[int, int, int, int]

    @classmethod
    def of(cls, mask: Mask) -> Piece:
        """Find the box of a mask with at least one true pixel."""
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        return cls(mask, (int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1))

    @property
    def side(self) -> int:
        """Longer side of the box, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def find_background(pixels: NDArray[np.uint8]) -> tuple[str, Floats]:
    """Name the background of a picture and estimate its colour per row.

    Args:
        pixels: RGB bytes [height, width, 3], square.

    Returns:
        The name of the known background with most votes, and float colours [height, 3].
    """
    picture = pixels.astype(np.float32)
    names, known = _known_rows(len(pixels))
    distance = _lengths(picture[None, ::2, ::2] - known[:, ::2, None])
    votes = np.exp(-0.5 * np.square(distance / _SOFT)).mean((1, 2))
    best = int(votes.argmax())
    return names[best], _corrected(picture, known[best])


def foregrounds(difference: Floats) -> Iterator[Mask]:
    """Which pixels stand out, by rising thresholds: later masks hold less noise, and less else.

    Args:
        difference: Picture minus background [height, width, 3].
    """
    padded = np.pad(difference, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    smooth = (across[:-2] + 2 * across[1:-1] + across[2:]) / 16
    distance = _lengths(smooth)
    least = max(FOREGROUND, _NOISE * float(np.median(distance)))
    for factor in _LEVELS:
        yield distance > factor * least


def find_pieces(mask: Mask) -> list[Piece]:
    """Connected pieces of a foreground, touching things cut apart where they are thinnest.

    Returns:
        At most MAX_PIECES pieces of at least MIN_PIECE_PIXELS, the largest first.
    """
    labels, count = label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    pieces = [
        part
        for number in range(1, count + 1)
        if sizes[number] >= MIN_PIECE_PIXELS
        for part in _split(labels == number)
    ]
    pieces.sort(key=lambda piece: int(piece.mask.sum()), reverse=True)
    return pieces[:MAX_PIECES]


def label(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the 4-connected components of a mask from 1 on; 0 is the rest.

    Works on runs of true pixels per row, joined with a union-find: a picture has a few hundred.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    runs = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    above = 0
    for run, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] <= start):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] < end:
            parents[root(other)] = root(run)
            other += 1
    numbers: dict[int, int] = {}
    labels = np.zeros(mask.shape, np.int32)
    for run, (row, start, end) in enumerate(runs):
        labels[row, start:end] = numbers.setdefault(root(run), len(numbers) + 1)
    return labels, len(numbers)


def _split(mask: Mask) -> list[Piece]:
    """Cut a piece that is longer than any thing at its thinnest inner line, again and again."""
    piece = Piece.of(mask)
    if piece.side <= MAX_SIDE:
        return [piece]
    left, top, right, bottom = piece.box
    inner = mask[top:bottom, left:right]
    axis = int(inner.shape[1] > inner.shape[0])
    profile = inner.sum(1 - axis)
    edge = len(profile) // 4
    cut = edge + int(profile[edge : len(profile) - edge].argmin()) + (left if axis else top)
    first, second = mask.copy(), mask.copy()
    if axis:
        first[:, cut:] = False
        second[:, :cut] = False
    else:
        first[cut:] = False
        second[:cut] = False
    return [part for half in (first, second) if half.any() for part in _split(half)]


def _corrected(picture: Floats, known: Floats) -> Floats:
    """Move each row of a known background to the median of the pixels that are near it."""
    residual = picture - known[:, None]
    near = _lengths(residual) < _DRIFT
    enough = near.sum(1) >= max(8, picture.shape[1] // 8)
    if not enough.any():
        return known
    drift = _medians(residual[enough], near[enough])
    rows = np.arange(len(known))
    filled = [np.interp(rows, rows[enough], channel) for channel in drift.T]
    corrected: Floats = known + np.stack(filled, -1).astype(np.float32)
    return corrected


def _medians(values: Floats, near: Mask) -> Floats:
    """Median of some pixels of each row, per channel; a tenth of the time of `np.nanmedian`.

    Args:
        values: [rows, cols, 3].
        near: The pixels that count, at least one a row [rows, cols].
    """
    planes = np.where(near[:, None], values.transpose(0, 2, 1), np.float32(np.inf))
    planes.sort(axis=-1)
    count = near.sum(1)[:, None, None]
    middle = np.concatenate([(count - 1) // 2, count // 2], -1)
    pair = np.take_along_axis(planes, np.broadcast_to(middle, (len(planes), 3, 2)), -1)
    medians: Floats = pair.mean(-1)
    return medians


def _lengths(rgb: Floats) -> Floats:
    """Length of each vector on the last axis; a sum over an axis of three is slow."""
    squares = np.square(rgb)
    lengths: Floats = np.sqrt(squares[..., 0] + squares[..., 1] + squares[..., 2])
    return lengths


@cache
def _known_rows(side: int) -> tuple[tuple[str, ...], Floats]:
    """Names and float rows [backgrounds, side, 3] of all backgrounds."""
    rows = [background(name, side)[:, 0].astype(np.float32) for name in BACKGROUNDS]
    return tuple(BACKGROUNDS), np.stack(rows)
