"""A scene is its own truth: JSON round-trips, pictures show exactly the listed objects."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS, PLAIN, background
from mogao.data.world.colours import COLOURS
from mogao.data.world.scene import SIZES, Scene, SceneObject, render
from mogao.errors import DataError

# Plain tuples, because beartype draws random numbers where a value is made, which hypothesis
# forbids inside a strategy.
OBJECTS = st.tuples(
    st.sampled_from(["cat", "bus", "fork", "star"]),
    st.sampled_from([None, *COLOURS]),
    st.sampled_from(list(SIZES)),
    st.integers(0, 128),
    st.integers(0, 128),
    st.booleans(),
)
SCENES = st.tuples(
    st.sampled_from(list(BACKGROUNDS)),
    st.sampled_from(atlas.STYLES),
    st.lists(OBJECTS, max_size=3),
    st.sampled_from([64, 128]),
)


Parts = tuple[str, str, list[Any], int]


def scene_of(parts: Parts) -> Scene:
    ground, style, objects, pixels = parts
    return Scene(ground, style, tuple(SceneObject(*item) for item in objects), pixels)


@given(SCENES)
def test_json_round_trips(parts: Parts) -> None:
    scene = scene_of(parts)
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


@given(SCENES)
@settings(max_examples=40, deadline=None)
def test_rendering_is_deterministic_and_stays_in_the_cells(parts: Parts) -> None:
    scene = scene_of(parts)
    picture = render(scene)
    assert picture.shape == (scene.pixels, scene.pixels, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, render(scene))
    changed = (picture != background(scene.background, scene.pixels)).any(-1)
    scale = scene.pixels / 128
    for item in scene.objects:
        left, top, right, bottom = (round(side * scale) for side in item.cell)
        changed[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
    assert not changed.any()


def test_a_rendered_picture_may_be_changed() -> None:
    scene = Scene("white", "noto")
    render(scene)[:] = 0
    assert render(scene).min() == 250


def test_the_tight_box_holds_what_is_painted() -> None:
    item = SceneObject("fork", None, "large", 64, 64)
    picture = render(Scene("white", "noto", (item,))).astype(int)
    rows, cols = np.nonzero((np.abs(picture - 250) > 12).any(-1))
    left, top, right, bottom = item.box("noto")
    assert left - 2 <= cols.min() < cols.max() <= right + 2
    assert top - 2 <= rows.min() < rows.max() <= bottom + 2
    assert right - left < bottom - top


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_are_smooth_rows(name: str) -> None:
    picture = background(name, 128)
    assert (picture == picture[:, :1]).all()
    steps = np.abs(np.diff(picture[:, 0].astype(int), axis=0))
    assert steps.max() <= 40
    assert (steps.max() == 0) == (name in PLAIN)


def test_there_are_eight_to_fourteen_backgrounds() -> None:
    assert 8 <= len(BACKGROUNDS) <= 14


def test_unknown_background_is_refused_with_a_hint() -> None:
    with pytest.raises(DataError, match="did you mean 'beach'"):
        render(Scene("beech", "noto"))
