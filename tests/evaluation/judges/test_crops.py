"""The background is named, and pieces are what is connected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.data.world.backgrounds import BACKGROUNDS, background
from mogao.data.world.sampling import sample_scene
from mogao.data.world.scene import render
from mogao.evaluation.judges.crops import (
    MAX_SIDE,
    Piece,
    find_background,
    find_pieces,
    foregrounds,
    label,
)


def flood(mask: np.ndarray) -> list[frozenset[tuple[int, int]]]:
    """The slow, obvious components."""
    left = {(int(row), int(col)) for row, col in zip(*np.nonzero(mask), strict=True)}
    components = []
    while left:
        frontier, seen = [left.pop()], set[tuple[int, int]]()
        while frontier:
            row, col = frontier.pop()
            seen.add((row, col))
            for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                if near in left:
                    left.remove(near)
                    frontier.append(near)
        components.append(frozenset(seen))
    return components


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 0.8))
def test_label_finds_the_components_that_a_flood_finds(seed: int, share: float):
    mask = np.random.default_rng(seed).random((13, 17)) < share
    labels, count = label(mask)
    found = {
        frozenset((int(r), int(c)) for r, c in zip(*np.nonzero(labels == n), strict=True))
        for n in range(1, count + 1)
    }
    assert found == set(flood(mask))
    assert not labels[~mask].any()


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_every_background_is_named_although_its_colours_are_off(name: str):
    pixels = background(name, 128).astype(int) + np.array([6, -5, 4])
    found, rows = find_background(pixels.clip(0, 255).astype(np.uint8))
    assert found == name
    assert np.abs(rows - pixels.clip(0, 255)[:, 0]).max() < 1


def slow_rows(pixels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The obvious correction of a known background, by NaN for what is not near."""
    residual = pixels.astype(np.float32) - known[:, None]
    near = np.square(residual).sum(-1) < 40.0**2
    enough = near.sum(1) >= max(8, pixels.shape[1] // 8)
    drift = np.nanmedian(np.where(near[..., None], residual, np.nan)[enough], axis=1)
    rows = np.arange(len(known))
    filled = [np.interp(rows, rows[enough], channel) for channel in drift.T]
    return known + np.stack(filled, -1).astype(np.float32)


def test_a_background_is_corrected_as_the_obvious_way_does_it(rng: np.random.Generator):
    for seed in range(12):
        scene = sample_scene(np.random.default_rng(seed), max_objects=6)
        noisy = (render(scene) + rng.normal(0, 4, (128, 128, 3))).clip(0, 255).astype(np.uint8)
        name, rows = find_background(noisy)
        expected = slow_rows(noisy, background(name, 128)[:, 0].astype(np.float32))
        assert np.array_equal(rows, expected)


def test_a_background_alone_has_no_foreground():
    pixels = background("meadow", 128)
    _, rows = find_background(pixels)
    assert not next(foregrounds(pixels - rows[:, None])).any()


def test_specks_are_left_out_and_pieces_come_largest_first():
    mask = np.zeros((128, 128), bool)
    mask[10:20, 10:20] = mask[60:90, 60:90] = mask[100:102, 100:102] = True
    assert [piece.box for piece in find_pieces(mask)] == [(60, 60, 90, 90), (10, 10, 20, 20)]


def test_two_things_that_touch_are_cut_where_they_are_thinnest():
    mask = np.zeros((128, 128), bool)
    mask[40:90, 5:52] = mask[40:90, 56:103] = mask[64:67, 52:56] = True
    pieces = find_pieces(mask)
    assert len(pieces) == 2
    assert all(piece.side <= MAX_SIDE for piece in pieces)
    assert all(50 <= edge <= 57 for edge in sorted(piece.box[0] for piece in pieces)[1:])


def test_the_box_of_a_piece_is_tight():
    mask = np.zeros((128, 128), bool)
    mask[3, 7] = mask[5, 11] = True
    piece = Piece.of(mask)
    assert piece.box == (7, 3, 12, 6)
    assert piece.side == 5
