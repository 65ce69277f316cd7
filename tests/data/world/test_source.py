"""The world gives the same document for the same number, everywhere and every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mogao.config import WorldConfig
from mogao.data.world.choice import pick_weighted
from mogao.data.world.page import write_samples_page
from mogao.data.world.source import World
from mogao.errors import ConfigError
from mogao.sequence import InterleavedSequence, TextSegment


def same(first: InterleavedSequence, second: InterleavedSequence) -> bool:
    pictures = zip(first.images, second.images, strict=True)
    return ((first.id, first.meta, first.text) == (second.id, second.meta, second.text)) and all(
        np.array_equal(a.pixels, b.pixels) for a, b in pictures
    )


def test_items_depend_on_seed_and_index_alone() -> None:
    world = World(WorldConfig(seed=3))
    forward = [world.item(i) for i in range(12)]
    backward = [World(WorldConfig(seed=3)).item(i) for i in reversed(range(12))]
    assert all(same(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    assert not same(World(WorldConfig(seed=4)).item(0), forward[0])
    assert len({item.id for item in forward}) == 12


def test_items_continue_from_any_start() -> None:
    world = World(WorldConfig())
    items = world.items(5)
    assert [next(items).id for _ in range(2)] == [world.item(5).id, world.item(6).id]


def test_a_cycle_repeats_the_first_items() -> None:
    world = World(WorldConfig(cycle=3))
    assert same(world.item(1), world.item(4))
    assert not same(world.item(1), world.item(2))


def test_recipes_come_by_weight() -> None:
    world = World(WorldConfig(recipes={"draw": 3.0, "caption": 1.0, "edit": 0.0}))
    recipes = [world.item(i).meta["recipe"] for i in range(200)]
    assert set(recipes) == {"draw", "caption"}
    assert 0.62 < recipes.count("draw") / 200 < 0.88


def test_texts_are_those_of_the_items() -> None:
    world = World(WorldConfig())
    wanted = [s.text for i in range(30) for s in world.item(i) if isinstance(s, TextSegment)]
    assert list(world.texts(30)) == wanted


def test_styles_and_objects_follow_the_config() -> None:
    world = World(WorldConfig(styles=("fluent",), max_objects=2, recipes={"draw": 1.0}))
    for index in range(40):
        (scene,) = world.item(index).meta["truth"]["scenes"]
        assert scene["style"] == "fluent"
        assert len(scene["objects"]) <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipes": {"drew": 1.0}}, "did you mean 'draw'"),
        ({"recipes": {"draw": -1.0}}, "expected 0 or more"),
        ({"recipes": {"draw": 0.0}}, "recipes: all weights are 0"),
        ({"forms": {"4": 1.0}}, "forms: got '4'"),
        ({"forms": {"3": -1.0}}, "expected 0 or more"),
        ({"forms": {"3": 0.0}}, "forms: all weights are 0"),
    ],
)
def test_wrong_recipes_and_forms_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        World(WorldConfig(**settings))


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ({"colour": 1.0}, "colors"),
        ({"colors": -1.0}, "expected 0 or more"),
        ({"two_object": 1.0}, "at most 1 object"),
    ],
)
def test_wrong_families_are_refused(families: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        World(WorldConfig(families=families, max_objects=1))


def test_families_decide_what_scenes_are_about() -> None:
    families = {"colors": 1.0, "two_object": 1.0}
    world = World(WorldConfig(recipes={"draw": 1.0}, families=families))
    drawn = [world.item(i).meta["truth"]["family"] for i in range(60)]
    assert set(drawn) == set(families)


def test_forms_decide_how_drawings_are_said() -> None:
    world = World(WorldConfig(recipes={"draw": 1.0}, forms={"geneval": 1.0, "3": 1.0}))
    assert {world.item(i).meta["truth"]["form"] for i in range(40)} == {"geneval", "3"}


def test_weights_of_zero_are_never_drawn() -> None:
    rng = np.random.default_rng(0)
    assert {pick_weighted(rng, {"a": 0.0, "b": 1.0, "c": 0.0}) for _ in range(50)} == {"b"}
    with pytest.raises(ValueError, match="positive"):
        pick_weighted(rng, {"a": 0.0})


def test_the_samples_page_is_self_contained(tmp_path: Path) -> None:
    path = tmp_path / "world.html"
    write_samples_page(path, config=WorldConfig(), num_items=8)
    text = path.read_text(encoding="utf-8")
    assert text.count("<article>") == 8
    assert "data:image/png;base64," in text
    assert "http" not in text
