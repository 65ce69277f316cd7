"""Facts: what is true, seen and said, in one form; captions as people and models write them."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS
from mogao.data.world.choice import pick
from mogao.data.world.colours import COLOURS
from mogao.data.world.language import PLACES, Group, describe, on_ground, sentence, some
from mogao.data.world.sampling import RELATIONS
from mogao.data.world.scene import SIZES, Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.facts import (
    Fact,
    answers,
    compare,
    nearest_place,
    nearest_size,
    question_graph,
    read_caption,
    report_facts,
    scene_facts,
    true_facts,
)
from mogao.evaluation.rules.question_graph import grade

CAT = ("thing cat", "count cat 1")
DOG = ("thing dog", "count dog 1")
ORANGE = ("thing orange", "count orange 1")
SCENE = Scene(
    "meadow",
    "noto",
    (
        SceneObject("apple", None, "small", 20, 20),
        SceneObject("cat", "blue", "medium", 50, 100),
        SceneObject("dog", None, "large", 100, 40),
        SceneObject("dog", None, "large", 100, 110),
    ),
)

TABLE = [
    ("a cat", {*CAT}),
    ("A cat.", {*CAT}),
    ("two red cats", {"thing cat", "count cat 2", "colour cat red"}),
    ("a small blue cat", {*CAT, "size cat small", "colour cat blue"}),
    ("an orange", {*ORANGE}),
    ("an orange orange", {*ORANGE, "colour orange orange"}),
    ("an orange, a cat and a dog", {*ORANGE, *CAT, *DOG}),
    ("two orange oranges", {"thing orange", "count orange 2", "colour orange orange"}),
    ("an orange cat", {*CAT, "colour cat orange"}),
    ("a large orange pair of scissors",
     {"thing scissors", "count scissors 1", "size scissors large", "colour scissors orange"}),
    ("three pairs of skis", {"thing skis", "count skis 3"}),
    ("some scissors", {"thing scissors"}),
    ("a hot dog and a dog", {"thing hot dog", "count hot dog 1", *DOG}),
    ("a teddy bear", {"thing teddy bear", "count teddy bear 1"}),
    ("a traffic light on a light blue background",
     {"thing traffic light", "count traffic light 1", "background light blue"}),
    ("two computer mice", {"thing computer mouse", "count computer mouse 2"}),
    ("a white sheep on a white background",
     {"thing sheep", "count sheep 1", "colour sheep white", "background white"}),
    ("four sheep in the snow", {"thing sheep", "count sheep 4", "background snow"}),
    ("an orange on an orange background", {*ORANGE, "background orange"}),
    ("a cat on a grey background", {*CAT, "background gray"}),
    ("a star at night", {"thing star", "count star 1", "background night"}),
    ("a snowman on a snowboard",
     {"thing snowman", "count snowman 1", "thing snowboard", "count snowboard 1"}),
    ("a cat left of a dog", {*CAT, *DOG}),
    ("a cat on the left of a dog", {*CAT, *DOG}),
    ("a cat at the top left of the picture", {*CAT, "place cat top left"}),
    ("a cat at the top left of the dog", {*CAT, "thing dog"}),
    ("The cat is in the middle.", {"thing cat", "place cat middle"}),
    ("The cat is in the top-left corner", {"thing cat", "place cat top left"}),
    ("the cat is at the left top", {"thing cat", "place cat top left"}),
    ("a cat in the centre", {*CAT, "place cat middle"}),
    ("a cat at the top bottom", {*CAT}),
    ("A cat on the right and a dog on the left",
     {*CAT, *DOG, "place cat right", "place dog left"}),
    ("A cat. It is at the top.", {*CAT}),
    ("A flat drawing of a cat", {"style fluent", *CAT}),
    ("a drawing of a flat cat", {"thing cat"}),
    ("a cat and two cats", {"thing cat", "count cat 3"}),
    ("a cat. The cat is on the left. The two cats.", {*CAT, "place cat left"}),
    ("a red cat and a blue cat",
     {"thing cat", "count cat 2", "colour cat red", "colour cat blue"}),
    ("cats", {"thing cat"}),
    ("12 cats", {"thing cat"}),
    ("2 cats", {"thing cat", "count cat 2"}),
    ("there is no cat, only a dog", {*DOG}),
    ("no dogs on the left", set()),
    ("a fluffy cat", {"thing cat"}),
    ("a light blue cat", {"thing cat", "colour cat blue"}),
    ("a cat,a dog;a\ncat", {"thing cat", "count cat 2", *DOG}),
    ("A CAT IN A ROOM!!!", {*CAT, "background room"}),
    ("scattered catalogue, doghouse", set()),
    ("red", set()),
    ("", set()),
    ("   .,;\n\t", set()),
    ("\u00df\u4e2d\U0001f408 (*+?[\\ %s {} \x00", set()),
    ("a picture of nothing at all", set()),
    ("on the left", set()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), TABLE)
def test_a_caption_says_what_its_words_say(text: str, said: set[str]) -> None:
    assert set(map(str, read_caption(text))) == said


def any_scene(seed: int) -> Scene:
    """A scene that need not be drawable: few concepts, so that some come twice."""
    rng = np.random.default_rng(seed)
    names = [*(pick(rng, list(atlas.concepts())) for _ in range(3)), "orange"]
    objects = tuple(
        SceneObject(
            pick(rng, names),
            pick(rng, [None, None, *COLOURS]),
            pick(rng, list(SIZES)),
            int(rng.integers(129)),
            int(rng.integers(129)),
        )
        for _ in range(int(rng.integers(1, 7)))
    )
    return Scene(pick(rng, list(BACKGROUNDS)), pick(rng, atlas.STYLES), objects)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_description_says_the_facts_of_its_level_and_no_others(level: int) -> None:
    for seed in range(200):
        scene = any_scene(seed)
        text = describe(scene, level=level)
        assert read_caption(text) == scene_facts(scene, level=level), text
        assert read_caption(sentence(text)) == scene_facts(scene, level=level), text
        assert scene_facts(scene, level=level) <= scene_facts(scene) <= true_facts(scene)


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_stated_relation_is_no_place(relation: str) -> None:
    scene = Scene("sea", "noto", (SceneObject("cat", "red"), SceneObject("dog")))
    text = describe(scene, level=2, relation=relation)
    assert read_caption(text) == scene_facts(scene, level=2)


def test_every_name_colour_number_and_background_is_known() -> None:
    for name in atlas.concepts():
        assert read_caption(some(Group(name))) == {Fact("thing", name), Fact("count", name, "1")}
        for colour in COLOURS:
            group = Group(name, colour, count=6, size="large")
            assert set(map(str, read_caption(some(group)))) == {
                f"thing {name}", f"count {name} 6", f"colour {name} {colour}", f"size {name} large",
            }  # fmt: skip
    for name in BACKGROUNDS:
        assert read_caption(on_ground(name)) == {Fact("background", value=name)}


def test_a_long_senseless_text_is_read_too() -> None:
    assert read_caption("red small " * 500 + "at the top " * 500) == frozenset()


def test_facts_of_a_scene_leave_out_what_is_not_plain() -> None:
    found = set(map(str, scene_facts(SCENE)))
    assert found == {
        "background meadow", "style noto",
        "thing apple", "count apple 1", "size apple small", "place apple top left",
        "thing cat", "count cat 1", "size cat medium", "colour cat blue",
        "thing dog", "count dog 2", "size dog large", "place dog top right",
        "place dog bottom right",
    }  # fmt: skip
    # Sizes of medium things and places of one of two dogs are not said.
    assert found - set(map(str, scene_facts(SCENE, level=3))) == {
        "size cat medium", "place dog top right", "place dog bottom right",
    }  # fmt: skip
    assert "background meadow" not in map(str, scene_facts(SCENE, level=1))


def test_a_natural_colour_and_the_nearer_place_may_be_said() -> None:
    more = set(map(str, true_facts(SCENE) - scene_facts(SCENE)))
    assert atlas.concept("dog").natural["noto"] == "orange"
    assert more == {"colour apple red", "colour dog orange", "place cat bottom left"}
    said = read_caption("a red apple, a blue cat and two white dogs")
    found = compare(said, scene_facts(SCENE, level=1), true=true_facts(SCENE))
    assert set(map(str, found.wrong)) == {"colour dog white"}
    # A painted cat no longer has the colour that nature gave it.
    assert "colour cat yellow" not in map(str, true_facts(SCENE))


def finding(concept: str, colour: str = "red", *, x: float = 64, y: float = 64, size: float = 48):
    return Finding(concept, "noto", colour, float(size), float(x), float(y), 0.9)


def test_facts_of_a_report_are_the_nearest() -> None:
    flat = Finding("dog", "fluent", "brown", 30.0, 120.0, 120.0, 0.9)
    seen = Report("sea", (finding("cat", x=49, y=79, size=57), finding("cat", x=51), flat))
    assert set(map(str, report_facts(seen))) == {
        "background sea", "style noto",
        "thing cat", "count cat 2", "colour cat red", "size cat large", "size cat medium",
        "place cat bottom left", "place cat middle",
        "thing dog", "count dog 1", "colour dog brown", "size dog small",
        "place dog bottom right",
    }  # fmt: skip
    assert set(map(str, report_facts(Report("sea", ())))) == {"background sea"}


def test_sizes_and_places_are_cut_halfway() -> None:
    assert [nearest_size(pixels) for pixels in (10.0, 39.0, 41.0, 55.0, 57.0, 90.0)] == [
        "small", "small", "medium", "medium", "large", "large",
    ]  # fmt: skip
    rows = [nearest_place(x, y) for y in (5.0, 64.0, 123.0) for x in (49.0, 51.0, 79.0)]
    assert rows == [
        "top left", "top", "top right", "left", "middle", "right",
        "bottom left", "bottom", "bottom right",
    ]  # fmt: skip
    assert set(rows) == set(PLACES)


def test_precision_and_recall_are_shares_of_what_was_said_and_wanted() -> None:
    wanted = read_caption("a red cat and a dog")  # 5 facts
    said = read_caption("a red cat and a bear in the sea")  # 6 facts, 3 of them wanted
    found = compare(said, wanted)
    assert (found.precision, found.recall) == (0.5, 0.6)
    assert found.f1 == pytest.approx(2 * 0.5 * 0.6 / 1.1)
    assert set(map(str, found.missing)) == {"thing dog", "count dog 1"}
    assert set(map(str, found.wrong)) == {"thing bear", "count bear 1", "background sea"}
    also = wanted | {Fact("background", value="sea")}
    assert compare(said, wanted, true=also).precision == pytest.approx(4 / 6)
    assert compare(said, wanted, true=also).recall == 0.6


def test_nothing_said_is_worth_nothing() -> None:
    wanted = read_caption("a cat")
    silent = compare(frozenset(), wanted)
    assert (silent.precision, silent.recall, silent.f1) == (0, 0, 0)
    assert compare(wanted, frozenset()).recall == 1
    perfect = compare(wanted, wanted)
    assert (perfect.precision, perfect.recall, perfect.f1) == (1, 1, 1)


def test_questions_about_a_thing_rest_on_its_being_there() -> None:
    graph = question_graph(read_caption("two small red cats and a dog at the top at night"))
    shown = [(question.text, question.category, question.parents) for question, _ in graph]
    assert shown == [
        ("thing cat", "entity", ()),
        ("thing dog", "entity", ()),
        ("count cat 2", "count", (0,)),
        ("count dog 1", "count", (1,)),
        ("colour cat red", "attribute", (0,)),
        ("size cat small", "size", (0,)),
        ("place dog top", "place", (1,)),
        ("background night", "global", ()),
    ]


def test_an_answer_is_yes_where_no_other_value_is_seen() -> None:
    graph = question_graph(read_caption("two small red cats and a dog at the top at night"))
    cats = [finding("cat", size=30), finding("cat", "blue", size=30)]
    seen = report_facts(Report("night", (*cats, finding("bear", y=10))))
    found = grade([question for question, _ in graph], answers(graph, seen))
    assert {fact: found.counted[question.id] for question, fact in graph} == {
        Fact("thing", "cat"): 1,
        Fact("thing", "dog"): 0,
        Fact("count", "cat", "2"): 1,
        Fact("count", "dog", "1"): 0,
        Fact("colour", "cat", "red"): 0,  # one of them is blue
        Fact("size", "cat", "small"): 1,
        Fact("place", "dog", "top"): 0,
        Fact("background", "", "night"): 1,
    }
