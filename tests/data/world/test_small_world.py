"""A smaller world: some concepts and colours, pictures of another side, the same recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mogao.config import WorldConfig
from mogao.data.world import atlas
from mogao.data.world.colours import COLOURS
from mogao.data.world.recipes import RECIPES, make, write
from mogao.data.world.sampling import WHOLE
from mogao.data.world.source import World
from mogao.data.world.splits import Settings, known_concepts
from mogao.data.world.stories import story
from mogao.errors import ConfigError, DataError
from tests.small_world import CONCEPTS, PAINTS, SMALL


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_keeps_to_the_concepts_colours_and_size(recipe: str) -> None:
    named: set[str] = set()
    for seed in range(25):
        script = write(recipe, np.random.default_rng(seed), SMALL)
        for scene in script.scenes:
            assert scene.pixels == 64
            assert {item.concept for item in scene.objects} <= set(CONCEPTS)
            assert {item.colour for item in scene.objects} <= {*PAINTS, None}
            named |= {item.concept for item in scene.objects}
        assert set(script.mentions) <= set(CONCEPTS)
    assert len(named) > 8


def test_pictures_have_the_side_that_was_asked_for() -> None:
    document = make("story", np.random.default_rng(0), SMALL)
    assert {image.size for image in document.images} == {(64, 64)}
    assert {scene["pixels"] for scene in document.meta["truth"]["scenes"]} == {64}


def test_a_config_says_the_same() -> None:
    config = WorldConfig(styles=("noto",), concepts=CONCEPTS, colours=PAINTS, pixels=64)
    assert World(config).settings == SMALL
    assert World(config).item(3).images[0].size == (64, 64)


def test_the_order_of_concepts_does_not_matter() -> None:
    turned = Settings.of_world(("noto",), concepts=CONCEPTS[::-1])
    assert turned.concepts == SMALL.concepts
    assert set(SMALL.concepts) == set(CONCEPTS)


def test_without_a_choice_it_is_the_whole_world() -> None:
    whole = Settings.from_config(WorldConfig())
    assert whole.concepts == known_concepts()
    assert (whole.colours, whole.stage) == (tuple(COLOURS), WHOLE)
    assert Settings("heldout").concepts == tuple(atlas.concepts())
    assert Settings("heldout", names=CONCEPTS).concepts == CONCEPTS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"concepts": (*CONCEPTS, "kat")}, "concepts: got 'kat'; did you mean 'cat'"),
        ({"concepts": CONCEPTS[:7]}, "expected at least 8"),
        ({"concepts": (*CONCEPTS[:7], "star")}, "expected at least 8 that training may show"),
        ({"colours": ("rod",)}, "colours: got 'rod'; did you mean 'red'"),
        ({"grid": 0}, "grid: got 0, expected 1 to 32"),
        ({"grid": 33}, "grid: got 33, expected 1 to 32"),
        ({"backgrounds": ("snaw",)}, "backgrounds: got 'snaw'; did you mean 'snow'"),
    ],
)
def test_what_a_world_cannot_be_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        World(WorldConfig(**changes))
    assert said in str(caught.value)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_keeps_to_the_backgrounds_and_the_grid(recipe: str) -> None:
    grounds = ("white", "light blue", "night", "snow")
    settings = Settings.of_world(("noto",), concepts=CONCEPTS, backgrounds=grounds, grid=32)
    shown: set[str] = set()
    for seed in range(40):
        for scene in write(recipe, np.random.default_rng(seed), settings).scenes:
            shown.add(scene.background)
            for item in scene.objects:
                assert item.cell[0] % 32 == item.cell[1] % 32 == 0
    assert shown == set(grounds if recipe != "story" else grounds[2:])


def test_a_story_needs_two_places() -> None:
    settings = Settings.of_world(("noto",), backgrounds=("white", "sea"))
    with pytest.raises(DataError, match=r"two places.*\['sea'\]"):
        story(np.random.default_rng(0), settings)


def test_a_story_needs_heroes_and_treasures() -> None:
    without = tuple(name for name in CONCEPTS if name not in ("dog", "pig", "owl", "turtle"))
    with pytest.raises(DataError, match=r"two heroes, two treasures.*\['cat'\]"):
        story(np.random.default_rng(0), Settings.of_world(("noto",), concepts=without))
