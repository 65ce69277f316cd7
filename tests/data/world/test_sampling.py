"""Sampled scenes keep the rules: inside the canvas, apart, clear relations, visible objects."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.data.world import atlas
from mogao.data.world.colours import COLOURS
from mogao.data.world.sampling import (
    GRID,
    MARGIN,
    RELATIONS,
    apart,
    centres,
    compose,
    grounds_for,
    holds,
    place,
    sample_scene,
    stands_out,
)
from mogao.data.world.scene import CANVAS, SIZES
from mogao.errors import DataError


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_sampled_scenes_keep_the_rules(seed: int) -> None:
    scene = sample_scene(np.random.default_rng(seed), max_objects=6)
    assert 1 <= len(scene.objects) <= 6
    for item in scene.objects:
        assert item.x in centres(item.size, GRID)
        assert item.y in centres(item.size, GRID)
        assert min(item.cell) >= 0
        assert max(item.cell) <= CANVAS
        assert stands_out(item.concept, item.colour, style=scene.style, ground=scene.background)
    for first, second in combinations(scene.objects, 2):
        assert apart(first.cell, second.cell)


@pytest.mark.parametrize("relation", RELATIONS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_stated_relation_holds_with_its_margin(relation: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = compose(rng, [("cat", None), ("bus", None)], style="noto", relation=relation)
    first, second = scene.objects
    along = {
        "left of": second.x - first.x,
        "right of": first.x - second.x,
        "above": second.y - first.y,
        "below": first.y - second.y,
    }[relation]
    assert along >= MARGIN >= 0.12 * CANVAS
    assert holds(relation, first, second)
    assert (first.concept, second.concept) == ("cat", "bus")


def test_objects_of_one_concept_share_their_size() -> None:
    for seed in range(20):
        scene = compose(np.random.default_rng(seed), [("cat", None)] * 4, style="fluent")
        assert len({item.size for item in scene.objects}) == 1


def test_nothing_is_lost_in_its_background() -> None:
    assert not stands_out("apple", "white", style="noto", ground="white")
    assert stands_out("apple", "red", style="noto", ground="white")
    assert "night" not in grounds_for([("cat", "black")], "noto")


def test_every_concept_and_colour_stands_out_somewhere() -> None:
    for style in atlas.STYLES:
        for name in atlas.concepts():
            assert len(grounds_for([(name, None)], style)) >= 4, name
        for colour in COLOURS:
            assert len(grounds_for([("car", colour)], style)) >= 4, colour


def test_place_gives_up_where_nothing_fits() -> None:
    rng = np.random.default_rng(0)
    assert place(rng, ["large"] * 8) is None
    with pytest.raises(DataError, match="cannot place"):
        compose(rng, [(name, None) for name in ("cat", "dog", "bus")] * 9, style="noto")


def test_an_impossible_mixture_of_colours_is_refused() -> None:
    everything = [(name, colour) for name in ("car", "sink") for colour in (None, *COLOURS)]
    everything += [(name, None) for name in atlas.concepts()]
    with pytest.raises(DataError, match="stand out"):
        compose(np.random.default_rng(0), everything, style="fluent")


def test_sizes_grow() -> None:
    assert list(SIZES.values()) == sorted(SIZES.values())
