"""The ten GenEval colours: their bytes, how a sprite takes one, how one is read back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (250, 214, 40),
    "green": (52, 160, 70),
    "blue": (40, 100, 214),
    "purple": (130, 60, 180),
    "pink": (245, 130, 180),
    "brown": (125, 75, 40),
    "black": (38, 38, 42),
    "white": (240, 240, 240),
}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_VIVID = 50  # HSV saturation and value, of 255, above which a pixel counts as coloured


def recolour(sprite: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """Paint an RGBA sprite in a GenEval colour, keeping its shading around the median.

    Vivid pixels alone are painted where they are at least 45 % of the opaque ones, which keeps
    wheels, windows and eyes. Source: own design, docs/world.md.
    """
    rgb = sprite[..., :3].astype(np.float32)
    opaque = sprite[..., 3] > 127
    luminance = rgb @ _LUMA / 255
    highest, lowest = rgb.max(-1), rgb.min(-1)
    saturation = 255 * (highest - lowest) / np.maximum(highest, 1)
    vivid = (saturation > _VIVID) & (highest > _VIVID)
    mask = vivid if (vivid & opaque).sum() >= 0.45 * opaque.sum() else np.ones_like(opaque)
    middle = np.median(luminance[mask & opaque]) if (mask & opaque).any() else 0.5
    delta = (np.clip(luminance - middle, -0.5, 0.45) * 0.55)[..., None]
    target = np.array(COLOURS[colour], dtype=np.float32)
    painted = np.where(delta < 0, target * (1 + delta), target + (255 - target) * delta * 0.8)
    result = sprite.copy()
    result[..., :3] = np.where(mask[..., None], painted, rgb).round().astype(np.uint8)
    return result


def nearest_colour(sprite: NDArray[np.uint8], *, share: float = 0.5) -> str | None:
    """The GenEval colour that most opaque pixels of an RGBA sprite show to a human eye.

    Args:
        sprite: RGBA bytes [rows, cols, 4].
        share: Least part of the opaque pixels that must agree, in [0, 1].

    Returns:
        The name, or None where no colour is that common or the commonest is a grey.
    """
    pixels = sprite[sprite[..., 3] > 127][:, :3].astype(np.float32)
    if not len(pixels):
        return None
    votes = np.bincount(_names(pixels), minlength=len(COLOURS) + 1)
    best = int(votes.argmax())
    return [*COLOURS, None][best] if votes[best] >= share * len(pixels) else None


def _names(pixels: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index into COLOURS of each RGB pixel, or the number of colours for a grey."""
    highest, lowest = pixels.max(-1), pixels.min(-1)
    spread = np.maximum(highest - lowest, 1e-3)
    red, green, blue = pixels.T
    hue = np.where(
        highest == red,
        (green - blue) / spread % 6,
        np.where(highest == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    hue, saturation, value = hue * 60, spread / np.maximum(highest, 1), highest / 255
    dull = saturation < 0.18
    warm = (hue >= 16) & (hue < 41)
    reddish = (hue >= 335) | (hue < 16)
    tests = {
        "black": (value < 0.22) | (dull & (value < 0.3)),
        "white": dull & (value > 0.85),
        "grey": dull,
        "brown": (warm & (value < 0.75)) | (reddish & (value < 0.55) & (saturation < 0.6)),
        "pink": ((hue >= 300) & (hue < 335)) | (reddish & (saturation < 0.55) & (value > 0.75)),
        "red": reddish,
        "orange": warm,
        "yellow": (hue >= 41) & (hue < 68),
        "green": (hue >= 68) & (hue < 172),
        "blue": (hue >= 172) & (hue < 252),
        "purple": hue >= 252,
    }
    order = [*COLOURS, "grey"]
    return np.select(list(tests.values()), [np.intp(order.index(name)) for name in tests], 0)
