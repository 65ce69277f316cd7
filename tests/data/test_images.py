"""Pictures: what is decoded, what is refused, and how a picture is fitted to the token grid."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mogao.data.images import (
    fit,
    fit_sides,
    fitted_grid,
    png_bytes,
    read_image,
    read_loss_map,
    save_png,
    scaled,
)
from mogao.errors import RequestError
from mogao.sequence import Pixels


def noise(height: int, width: int, *, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, fmt: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=fmt, **options)
    return buffer.getvalue()


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", body), (b"IDAT", b"")):
        check = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + check
    return data


def test_png_round_trips_exactly(tmp_path: Path) -> None:
    pixels = noise(33, 47)
    save_png(pixels, tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
    assert np.array_equal(read_image(png_bytes(pixels)), pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_common_formats_are_read(fmt: str) -> None:
    assert read_image(encoded(Image.fromarray(noise(20, 30)), fmt)).shape == (20, 30, 3)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    pixels = noise(20, 30)
    data = encoded(Image.fromarray(pixels), "PNG", exif=exif)
    assert np.array_equal(read_image(data), np.rot90(pixels, k=-1))


def test_alpha_is_composed_on_white() -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:8, :, 3] = 255  # upper half opaque black, lower half clear
    pixels = read_image(encoded(Image.fromarray(rgba)))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[15, 0].tolist() == [255, 255, 255]


def test_grey_palette_and_16_bit_become_rgb() -> None:
    grey = np.full((16, 16), 0x8080, np.uint16)
    assert read_image(encoded(Image.fromarray(grey))).tolist() == [[[128] * 3] * 16] * 16
    for mode in ("L", "P", "1", "LA"):
        assert read_image(encoded(Image.fromarray(noise(16, 16)).convert(mode))).ndim == 3


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture"),
        (b"hello, I am no picture at all", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", "not a picture"),
        (encoded(Image.fromarray(noise(64, 64)))[:2000], "cut off or broken"),
        (encoded(Image.new("RGB", (1, 1))), "1 x 1 pixels; both sides must have at least 16"),
        (encoded(Image.new("RGB", (400, 15))), "15 x 400 pixels; both sides"),
        (header_only_png(5000, 5000), "at most 16777216 are allowed"),
        (header_only_png(60_000, 60_000), "far more than the"),
        (encoded(Image.new("F", (16, 16)), "TIFF"), "32-bit samples"),
    ],
)
def test_bad_pictures_are_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_image(data, where="cat.png")
    assert str(caught.value).startswith("cat.png: ")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_picture_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(RequestError, match="10000 x 10000 pixels; at most 1000 are allowed"):
        read_image(header_only_png(10_000, 10_000), max_pixels=1000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.png: cannot read the picture"):
        read_image(tmp_path / "none.png")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on broken metadata
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_broken_bytes_never_raise_anything_else(fmt: str) -> None:
    rng = random.Random(0)
    whole = encoded(Image.fromarray(noise(24, 24)), fmt)
    for _ in range(150):
        data = bytearray(whole[: rng.randrange(8, len(whole) + 1)])
        for _ in range(4):
            data[rng.randrange(min(len(data), rng.choice([60, 10_000])))] = rng.randrange(256)
        try:
            pixels = read_image(bytes(data), max_pixels=100_000)
        except RequestError:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3


def test_a_fitting_picture_is_left_alone() -> None:
    pixels = noise(128, 64)
    fitted, change = fit(pixels, pixel_budget=128 * 128)
    assert change is None
    assert fitted is pixels


def test_a_change_of_size_is_reported() -> None:
    fitted, change = fit(noise(300, 200), pixel_budget=128 * 128)
    assert change == {"from": [300, 200], "to": [160, 96]}
    assert fitted.shape == (160, 96, 3)


def test_a_small_picture_is_rounded_not_enlarged() -> None:
    assert fitted_grid((50, 40), token_pixels=16, pixel_budget=16_384) == (3, 3)


@given(
    size=st.tuples(st.integers(16, 4000), st.integers(16, 4000)),
    tokens=st.integers(1, 400),
)
def test_fitted_pictures_keep_budget_and_shape(size: tuple[int, int], tokens: int) -> None:
    rows, cols = fitted_grid(size, token_pixels=16, pixel_budget=tokens * 256)
    assert rows >= 1
    assert cols >= 1
    assert rows * cols <= tokens
    assert rows <= size[0] / 16 + 0.5
    assert cols <= size[1] / 16 + 0.5
    if min(rows, cols) >= 4:  # below that the rounding to whole tokens rules
        assert 0.7 < (rows / cols) / (size[0] / size[1]) < 1.4


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(RequestError, match="pixel budget 100 is below one token"):
        fit(noise(32, 32), pixel_budget=100)


VIT = {"longest": 980, "shortest": 224, "multiple": 14}
LATENTS = {"longest": 1024, "shortest": 512, "multiple": 16}


@pytest.mark.parametrize(
    ("size", "bounds", "expected"),
    [
        ((1000, 2000), VIT, (490, 980)),  # halved to the longest side
        ((100, 150), VIT, (224, 336)),  # grown to the shortest side
        ((512, 768), VIT, (518, 770)),  # 36.6 and 54.9 patches
        ((230, 245), VIT, (224, 252)),  # 16.4 patches; 17.5 are rounded to the even 18
        ((203, 700), VIT, (224, 770)),  # 772.4 pixels are 55.2 patches
        ((3000, 4000), LATENTS, (768, 1024)),
        ((400, 1000), LATENTS, (416, 1024)),  # grown to 512 x 1280, brought back to 409.6 x 1024
        # Grown to 512 x 5120, above the area: x 0.689 gives 352 x 3520, brought back to 102 x 1024.
        ((100, 1000), LATENTS, (96, 1024)),
        ((17, 4000), LATENTS, (16, 1024)),  # never below one multiple
    ],
)
def test_sides_are_fitted_into_bounds(
    size: tuple[int, int], bounds: dict[str, int], expected: tuple[int, int]
) -> None:
    assert fit_sides(*size, **bounds) == expected
    assert fit_sides(*size[::-1], **bounds) == expected[::-1]


@given(size=st.tuples(st.integers(16, 6000), st.integers(16, 6000)))
def test_fitted_sides_keep_bounds(size: tuple[int, int]) -> None:
    sides = fit_sides(*size, **VIT)
    assert max(sides) <= 980
    assert all(side % 14 == 0 for side in sides)
    if max(size) <= 4 * min(size):  # flatter pictures cannot keep both bounds
        assert min(sides) >= 224


def test_a_picture_is_scaled_with_antialiasing() -> None:
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::2] = 255
    small = scaled(lines, height=28, width=14)
    assert small.shape == (28, 14, 3)
    assert np.abs(small.astype(int) - 128).max() < 16
    assert scaled(lines, height=64, width=64) is lines


def test_loss_map_is_brightness_averaged_over_tokens() -> None:
    grey = np.zeros((32, 64, 3), np.uint8)
    grey[:16, :16] = 255
    grey[16:, 48:] = 51
    weights = read_loss_map(png_bytes(grey), (2, 4))
    assert weights.shape == (2, 4)
    assert weights[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert weights[1, 3] == pytest.approx(0.2)
