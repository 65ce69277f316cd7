"""The world's own truth as a detector and a reader of colours: a judge that knows every drawing.

In: pictures of the offline world, or of a model that draws it. Out: detections and colours, as
one of the world's judges sees them.
"""

from __future__ import annotations

import numpy as np

from mogao.data.world.scene import CANVAS
from mogao.evaluation.judges.report import Judge, Report, on_canvas
from mogao.evaluation.providers.base import Detection
from mogao.sequence import Pixels


class WorldEyes:
    """A judge of the world, asked as a detector or a reader of colours.

    A square picture of another size is scaled for the judge; boxes are those of the picture given.

    Args:
        judge: Reads pictures of 128 pixels a side.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._last: tuple[bytes, Report] | None = None
        self.name = f"world:{judge.name}"

    def detect(self, pixels: Pixels) -> list[Detection]:
        """Return what a picture shows, the largest first; boxes are squares on the longer side.

        Raises:
            ShapeError: The picture is not square.
        """
        scale = len(pixels) / CANVAS
        return [
            Detection(found.concept, _scaled_box(found.box, scale), found.score)
            for found in self._read(pixels).findings
        ]

    def colour(self, pixels: Pixels, detection: Detection) -> str:
        """Return the colour of the nearest thing, of the same name where there is one.

        A picture that shows nothing gives "".

        Raises:
            ShapeError: The picture is not square.
        """
        report = self._read(pixels)
        found = report.named(detection.name) or report.findings
        if not found:
            return ""
        left, top, right, bottom = np.array(detection.box) * (CANVAS / len(pixels))
        x, y = (left + right) / 2, (top + bottom) / 2
        return min(found, key=lambda one: np.hypot(one.x - x, one.y - y)).colour

    def _read(self, pixels: Pixels) -> Report:
        """The report on a picture; one detection is often followed by questions of colour."""
        key = repr(pixels.shape).encode() + pixels.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._judge.read(on_canvas(pixels))
        return self._last[1]


def _scaled_box(
    box: tuple[float, float, float, float], scale: float
) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * scale, top * scale, right * scale, bottom * scale
