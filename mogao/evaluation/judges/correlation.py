"""The judge of the world: what a picture shows, by normalised correlation with the whole atlas.

In: RGB bytes of a picture. Out: a `Report`. The background is found and taken away, the pieces
that stand out are grouped into crops, and each crop is compared with every concept of the
vocabulary in both styles, mirrored or not, natural and recoloured. Pieces are grouped so that the
least energy of the picture stays unexplained. The judge knows neither prompt nor scene.

Source: own design, docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange, repeat
from numpy.typing import NDArray

from mogao.evaluation.judges.bank import COARSE, FINE, MARGIN, Indices, load_bank
from mogao.evaluation.judges.crops import (
    MAX_SIDE,
    Floats,
    Mask,
    Piece,
    find_background,
    find_pieces,
    foregrounds,
)
from mogao.evaluation.judges.report import Finding, Report, check_canvas
from mogao.evaluation.judges.windows import Grids, windows

PIXELS = 128
MIN_SIDE = 16  # anything shorter is a speck, pixels
_CANDIDATES = 32  # drawings per crop that are compared at many places
_SHIFTS = (-2.0, 0.0, 2.0)  # of the window's centre, pixels
_SCALES = (0.94, 1.0, 1.08, 1.18)  # of the window's side: lost pixels make boxes too short
_COARSE = (1.0, 1.12)  # scales at which all drawings are compared
_PRICE = 0.04  # of one more thing, as a share of the energy of the picture
_MAX_GROUPS = 48  # only pictures full of noise have more
_SURE = 0.93  # score from which on no other threshold is tried


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture under judgement: its difference from its background, and the background.

    Attributes:
        difference: Picture minus background [3, rows, cols].
        rows: Colour of the background per row [rows, 3].
        pieces: What stands out.
    """

    difference: Floats
    rows: Floats
    pieces: list[Piece]

    def crops(self, group: int, grids: Grids, *, cells: int) -> tuple[Floats, Floats]:
        """Cut windows out, leaving out all pixels of pieces outside a group.

        Windows of one grid have one side and stand in rows and columns, so each column is averaged
        across once and each row down once; pixels that no window touches are not looked at.

        Args:
            group: Bit set of pieces.
            grids: Where the windows are.
            cells: Side of a crop.

        Returns:
            Crops [windows, cells, cells, 3] and their backgrounds [windows, cells, 3], grid by grid
            and row by row.
        """
        cols, rows = grids.lines(PIXELS)
        across = windows(grids.x, grids.sides[:, None], line=cols, cells=cells)
        down = windows(grids.y, grids.sides[:, None], line=rows, cells=cells)
        seen = (slice(rows.start, rows.stop), slice(cols.start, cols.stop))
        planes = (self.difference[:, *seen] * self.own(group)[seen]).reshape(-1, len(cols))
        lines = rearrange(
            planes @ rearrange(across, "grid x cell col -> col (grid x cell)"),
            "(rgb row) (grid width) -> grid rgb row width",
            rgb=3, grid=len(across),
        )  # fmt: skip
        crops = rearrange(
            rearrange(down, "grid y cell row -> grid 1 (y cell) row") @ lines,
            "grid rgb (y down) (x across) -> (grid y x) down across rgb",
            down=cells, across=cells,
        )  # fmt: skip
        weight = np.maximum(down.sum(-1, keepdims=True), 1e-6)
        grounds = (down / weight) @ self.rows[seen[0]]
        return crops, repeat(grounds, "grid y cell rgb -> (grid y x) cell rgb", x=across.shape[1])

    def own(self, group: int) -> Mask:
        """Every pixel but those of pieces outside a group, a bit set of pieces."""
        others = np.zeros((PIXELS, PIXELS), bool)
        for number, piece in enumerate(self.pieces):
            if not group >> number & 1:
                others |= piece.mask
        return ~_dilated(others)


@dataclass(frozen=True, slots=True)
class _Match:
    """The drawing that fits a group of pieces best, and where."""

    group: int
    drawing: int
    flip: bool
    x: float
    y: float
    side: float
    score: float


class CorrelationJudge:
    """Reads pictures of the world; deterministic, and the same for every picture."""

    name = "correlation/1"

    def read(self, pixels: NDArray[np.uint8]) -> Report:
        """Say what a picture shows.

        Args:
            pixels: RGB bytes [128, 128, 3].

        Raises:
            RequestError: The picture has another shape.
        """
        check_canvas(pixels)
        name, rows = find_background(pixels)
        difference = pixels - rows[:, None]
        planes = np.ascontiguousarray(difference.transpose(2, 0, 1))
        best: tuple[float, Picture, list[_Match]] | None = None
        for mask in foregrounds(difference):
            picture = Picture(planes, rows, find_pieces(mask))
            cost, matches = _partition(picture, _matches(picture))
            if best is None or cost < best[0]:
                best = cost, picture, matches
            if all(match.score >= _SURE for match in matches):
                break
        assert best is not None
        _, picture, matches = best
        found = [_finding(picture, match) for match in matches if match.side >= MIN_SIDE]
        found.sort(key=lambda finding: finding.size, reverse=True)
        return Report(name, tuple(found))


def _groups(pieces: Sequence[Piece]) -> list[int]:
    """Bit sets of pieces that are small enough together to be one thing."""
    groups = {1 << number for number in range(len(pieces))}
    frontier = set(groups)
    while frontier:
        grown = {
            group | 1 << number
            for group in frontier
            for number in range(len(pieces))
            if not group >> number & 1
        }
        frontier = {group for group in grown - groups if _side(pieces, group) <= MAX_SIDE}
        groups |= frontier
        if len(groups) > _MAX_GROUPS:
            break
    by_number = sorted(groups, key=lambda group: (group.bit_count(), _side(pieces, group)))
    return by_number[:_MAX_GROUPS]


def _matches(picture: Picture) -> list[_Match]:
    """Compare each group with all drawings, then with the best of them at many places."""
    groups = _groups(picture.pieces)
    if not groups:
        return []
    places = [_place(picture.pieces, group) for group in groups]
    coarse = load_bank(COARSE)
    cut = [
        picture.crops(group, Grids.around(place, scales=_COARSE, shifts=(0.0,)), cells=COARSE)
        for group, place in zip(groups, places, strict=True)
    ]
    crops, backgrounds = (np.concatenate(part) for part in zip(*cut, strict=True))
    scores = coarse.correlate(crops, backgrounds).max(0)
    scores = scores.reshape(len(groups), len(_COARSE), -1).max(1)
    among = np.argpartition(scores, -_CANDIDATES)[:, -_CANDIDATES:]
    return [
        _refined(picture, group, place=place, among=drawings)
        for group, place, drawings in zip(groups, places, among, strict=True)
    ]


def _refined(picture: Picture, group: int, *, place: Floats, among: Indices) -> _Match:
    """Find the best of some drawings at places around a first guess."""
    grids = Grids.around(place, scales=_SCALES, shifts=_SHIFTS)
    crops, backgrounds = picture.crops(group, grids, cells=FINE)
    scores = load_bank(FINE).correlate(crops, backgrounds, among)
    flip, best, index = np.unravel_index(int(scores.argmax()), scores.shape)
    x, y, side = grids.window(int(best))
    score = float(scores[flip, best, index])
    return _Match(group, int(among[index]), bool(flip), x, y, side / MARGIN, score)


def _partition(picture: Picture, matches: Sequence[_Match]) -> tuple[float, list[_Match]]:
    """Choose groups that hold each piece once and leave the least energy unexplained.

    Returns:
        The unexplained energy plus the price of every thing, and the choice.
    """
    every = (1 << len(picture.pieces)) - 1
    squares = np.square(picture.difference)
    total = float(squares.sum())
    plane = squares.sum(0)
    energies = [plane[piece.mask].sum() for piece in picture.pieces]

    def gain_of(match: _Match) -> float:
        inside = [energy for number, energy in enumerate(energies) if match.group >> number & 1]
        return float(sum(inside)) * max(match.score, 0) ** 2 - _PRICE * total

    gains = [(match, gain_of(match)) for match in matches]
    best: dict[int, tuple[float, list[_Match]]] = {0: (0.0, [])}
    for done in range(every):  # every set of pieces comes after all of its own subsets
        if done not in best:
            continue
        so_far, chosen = best[done]
        first = ~done & (done + 1)
        for match, gain in gains:
            if match.group & first and not match.group & done:
                key = done | match.group
                if key not in best or so_far + gain > best[key][0]:
                    best[key] = (so_far + gain, [*chosen, match])
    gain, chosen = best[every]
    return total - gain, chosen


def _finding(picture: Picture, match: _Match) -> Finding:
    """Read the colour where a drawing was found."""
    bank = load_bank(FINE)
    place = np.array([match.x, match.y, match.side * MARGIN])
    grids = Grids.around(place, scales=(1.0,), shifts=(0.0,))
    crops, backgrounds = picture.crops(match.group, grids, cells=FINE)
    crop = crops[0, :, ::-1] if match.flip else crops[0]
    concept, style = bank.shapes[bank.shape_of[match.drawing]]
    return Finding(
        concept=concept,
        style=style,
        colour=bank.vote(match.drawing, crop, backgrounds[0]),
        size=match.side,
        x=match.x,
        y=match.y,
        score=match.score,
    )


def _place(pieces: Sequence[Piece], group: int) -> Floats:
    """Centre x, centre y and side of the window around a group, pixels."""
    left, top, right, bottom = _box(pieces, group)
    side = MARGIN * max(right - left, bottom - top)
    return np.array([(left + right) / 2, (top + bottom) / 2, side], np.float32)


def _box(pieces: Sequence[Piece], group: int) -> tuple[int, int, int, int]:
    boxes = [piece.box for number, piece in enumerate(pieces) if group >> number & 1]
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _side(pieces: Sequence[Piece], group: int) -> int:
    left, top, right, bottom = _box(pieces, group)
    return max(right - left, bottom - top)


def _dilated(mask: Mask) -> Mask:
    """Grow a mask by one pixel to the four sides."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
