"""English of the world: articles, plurals, places; GenEval's prompts to the letter."""

from itertools import pairwise, product

import pytest

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS
from mogao.data.world.colours import COLOURS
from mogao.data.world.language import (
    PLACES,
    Group,
    at_place,
    describe,
    geneval_prompt,
    groups_of,
    listing,
    on_ground,
    place_of,
    place_range,
    sentence,
    some,
    the,
)
from mogao.data.world.sampling import RELATIONS
from mogao.data.world.scene import Scene, SceneObject


@pytest.mark.parametrize(
    ("group", "phrase"),
    [
        (Group("apple"), "an apple"),
        (Group("apple", "red"), "a red apple"),
        (Group("bus", "orange"), "an orange bus"),
        (Group("knife", count=3), "three knives"),
        (Group("person", count=2), "two people"),
        (Group("sheep", "white", 4), "four white sheep"),
        (Group("scissors"), "a pair of scissors"),
        (Group("skis", "red", 2), "two red pairs of skis"),
        (Group("owl", None, 1, "large"), "a large owl"),
    ],
)
def test_articles_and_plurals(group: Group, phrase: str) -> None:
    assert some(group) == phrase


def test_definite_phrases_and_lists() -> None:
    assert the(Group("bus", "red")) == "the red bus"
    assert the(Group("bus", count=3)) == "the three buses"
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert sentence("the cat") == "The cat."
    assert sentence("Is it?") == "Is it?"


@pytest.mark.parametrize(
    ("groups", "relation", "prompt"),
    [
        ([Group("bench")], None, "a photo of a bench"),
        ([Group("skis", "brown")], None, "a photo of a brown skis"),
        ([Group("tv", "orange")], None, "a photo of an orange tv"),
        ([Group("person", count=3)], None, "a photo of three persons"),
        ([Group("bus", count=4)], None, "a photo of four buses"),
        ([Group("wine glass", count=2)], None, "a photo of two wine glasses"),
        ([Group("toothbrush", count=2)], None, "a photo of two toothbrushs"),
        ([Group("dog"), Group("apple")], None, "a photo of a dog and an apple"),
        ([Group("apple"), Group("tv")], "above", "a photo of an apple above a tv"),
        (
            [Group("sink", "red"), Group("orange", "orange")],
            None,
            "a photo of a red sink and an orange orange",
        ),
    ],
)
def test_geneval_prompts_are_exact(groups: list[Group], relation: str | None, prompt: str) -> None:
    assert geneval_prompt(groups, relation) == prompt


def test_all_six_geneval_families_can_be_said_of_all_classes() -> None:
    classes = [name for name, known in atlas.concepts().items() if known.geneval]
    prompts = {geneval_prompt([Group(name)]) for name in classes}
    prompts |= {geneval_prompt([Group(n, c)]) for n, c in product(classes, COLOURS)}
    prompts |= {geneval_prompt([Group(n, None, k)]) for n, k in product(classes, (2, 3, 4))}
    for first, second in pairwise(classes):
        pair = [Group(first), Group(second)]
        prompts.add(geneval_prompt(pair))
        prompts |= {geneval_prompt(pair, relation) for relation in RELATIONS}
        prompts.add(geneval_prompt([Group(first, "red"), Group(second, "blue")]))
    assert len(prompts) == 80 + 800 + 240 + 79 * 6
    assert all(prompt.startswith("a photo of ") for prompt in prompts)


def test_three_levels_of_detail() -> None:
    cat = SceneObject("cat", None, "large", 94, 94)
    apple = SceneObject("apple", "red", "small", 20, 20)
    scene = Scene("meadow", "fluent", (cat, apple))
    assert describe(scene, level=1) == "a red apple and a cat"
    assert describe(scene, level=2, relation="right of") == (
        "a cat right of a red apple in a meadow"
    )
    assert describe(scene, level=3) == (
        "A flat drawing of a small red apple and a large cat in a meadow. "
        "The red apple is at the top left. The cat is at the bottom right."
    )


def test_equal_objects_form_one_group() -> None:
    objects = [
        SceneObject("cat"),
        SceneObject("dog"),
        SceneObject("cat"),
        SceneObject("cat", "red"),
    ]
    assert groups_of(objects) == [Group("cat", None, 2), Group("dog"), Group("cat", "red")]


@pytest.mark.parametrize("name", PLACES)
def test_a_place_and_its_range_agree(name: str) -> None:
    (left, right), (top, bottom) = place_range(name)
    for x, y in product((left, right), (top, bottom)):
        assert place_of(SceneObject("cat", x=x, y=y)) == name
    assert at_place(name).endswith(f"the {name}")


def test_a_place_near_a_border_is_not_named() -> None:
    assert place_of(SceneObject("cat", x=50, y=20)) is None


def test_every_background_can_be_said() -> None:
    assert len({on_ground(name) for name in BACKGROUNDS}) == len(BACKGROUNDS)
    assert on_ground("gray") == "on a gray background"
