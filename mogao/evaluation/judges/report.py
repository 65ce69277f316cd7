"""What a judge says about a picture, and what it takes: the border of judges and rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mogao.data.world.scene import CANVAS
from mogao.errors import RequestError
from mogao.sequence import Pixels


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a judge sees.

    Attributes:
        concept: The best-scoring concept of the whole vocabulary.
        style: Style of the drawing that fits best.
        colour: The GenEval colour that most of its paintable pixels show.
        size: Longer side of the thing, pixels of the 128-pixel canvas.
        x: Centre, pixels of the canvas from the left.
        y: Centre, pixels of the canvas from the top.
        score: Normalised correlation with the best drawing, in [0, 1].
    """

    concept: str
    style: str
    colour: str
    size: float
    x: float
    y: float
    score: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of a square on the longer side, pixels of the canvas."""
        half = self.size / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True, slots=True)
class Report:
    """What a judge sees in one picture.

    Attributes:
        background: Name of the most likely background.
        findings: The things in the picture, the largest first.
    """

    background: str
    findings: tuple[Finding, ...]

    def named(self, concept: str) -> list[Finding]:
        """All findings of one concept, the largest first."""
        return [finding for finding in self.findings if finding.concept == concept]

    def to_json(self) -> dict[str, Any]:
        """Plain data for result files."""
        return {
            "background": self.background,
            "findings": [
                {
                    "concept": item.concept,
                    "style": item.style,
                    "colour": item.colour,
                    "size": round(item.size, 1),
                    "x": round(item.x, 1),
                    "y": round(item.y, 1),
                    "score": round(item.score, 3),
                }
                for item in self.findings
            ],
        }


class ShapeError(RequestError):
    """A picture has a shape that no judge of the world takes."""


def on_canvas(pixels: Pixels, *, side: int = CANVAS) -> Pixels:
    """Return a square picture at the side at which judges and rules measure.

    Args:
        pixels: RGB bytes [rows, cols, 3].
        side: Rows and columns of the result; the canvas by default.

    Raises:
        ShapeError: The picture is not square.
    """
    height, width = pixels.shape[:2]
    if height != width:
        raise ShapeError(
            f"the world's pictures are square, got {height} x {width} pixels: cut it first"
        )
    if height == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def check_canvas(pixels: NDArray[np.uint8]) -> None:
    """Refuse a picture that is not as large as the canvas.

    Raises:
        ShapeError: The shape is not [128, 128, 3].
    """
    if pixels.shape != (CANVAS, CANVAS, 3):
        raise ShapeError(
            f"the judge got a picture of shape {pixels.shape}, expected "
            f"({CANVAS}, {CANVAS}, 3): scale it first"
        )


@runtime_checkable
class Judge(Protocol):
    """Reads pictures; it knows their pixels and nothing of how they were made.

    Attributes:
        name: With a version that changes where its reports do; it is stored beside scores.
    """

    @property
    def name(self) -> str:
        """See the attribute."""

    def read(self, pixels: NDArray[np.uint8]) -> Report:
        """Say what a picture [128, 128, 3] shows."""
