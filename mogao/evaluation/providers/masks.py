"""Detections with outlines, and things cut out of pictures.

In: pixels and detections. Out: pictures of one thing each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from mogao.evaluation.providers.base import Detection
from mogao.sequence import Pixels

_GREY = 0x99  # of GenEval's colour rule


@dataclass(frozen=True, slots=True, eq=False)
class MaskedDetection(Detection):
    """A detection with its outline.

    Attributes:
        mask: The picture's pixels that belong to the thing.
    """

    mask: Bool[np.ndarray, "height width"] = field(kw_only=True)


def cut_out(pixels: Pixels, detection: Detection) -> Pixels:
    """Return the box of a thing, at least one pixel, on grey where its outline is known."""
    if isinstance(detection, MaskedDetection):
        pixels = np.where(detection.mask[..., None], pixels, np.uint8(_GREY))
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(side) for side in detection.box)
    left, top = (min(max(left, 0), width - 1), min(max(top, 0), height - 1))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
