"""The drawings that the judge knows: every concept in both styles, natural and in ten colours.

In: the atlas. Out: correlations of crops with small premultiplied drawings. On a background b a
drawing differs from it by P - A b (P: colour times alpha, A: alpha), so its correlation with a
crop and its length follow from a few matrix products for all drawings at once, whatever b is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from einops import reduce
from numpy.typing import NDArray

from mogao.data.world import atlas
from mogao.data.world.colours import COLOURS
from mogao.evaluation.judges.windows import windows

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

FINE = 28  # side of a descriptor that shows colours, cells
MIDDLE = 14  # of one that tells drawings apart: an autoencoder smears what is finer
COARSE = 7  # of one that finds candidates
MARGIN = 1.2  # side of the window over the longer side of the drawing in it
_RENDER_PIXELS = 48
_SOLID = 0.6  # opacity above which a cell shows the drawing's own colour
_PAINTED = 12.0  # change of colour above which recolouring counts as touching a cell, RGB distance


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """All drawings; a shape is a concept in a style, a drawing is a shape in a colour.

    Attributes:
        cells: Side of a descriptor.
        shapes: (concept, style) of each shape.
        colours: Colour of each drawing, None for the natural look.
        shape_of: Shape of each drawing [drawings].
        style_of: Place of the style of each drawing in `atlas.STYLES` [drawings].
        paint: Premultiplied RGB of each drawing [drawings, cells * cells * 3], 0 to 255.
        alpha: Opacity of each shape [shapes, cells * cells], 0 to 1.
        paint_length: Squared length of each drawing [drawings].
        paint_alpha: Paint times alpha, summed over columns [drawings, cells * 3].
        alpha_alpha: Squared alpha, summed over columns [shapes, cells].
    """

    cells: int
    shapes: tuple[tuple[str, str], ...]
    colours: tuple[str | None, ...]
    shape_of: Indices
    style_of: Indices
    paint: Floats
    alpha: Floats
    paint_length: Floats
    paint_alpha: Floats
    alpha_alpha: Floats

    def correlate(self, crops: Floats, backgrounds: Floats, among: Indices | None = None) -> Floats:
        """Normalised correlation of crops with drawings on the same background, also mirrored.

        Lengths do not change when a crop is mirrored, and a product with the backgrounds, which
        are one colour a row, is mirrored with it; so only two products are new.

        Args:
            crops: Picture minus background [crops, cells, cells, 3].
            backgrounds: Colour per row of each crop [crops, cells, 3].
            among: Drawings to compare with; None means all.

        Returns:
            [2, crops, drawings] in [-1, 1]: of the crops as they are, and mirrored.
        """
        every = slice(None) if among is None else among
        shapes = self.shape_of[every]
        on_background = (crops @ backgrounds[..., None])[..., 0]
        light = np.square(backgrounds).sum(-1)
        rows = backgrounds.reshape(len(crops), -1)
        paint, alpha, squares = self.paint[every], self.alpha, self.alpha_alpha
        if among is not None:
            alpha, squares, shapes = alpha[shapes], squares[shapes], np.arange(len(shapes))

        def product(crops: Floats, on_background: Floats) -> Floats:
            flat, dark = (part.reshape(len(crops), -1) for part in (crops, on_background))
            found: Floats = flat @ paint.T - (dark @ alpha.T)[:, shapes]
            return found

        length = (
            self.paint_length[every]
            - 2 * rows @ self.paint_alpha[every].T
            + (light @ squares.T)[:, shapes]
        )
        energy = np.square(crops.reshape(len(crops), -1)).sum(1, keepdims=True)
        straight = product(crops, on_background)
        mirrored = product(crops[:, :, ::-1], on_background[:, :, ::-1])
        result: Floats = np.stack([straight, mirrored]) / np.sqrt(np.maximum(length * energy, 1.0))
        return result

    def vote(self, drawing: int, crop: Floats, background: Floats) -> str:
        """The GenEval colour in which most paintable cells of a crop look most alike.

        Args:
            drawing: The drawing that the crop shows.
            crop: Picture minus background [cells, cells, 3].
            background: Colour per row [cells, 3].
        """
        shape = self.shape_of[drawing]
        alpha = self.alpha[shape].reshape(self.cells, self.cells, 1)
        members = np.flatnonzero(self.shape_of == shape)
        paint = self.paint[members].reshape(-1, self.cells, self.cells, 3)
        solid = alpha[..., 0] > _SOLID
        if len(members) > 1:
            natural, painted = paint[0], paint[1:]
            solid &= np.linalg.norm(painted - natural, axis=-1).max(0) > _PAINTED
        else:
            painted = alpha * np.array(list(COLOURS.values()), np.float32)[:, None, None]
        expected = painted[:, solid] - (alpha * background[:, None])[solid]
        distance = np.square(crop[solid] - expected).sum(-1)
        votes = np.bincount(distance.argmin(0), minlength=len(COLOURS))
        return list(COLOURS)[int(votes.argmax())]


@cache
def load_bank(cells: int) -> Bank:
    """All drawings of the vocabulary, about 2,600.

    Args:
        cells: Side of a descriptor: FINE or a divisor of it.
    """
    shapes, colours, shape_of, paint, alpha = _draw()
    paint = reduce(
        paint, "n (rows a) (cols b) rgb -> n rows cols rgb", "mean", rows=cells, cols=cells
    )
    alpha = reduce(alpha, "n (rows a) (cols b) -> n rows cols", "mean", rows=cells, cols=cells)
    return Bank(
        cells=cells,
        shapes=shapes,
        colours=colours,
        shape_of=shape_of,
        style_of=np.array([atlas.STYLES.index(style) for _, style in shapes])[shape_of],
        paint=paint.reshape(len(paint), -1),
        alpha=alpha.reshape(len(alpha), -1),
        paint_length=np.square(paint).sum((1, 2, 3)),
        paint_alpha=(paint * alpha[shape_of][..., None]).sum(2).reshape(len(paint), -1),
        alpha_alpha=np.square(alpha).sum(2),
    )


@cache
def _draw() -> tuple[tuple[tuple[str, str], ...], tuple[str | None, ...], Indices, Floats, Floats]:
    """Shapes, colours, shape of each drawing, premultiplied paint and alpha in FINE cells."""
    shapes: list[tuple[str, str]] = []
    drawings: list[tuple[int, str | None]] = []
    paint, alpha = [], []
    middle, side = np.array([_RENDER_PIXELS / 2]), np.array([_RENDER_PIXELS * MARGIN])
    window = windows(middle, side, line=range(_RENDER_PIXELS), cells=FINE)[0]
    for concept, style in itertools.product(atlas.concepts().values(), atlas.STYLES):
        for colour in [None, *COLOURS] if concept.colourable else [None]:
            picture = atlas.sprite(
                concept.id, style=style, colour=colour, pixels=_RENDER_PIXELS, flip=False
            )
            rgba = np.asarray(picture, np.float32)
            opacity = rgba[..., 3:] / 255
            premultiplied = (rgba[..., :3] * opacity).transpose(2, 0, 1)
            paint.append((window @ premultiplied @ window.T).transpose(1, 2, 0))
            drawings.append((len(shapes), colour))
        alpha.append(window @ opacity[..., 0] @ window.T)
        shapes.append((concept.id, style))
    shape_of, colours = zip(*drawings, strict=True)
    return tuple(shapes), colours, np.array(shape_of), np.stack(paint), np.stack(alpha)
