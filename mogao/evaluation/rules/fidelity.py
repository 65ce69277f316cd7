"""How like its source an edited picture is where nothing was to change: PSNR and SSIM.

In: the picture before an edit, the picture after it, and the region that the edit may change.
Out: two numbers over all pixels outside of the region. An autoencoder loses something of every
picture, so both mean nothing without the same numbers of a real target behind it.

Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural
similarity", section III (SSIM with a Gaussian window); scikit-image computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from mogao.data.world.scene import CANVAS, Box, Scene
from mogao.errors import ConfigError, RequestError
from mogao.sequence import Pixels

MAX_PSNR = 60.0
"""PSNR of equal pictures, and of all that are closer than this, dB."""
SIGMA = 1.5
"""Width of SSIM's window, pixels."""
GROWN = 5
"""By what a region is grown, pixels: SSIM's window reaches as far, so none looks into a box."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well pixels were kept.

    Attributes:
        psnr: Peak signal-to-noise ratio, dB, at most `MAX_PSNR`.
        ssim: Structural similarity, mean over pixels and colours, at most 1.
    """

    psnr: float
    ssim: float


def edited_region(source: Scene, target: Scene, *, drawn: Sequence[Box] = ()) -> Mask | None:
    """Return the pixels that an edit may change; None where that is the whole picture.

    They are the cells of all objects that are only in one of the scenes, a little grown.

    Args:
        source: The scene before.
        target: The scene that was asked for.
        drawn: Boxes of things that may stand elsewhere than in the target, canvas pixels.
    """
    if (source.background, source.style) != (target.background, target.style):
        return None
    differing = set(source.objects) ^ set(target.objects)
    region = np.zeros((source.pixels, source.pixels), bool)
    scale = source.pixels / CANVAS
    for box in [*(one.cell for one in differing), *drawn]:
        left, top = (max(floor(edge * scale) - GROWN, 0) for edge in box[:2])
        right, bottom = (max(ceil(edge * scale) + GROWN, 0) for edge in box[2:])
        region[top:bottom, left:right] = True
    return None if region.all() else region


def outside_box(source: Pixels, edited: Pixels, region: Mask) -> Fidelity:
    """Compare two pictures outside of a region.

    Args:
        source: RGB bytes [rows, cols, 3] before the edit.
        edited: RGB bytes of the same shape after it.
        region: True where the edit may change the picture [rows, cols].

    Raises:
        RequestError: The shapes differ, or nothing is outside.
        ConfigError: scikit-image is not installed.
    """
    if source.shape != edited.shape or source.shape[:2] != region.shape:
        raise RequestError(
            f"pictures of shapes {source.shape} and {edited.shape} and a region of shape "
            f"{region.shape} cannot be compared: expected the same rows and columns"
        )
    outside = ~region
    if not outside.any():
        raise RequestError("the region is the whole picture: nothing outside can be compared")
    error = np.square(source[outside].astype(np.float64) - edited[outside]).mean()
    psnr = MAX_PSNR if error == 0 else min(10 * np.log10(255**2 / error), MAX_PSNR)
    return Fidelity(float(psnr), float(_similarity(source, edited)[outside].mean()))


def _similarity(first: Pixels, second: Pixels) -> NDArray[np.float64]:
    """SSIM of the window around each pixel and colour [rows, cols, 3], as in the paper."""
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise ConfigError(
            "SSIM needs the scikit-image library: pip install 'mogao[eval]'"
        ) from None
    _, full = structural_similarity(
        first,
        second,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return full
