"""Pictures from files and bytes to RGB arrays, checked before they are decoded, and back to PNG.

In: paths or bytes of PNG, JPEG, WebP, GIF, BMP or TIFF. Out: uint8 arrays [height, width, 3].
Every failure is a `RequestError`; readers of records turn it into a `DataError` with file, line
and field. Nothing here fetches anything.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageOps, UnidentifiedImageError

from mogao.errors import RequestError
from mogao.files import atomic_write
from mogao.sequence import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are decoded; all others (some start external programs) are refused."""
MIN_SIDE_PIXELS = 16
DEFAULT_MAX_PIXELS = 16_777_216
TOKEN_PIXELS = 16

# What Pillow's decoders raise on broken files, found by fuzzing (tests/data/test_images.py).
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError,
           OverflowError, struct.error, zlib.error)  # fmt: skip


def read_image(
    source: Path | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, where: str = ""
) -> Pixels:
    """Decode a picture: EXIF orientation applied, alpha composed on white, first frame only.

    Args:
        source: A file or the bytes of one.
        max_pixels: Largest height x width; a larger picture is refused from its header alone.
        where: What to call the picture in messages; the file's path when empty.

    Raises:
        RequestError: It is missing, no picture, cut off, broken, a decompression bomb, larger
            than `max_pixels`, below 16 pixels on a side, or of 32-bit samples.
    """
    where = where or (str(source) if isinstance(source, Path) else "picture")
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise RequestError(f"{where}: cannot read the picture: {error.strerror}") from None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return rgb_pixels(image, max_pixels=max_pixels, where=where)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RequestError(f"{where}: far more than the {max_pixels} pixels allowed") from None
    except UnidentifiedImageError:
        raise RequestError(
            f"{where}: not a picture in {', '.join(FORMATS)} ({len(data)} bytes)"
        ) from None
    except _BROKEN as error:
        raise RequestError(f"{where}: the picture is cut off or broken ({error})") from None


def rgb_pixels(
    image: Image.Image, *, max_pixels: int = DEFAULT_MAX_PIXELS, where: str = "picture"
) -> Pixels:
    """Return the bytes of a Pillow picture, oriented, alpha composed on white.

    Raises:
        RequestError: As of `read_image`; the size is checked before anything is decoded.
    """
    _check_size(image, max_pixels=max_pixels, where=where)
    try:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), where=where)
    except _BROKEN as error:
        raise RequestError(f"{where}: the picture is cut off or broken ({error})") from None


def fit(
    pixels: Pixels,
    *,
    token_pixels: int = TOKEN_PIXELS,
    pixel_budget: int = 16_384,
    most_tokens: int | None = None,
) -> tuple[Pixels, dict[str, list[int]] | None]:
    """Scale a picture to the token grid and the pixel budget, keeping its aspect ratio.

    A picture within the budget keeps its size but for the rounding of its sides to multiples of
    `token_pixels`; a larger one shrinks to the budget.

    Args:
        pixels: The picture.
        token_pixels: Pixels per side of a token.
        pixel_budget: Most pixels of the result.
        most_tokens: Most tokens of a side, where there is such a bound.

    Returns:
        The picture and, where it was changed, {"from": [height, width], "to": [height, width]}.

    Raises:
        RequestError: The budget is smaller than one token.
    """
    height, width = pixels.shape[:2]
    rows, cols = fitted_grid(
        (height, width),
        token_pixels=token_pixels,
        pixel_budget=pixel_budget,
        most_tokens=most_tokens,
    )
    size = (rows * token_pixels, cols * token_pixels)
    if size == (height, width):
        return pixels, None
    scaled = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(scaled), {"from": [height, width], "to": list(size)}


def fitted_grid(
    size: tuple[int, int],
    *,
    token_pixels: int,
    pixel_budget: int,
    most_tokens: int | None = None,
) -> tuple[int, int]:
    """Return (rows, cols) in tokens of a picture of `size` = (height, width) after `fit`.

    Raises:
        RequestError: The budget is smaller than one token.
    """
    budget_tokens = pixel_budget // token_pixels**2
    if budget_tokens < 1:
        raise RequestError(
            f"pixel budget {pixel_budget} is below one token of {token_pixels} x {token_pixels}"
        )
    height, width = size
    scale = min(1.0, (pixel_budget / (height * width)) ** 0.5)
    if most_tokens is not None:
        scale = min(scale, most_tokens * token_pixels / max(height, width))
    scale /= token_pixels
    rows, cols = (max(1, int(side * scale + 0.5)) for side in (height, width))
    while rows * cols > budget_tokens:  # rounding went up: give back the side that bends less
        narrower = rows / max(cols - 1, 1e-9) * width / height
        flatter = cols / max(rows - 1, 1e-9) * height / width
        rows, cols = (rows, cols - 1) if narrower <= flatter else (rows - 1, cols)
    return rows, cols


def fit_sides(
    height: int,
    width: int,
    *,
    longest: int,
    shortest: int,
    multiple: int,
    max_pixels: int = 1_806_336,
) -> tuple[int, int]:
    """Return the sides of a picture scaled into bounds, aspect ratio kept but for rounding.

    A large picture shrinks until its longest side fits, a small one grows until its shortest side
    does; of a picture so flat that both cannot, the longest side is brought back at the end.

    Args:
        height: Pixels.
        width: Pixels.
        longest: Most pixels of the longest side; a multiple of `multiple`.
        shortest: Least pixels of the shortest side, unless the longest side forbids it.
        multiple: Both sides become multiples of it.
        max_pixels: Above this area both sides shrink by area / `max_pixels`: that is more than the
            root which would suffice, and only pictures flatter than about 1 : 7 meet it.

    Source: arXiv 2505.14683, data/transforms.py of the public code.
    """
    sides = (height, width)
    scale = max(min(longest / max(sides), 1.0), shortest / min(sides))
    sides = _scaled_sides(sides, scale, multiple)
    if sides[0] * sides[1] > max_pixels:
        sides = _scaled_sides(sides, max_pixels / (sides[0] * sides[1]), multiple)
    if max(sides) > longest:
        sides = _scaled_sides(sides, longest / max(sides), multiple)
    return sides


def scaled(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """Return a picture at another size, bicubic with antialiasing; the picture itself if equal."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def read_loss_map(
    source: Path | bytes, grid: tuple[int, int], *, where: str = ""
) -> Float32[np.ndarray, "rows cols"]:
    """Read loss weights of a picture: brightness 0 to 255 means 0 to 1, averaged over each token.

    Raises:
        RequestError: As `read_image`.
    """
    grey = Image.fromarray(read_image(source, where=where)).convert("L").convert("F")
    small = grey.resize((grid[1], grid[0]), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def png_bytes(pixels: Pixels) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def data_url(pixels: Pixels) -> str:
    """Return a picture as a PNG inside a URL, for pages and messages that hold their pictures."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(pixels)).decode()}"


def save_png(pixels: Pixels, path: Path) -> None:
    """Write a picture as PNG; the file appears complete or not at all."""
    atomic_write(path, png_bytes(pixels))


def _scaled_sides(sides: tuple[int, int], scale: float, multiple: int) -> tuple[int, int]:
    # Rounded twice, to pixels and then to multiples, as the source does: half a pixel can decide.
    height, width = (
        max(multiple, round(round(side * scale) / multiple) * multiple) for side in sides
    )
    return height, width


def _check_size(image: Image.Image, *, max_pixels: int, where: str) -> None:
    width, height = image.size
    if height * width > max_pixels:
        raise RequestError(
            f"{where}: {height} x {width} pixels; at most {max_pixels} are allowed, scale it down"
        )
    if min(height, width) < MIN_SIDE_PIXELS:
        raise RequestError(
            f"{where}: {height} x {width} pixels; both sides must have at least {MIN_SIDE_PIXELS}"
        )


def _to_rgb(image: Image.Image, *, where: str) -> Pixels:
    if image.mode in {"I", "F"}:
        raise RequestError(f"{where}: 32-bit samples; save the picture with 8 or 16 bits")
    if image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey at 255
        grey = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return np.asarray(image.convert("RGB"))
