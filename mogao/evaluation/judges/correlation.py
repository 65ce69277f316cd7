"""The judge of the world: what a picture shows, by normalised correlation with the whole atlas.

In: RGB bytes of a picture. Out: a `Report`. The background is found and taken away, the pieces
that stand out are grouped into crops, and each crop is compared with every concept of the
vocabulary in both styles, mirrored or not, natural and recoloured, at the sizes that the world
paints. Pieces are grouped so that the least energy of the picture stays unexplained, and what two
styles explain alike is read in the style of the whole picture. The judge knows neither prompt nor
scene.

Source: own design, docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange, repeat
from numpy.typing import NDArray

from mogao.data.world import atlas
from mogao.data.world.scene import SIZES
from mogao.evaluation.judges.bank import COARSE, FINE, MARGIN, MIDDLE, Indices, load_bank
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
_CANDIDATES = 48  # drawings per crop that are compared at many places
_NEAR = (-3.0, 0.0, 3.0)  # shifts of the window's centre at which all drawings are compared, pixels
_SHIFTS = (-4.0, -2.0, 0.0, 2.0, 4.0)  # the same for the candidates: boxes lose faint parts
_SIDES = tuple(float(side) for side in SIZES.values())
_SHRUNK = (0.86, 1.35)  # least and largest side of a thing over the longer side of its pieces
_PRICE = 0.02  # of one more thing, as a share of the energy of the picture
_MAX_GROUPS = 48  # only pictures full of noise have more
_SURE = 0.93  # score from which on no other threshold is tried
_ALIKE = 0.015  # difference of scores below which the picture's style decides


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

    def energies(self) -> list[float]:
        """Squared difference from the background, summed over the pixels of each piece."""
        plane = np.square(self.difference).sum(0)
        return [float(plane[piece.mask].sum()) for piece in self.pieces]


@dataclass(frozen=True, slots=True)
class _Match:
    """A drawing that fits a group of pieces, and where."""

    group: int
    drawing: int
    flip: bool
    x: float
    y: float
    side: float
    score: float

    @property
    def style(self) -> str:
        """Of the drawing."""
        return atlas.STYLES[load_bank(MIDDLE).style_of[self.drawing]]


_Rivals = tuple[_Match, ...]
"""The drawing of each style that fits a group of pieces best; the better style first."""


class CorrelationJudge:
    """Reads pictures of the world; deterministic, and the same for every picture."""

    name = "correlation/2"

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
        best: tuple[float, Picture, list[_Rivals]] | None = None
        for mask in foregrounds(difference):
            picture = Picture(planes, rows, find_pieces(mask))
            cost, chosen = _partition(picture, _rivals(picture))
            if best is None or cost < best[0]:
                best = cost, picture, chosen
            if all(rivals[0].score >= _SURE for rivals in chosen):
                break
        assert best is not None
        _, picture, chosen = best
        matches = _in_one_style(picture, chosen)
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


def _rivals(picture: Picture) -> list[_Rivals]:
    """Compare each group with all drawings, then with the best of them at many places."""
    groups = _groups(picture.pieces)
    if not groups:
        return []
    places = [_place(picture.pieces, group) for group in groups]
    cut = [
        picture.crops(group, _grids(place, _NEAR), cells=COARSE)
        for group, place in zip(groups, places, strict=True)
    ]
    crops, backgrounds = (np.concatenate(part) for part in zip(*cut, strict=True))
    scores = load_bank(COARSE).correlate(crops, backgrounds).max(0)
    borders = np.cumsum([len(part) for part, _ in cut])[:-1]
    return [
        _refined(picture, group, place=place, among=np.argpartition(best, -_CANDIDATES))
        for group, place, part in zip(groups, places, np.split(scores, borders), strict=True)
        for best in [part.max(0)]
    ]


def _grids(place: Floats, shifts: Sequence[float]) -> Grids:
    """Windows about a place at the sides that the world paints; at the nearest if none is near."""
    found = float(place[2]) / MARGIN
    least, most = _SHRUNK
    sides = [side for side in _SIDES if least <= side / found <= most]
    sides = sides or [min(_SIDES, key=lambda side: abs(np.log(side / found)))]
    return Grids.around(place, scales=[side / found for side in sides], shifts=shifts)


def _refined(picture: Picture, group: int, *, place: Floats, among: Indices) -> _Rivals:
    """Find the best of some drawings of each style at places around a first guess.

    Args:
        picture: Under judgement.
        group: Bit set of pieces.
        place: The window around it.
        among: Drawings, the candidates last.
    """
    among = among[-_CANDIDATES:]
    bank = load_bank(MIDDLE)
    grids = _grids(place, _SHIFTS)
    crops, backgrounds = picture.crops(group, grids, cells=MIDDLE)
    scores = bank.correlate(crops, backgrounds, among)
    styles = bank.style_of[among]
    rivals = []
    for style in np.unique(styles):
        members = np.flatnonzero(styles == style)
        own = scores[..., members]
        flip, best, index = np.unravel_index(int(own.argmax()), own.shape)
        x, y, side = grids.window(int(best))
        score = float(own[flip, best, index])
        drawing = int(among[members[index]])
        rivals.append(_Match(group, drawing, bool(flip), x, y, side / MARGIN, score))
    return tuple(sorted(rivals, key=lambda match: match.score, reverse=True))


def _partition(picture: Picture, readings: Sequence[_Rivals]) -> tuple[float, list[_Rivals]]:
    """Choose groups that hold each piece once and leave the least energy unexplained.

    Returns:
        The unexplained energy plus the price of every thing, and the choice.
    """
    every = (1 << len(picture.pieces)) - 1
    total = float(np.square(picture.difference).sum())
    energies = picture.energies()

    def gain_of(match: _Match) -> float:
        return _explained(match, energies) - _PRICE * total

    gains = [(rivals, gain_of(rivals[0])) for rivals in readings]
    best: dict[int, tuple[float, list[_Rivals]]] = {0: (0.0, [])}
    for done in range(every):  # every set of pieces comes after all of its own subsets
        if done not in best:
            continue
        so_far, chosen = best[done]
        first = ~done & (done + 1)
        for rivals, gain in gains:
            group = rivals[0].group
            if group & first and not group & done:
                key = done | group
                if key not in best or so_far + gain > best[key][0]:
                    best[key] = (so_far + gain, [*chosen, rivals])
    gain, chosen = best[every]
    return total - gain, chosen


def _explained(match: _Match, energies: Sequence[float]) -> float:
    """Energy of a group of pieces that a drawing explains, by the energies of all pieces."""
    inside = [energy for number, energy in enumerate(energies) if match.group >> number & 1]
    return sum(inside) * max(match.score, 0.0) ** 2


def _in_one_style(picture: Picture, chosen: Sequence[_Rivals]) -> list[_Match]:
    """Read what both styles fit alike in the style that explains more of the picture.

    A picture of the world has one style, and plain things look nearly the same in both. What one
    style fits clearly better is read in that style, whatever the others are.
    """
    energies = picture.energies()
    explained = dict.fromkeys(atlas.STYLES, 0.0)
    for rivals in chosen:
        for match in rivals:
            explained[match.style] += _explained(match, energies)
    most = max(atlas.STYLES, key=lambda style: explained[style])
    matches = []
    for rivals in chosen:
        least = rivals[0].score - _ALIKE
        alike = [match for match in rivals if match.style == most and match.score >= least]
        matches.append((alike or rivals)[0])
    return matches


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
