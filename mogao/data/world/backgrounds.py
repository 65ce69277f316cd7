"""The backgrounds of the world: rows of colour, so smooth that a small autoencoder keeps them.

In: a name. Out: RGB bytes that change from top to bottom only. Drawn in code: no licence.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mogao.errors import DataError, nearest

# Name to stops (height in [0, 1] from the top, RGB); colours between stops are interpolated.
BACKGROUNDS: dict[str, tuple[tuple[float, tuple[int, int, int]], ...]] = {
    "white": ((0.0, (250, 250, 250)),),
    "gray": ((0.0, (168, 170, 174)),),
    "light blue": ((0.0, (176, 214, 246)),),
    "light green": ((0.0, (188, 228, 184)),),
    "light yellow": ((0.0, (252, 240, 178)),),
    "light pink": ((0.0, (250, 208, 220)),),
    "dark blue": ((0.0, (30, 50, 110)),),
    "dark green": ((0.0, (28, 84, 60)),),
    "meadow": (
        (0.0, (142, 202, 246)), (0.5, (206, 234, 250)),
        (0.58, (134, 198, 96)), (1.0, (98, 168, 70)),
    ),
    "beach": (
        (0.0, (160, 214, 248)), (0.36, (206, 236, 250)), (0.42, (64, 156, 204)),
        (0.56, (92, 186, 216)), (0.64, (240, 218, 164)), (1.0, (228, 196, 134)),
    ),
    "night": ((0.0, (16, 20, 54)), (0.62, (52, 56, 108)), (0.7, (36, 44, 62)), (1.0, (28, 36, 50))),
    "snow": (
        (0.0, (170, 192, 214)), (0.54, (208, 222, 234)),
        (0.62, (242, 246, 250)), (1.0, (228, 236, 246)),
    ),
    "sea": ((0.0, (110, 206, 226)), (1.0, (14, 84, 148))),
    "room": (
        (0.0, (240, 220, 196)), (0.66, (232, 206, 178)),
        (0.7, (150, 108, 78)), (1.0, (122, 86, 62)),
    ),
}  # fmt: skip
PLAIN = tuple(name for name, stops in BACKGROUNDS.items() if len(stops) == 1)


@lru_cache(maxsize=256)
def background(name: str, pixels: int) -> NDArray[np.uint8]:
    """A square background [pixels, pixels, 3]; treat it as read-only, it is shared.

    Raises:
        DataError: There is no background of this name.
    """
    if name not in BACKGROUNDS:
        raise DataError(f"no background {name!r} in the world; {nearest(name, BACKGROUNDS)}")
    heights, colours = zip(*BACKGROUNDS[name], strict=True)
    rows = (np.arange(pixels) + 0.5) / pixels
    channels = [np.interp(rows, heights, channel) for channel in zip(*colours, strict=True)]
    column = np.stack(channels, axis=-1).round().astype(np.uint8)
    result = np.repeat(column[:, None], pixels, axis=1)
    result.flags.writeable = False
    return result
