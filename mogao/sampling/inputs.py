"""What callers may put into a document, checked and brought into the form of segments.

In: text, pictures, segments, sequences. Out: segments whose pictures fit the token grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mogao.config import LimitsConfig
from mogao.data.images import MIN_SIDE_PIXELS, fit, rgb_pixels
from mogao.errors import RequestError
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment

# A sequence may mix text, pictures and segments.
Content = str | NDArray[Any] | Image.Image | Segment | InterleavedSequence | Sequence[Any]
Size = tuple[int, int]  # (height, width) in pixels


def as_segments(content: Content, role: Role | None, *, limits: LimitsConfig) -> list[Segment]:
    """Return content as segments; `role` replaces their own, None means the model for bare content.

    Raises:
        RequestError: Something in it is of another type, a Pillow picture is broken or larger than
            `max_input_pixels`, or all of it is nothing but white space.
    """
    one = (str, np.ndarray, Image.Image, TextSegment, ImageSegment)
    items = [content] if isinstance(content, one) else content
    segments = [_segment(item, limits) for item in items]
    if not any(isinstance(s, ImageSegment) or s.text.strip() for s in segments):
        raise RequestError("the prompt is empty: write what is to be done, or add a picture")
    return [replace(segment, role=role) if role else segment for segment in segments]


def _segment(item: Any, limits: LimitsConfig) -> Segment:
    if isinstance(item, TextSegment | ImageSegment):
        return item
    if isinstance(item, str):
        return TextSegment(item)
    if isinstance(item, Image.Image):
        return ImageSegment(rgb_pixels(item, max_pixels=limits.max_input_pixels))
    if isinstance(item, np.ndarray):
        _check_pixels(item)
        return ImageSegment(item)
    raise RequestError(f"cannot add {type(item).__name__}: give text, RGB bytes or segments")


def _check_pixels(pixels: NDArray[Any]) -> None:
    shape, kind = pixels.shape, pixels.dtype
    if len(shape) != 3 or shape[2] != 3 or kind != np.uint8:
        raise RequestError(
            f"picture of shape {shape} and type {kind}; expected RGB bytes [height, width, 3]"
        )


def fitted(
    segment: Segment, limits: LimitsConfig, *, token_pixels: int, most_tokens: int | None = None
) -> tuple[Segment, dict[str, list[int]] | None]:
    """Scale a picture to the token grid and the pixel budget; text stays as it is.

    Returns:
        The segment and, where its picture was changed, {"from": [height, width], "to": [...]}.

    Raises:
        RequestError: It is not RGB bytes, or too small, or larger than `max_input_pixels`.
    """
    if isinstance(segment, TextSegment):
        return segment, None
    _check_pixels(segment.pixels)
    shape = segment.pixels.shape
    if shape[0] * shape[1] > limits.max_input_pixels or min(shape[:2]) < MIN_SIDE_PIXELS:
        raise RequestError(
            f"picture of {shape[0]} x {shape[1]} pixels; sides must be at least "
            f"{MIN_SIDE_PIXELS} and the area at most {limits.max_input_pixels}"
        )
    pixels, change = fit(
        segment.pixels,
        token_pixels=token_pixels,
        pixel_budget=limits.pixel_budget,
        most_tokens=most_tokens,
    )
    return replace(segment, pixels=pixels), change


def check_size(size: Size, *, token_pixels: int, most_tokens: int | None = None) -> None:
    """Refuse a picture size that is off the token grid, or beyond a table of positions.

    Raises:
        RequestError: A side is not a positive multiple of `token_pixels`, or has more than
            `most_tokens` tokens.
    """
    if most_tokens is not None and max(size) > most_tokens * token_pixels:
        raise RequestError(
            f"picture size {size[0]} x {size[1]} (height x width): the model has positions for "
            f"at most {most_tokens * token_pixels} pixels a side"
        )
    if min(size) < token_pixels or any(pixels % token_pixels for pixels in size):
        raise RequestError(
            f"picture size {size[0]} x {size[1]} (height x width): both must be positive "
            f"multiples of {token_pixels}"
        )
