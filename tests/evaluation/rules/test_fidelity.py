"""PSNR and SSIM outside of an edited box, worked by hand."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from mogao.data.world.scene import Scene, SceneObject, render
from mogao.errors import ConfigError, RequestError
from mogao.evaluation.rules.fidelity import (
    GROWN,
    MAX_PSNR,
    Fidelity,
    edited_region,
    outside_box,
)

CAT = SceneObject("cat", None, "small", 32, 48)
DOG = SceneObject("dog", None, "small", 96, 96)
SOURCE = Scene("white", "noto", (CAT, DOG))
FLAT = np.full((128, 128, 3), 100, np.uint8)
LEFT = np.arange(128)[None].repeat(128, 0) < 64


def box(region) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    assert region[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all()
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def test_the_region_is_the_grown_cell_of_what_differs():
    # The cell of a small thing at (32, 48) goes from 16 to 48 and from 32 to 64.
    expected = (16 - GROWN, 32 - GROWN, 48 + GROWN, 64 + GROWN)
    for objects in [(DOG,), (replace(CAT, colour="red"), DOG), (replace(CAT, concept="cow"), DOG)]:
        region = edited_region(SOURCE, replace(SOURCE, objects=objects))
        assert region is not None
        assert box(region) == expected


def test_a_moved_thing_has_two_cells_and_a_free_one_that_where_it_is_drawn():
    moved = replace(SOURCE, objects=(replace(CAT, x=96), DOG))
    region = edited_region(SOURCE, moved)
    assert region is not None
    assert region.sum() == 2 * (32 + 2 * GROWN) ** 2
    elsewhere = edited_region(SOURCE, moved, drawn=[(40.5, 80.0, 72.0, 120.0)])
    assert elsewhere is not None
    assert box(elsewhere & ~region) == (40 - GROWN, 80 - GROWN, 72 + GROWN, 120 + GROWN)
    assert (elsewhere | region == elsewhere).all()


def test_a_region_ends_with_the_picture_and_scales_with_it():
    corner = Scene("white", "noto", (SceneObject("cat", None, "small", 16, 112),))
    region = edited_region(corner, replace(corner, objects=()))
    assert region is not None
    assert box(region) == (0, 96 - GROWN, 32 + GROWN, 128)
    double = replace(corner, pixels=256)
    region = edited_region(double, replace(double, objects=()))
    assert region is not None
    assert box(region) == (0, 192 - GROWN, 64 + GROWN, 256)


def test_nothing_is_outside_of_a_new_background_or_style():
    assert edited_region(SOURCE, replace(SOURCE, background="sea")) is None
    assert edited_region(SOURCE, replace(SOURCE, style="fluent")) is None
    assert edited_region(SOURCE, SOURCE, drawn=[(0.0, 0.0, 128.0, 128.0)]) is None


def test_equal_pictures_reach_the_top_whatever_is_in_the_box():
    edited = replace(SOURCE, objects=(replace(CAT, concept="cow", colour="red"), DOG))
    region = edited_region(SOURCE, edited)
    assert region is not None
    assert outside_box(render(SOURCE), render(edited), region) == Fidelity(MAX_PSNR, 1.0)


def test_psnr_is_that_of_the_pixels_outside():
    edited = FLAT.copy()
    edited[:, :64] += 50  # in the box
    edited[:, 64:] += 5  # mean square error 25: 10 log10(255^2 / 25) = 34.15 dB
    assert outside_box(FLAT, edited, LEFT).psnr == pytest.approx(34.15, abs=0.005)
    half = FLAT.copy()
    half[:64, 64:] += 5  # 12.5: 3.01 dB more
    assert outside_box(FLAT, half, LEFT).psnr == pytest.approx(37.16, abs=0.005)
    black, white = np.zeros_like(FLAT), np.full_like(FLAT, 255)
    assert outside_box(black, white, LEFT).psnr == 0


def test_ssim_of_flat_pictures_is_the_term_of_brightness():
    # 100 and 120: (2 * 100 * 120 + c) / (100^2 + 120^2 + c) with c = (0.01 * 255)^2.
    edited = np.full_like(FLAT, 120)
    c = (0.01 * 255) ** 2
    expected = (24_000 + c) / (24_400 + c)
    assert outside_box(FLAT, edited, LEFT).ssim == pytest.approx(expected, abs=1e-6)


def test_noise_outside_costs_more_than_a_shade():
    rng = np.random.default_rng(0)
    source = render(SOURCE)
    noise = rng.integers(-20, 21, source.shape)
    noisy = np.clip(source.astype(int) + noise, 0, 255).astype(np.uint8)
    assert outside_box(source, noisy, LEFT).ssim < 0.7
    assert outside_box(source, source - 2, LEFT).ssim > 0.99


def test_pictures_of_other_shapes_and_a_box_of_everything_are_refused():
    with pytest.raises(RequestError, match=r"\(64, 64, 3\)"):
        outside_box(FLAT, FLAT[:64, :64], LEFT)
    with pytest.raises(RequestError, match="whole picture"):
        outside_box(FLAT, FLAT, np.ones((128, 128), bool))


def test_a_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(ConfigError, match=r"mogao\[eval\]"):
        outside_box(FLAT, FLAT, LEFT)
