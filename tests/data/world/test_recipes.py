"""The truth of every recipe holds in its scenes and in its pixels."""

import re
from itertools import pairwise

import numpy as np
import pytest

from mogao.data.world import atlas
from mogao.data.world.draw import FAMILIES
from mogao.data.world.edits import KINDS as EDIT_KINDS
from mogao.data.world.language import (
    NUMBERS,
    at_place,
    geneval_prompt,
    groups_of,
    place_of,
    reading_order,
)
from mogao.data.world.questions import KINDS as QUESTION_KINDS
from mogao.data.world.recipes import RECIPES, make, write
from mogao.data.world.sampling import GRID, holds
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.data.world.script import Script, Situation
from mogao.data.world.splits import Settings
from mogao.data.world.stories import PLOTS
from mogao.sequence import ImageSegment, TextSegment

SETTINGS = Settings()


def scripts(recipe: str, count: int = 150, settings: Settings = SETTINGS) -> list[Script]:
    return [write(recipe, np.random.default_rng(seed), settings) for seed in range(count)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_pictures_are_those_of_the_truth(recipe: str) -> None:
    for seed in range(4):
        document = make(recipe, np.random.default_rng(seed), SETTINGS, record_id="x")
        assert document.meta["recipe"] == recipe
        scenes = [Scene.from_json(data) for data in document.meta["truth"]["scenes"]]
        assert len(scenes) == len(document.images) > 0
        for image, scene in zip(document.images, scenes, strict=True):
            assert np.array_equal(image.pixels, render(scene))


def test_draw_is_text_then_a_picture_by_the_model_and_at_times_asked_for() -> None:
    asked = 0
    for seed in range(60):
        document = make("draw", np.random.default_rng(seed), SETTINGS)
        asked += document.is_conversation
        assert [type(segment) for segment in document] == [TextSegment, ImageSegment]
        assert document.segments[1].role == "model"
    assert 5 <= asked <= 25


def test_draw_prompts_state_what_the_scene_shows() -> None:
    families = set()
    for script in scripts("draw", 160):
        truth, (scene,) = script.truth, script.scenes
        families.add(truth["family"])
        groups = groups_of(scene.objects if truth["relation"] else reading_order(scene.objects))
        if truth["form"] == "geneval" and truth["family"] != "mixed":
            assert truth["prompt"] == geneval_prompt(groups, truth["relation"])
        for group in groups:
            known = atlas.concept(group.concept)
            stem = known.singular if group.count == 1 else group.concept[:3]
            assert stem in truth["prompt"] or known.id in truth["prompt"]
        if truth["relation"]:
            assert holds(truth["relation"], *scene.objects)
    assert families == set(FAMILIES)


def test_few_objects_leave_only_simple_families() -> None:
    for script in scripts("draw", 60, Settings(max_objects=1)):
        assert script.truth["family"] in {"single_object", "colors"}
        assert len(script.scenes[0].objects) == 1


def test_captions_are_said_by_the_model_about_the_users_picture() -> None:
    for script in scripts("caption", 40):
        assert [line.role for line in script.lines] == ["user", "user", "model"]
        assert script.texts[-1] == script.truth["answer"]


def test_answers_follow_from_the_scene() -> None:
    kinds = set()
    for script in scripts("question", 200):
        (scene,) = script.scenes
        for item in script.truth["questions"]:
            kinds.add(item["kind"])
            check_answer(item["kind"], item["question"], answer=item["answer"], scene=scene)
    assert kinds == set(QUESTION_KINDS)


def check_answer(kind: str, question: str, *, answer: str, scene: Scene) -> None:
    def named(phrase: str) -> list[SceneObject]:
        phrase = re.sub(r"^(a|an|the) ", "", phrase)
        found = [
            name
            for name, known in atlas.concepts().items()
            if phrase in {known.singular, known.plural}
        ]
        assert len(found) == 1, phrase
        return [item for item in scene.objects if item.concept == found[0]]

    if kind == "exists":
        assert (answer == "yes") == bool(named(question[len("Is there ") : -1]))
    elif kind == "count":
        plural = question[len("How many ") : -len(" are there?")]
        assert answer == NUMBERS[len(named(plural))]
    elif kind == "colour":
        (item,) = named(question[question.index(" is ") + 4 : -1])
        assert answer == (item.colour or atlas.concept(item.concept).natural[scene.style])
    elif kind == "where":
        (item,) = named(question[len("Where is ") : -1])
        assert answer == at_place(place_of(item) or "")
    elif kind == "relation" and question.startswith("Is "):
        pattern = r"Is (the .*) (left of|right of|above|below) (the .*)\?"
        ((first, said, second),) = re.findall(pattern, question)
        assert (answer == "yes") == holds(said, named(first)[0], named(second)[0])


def test_yes_and_no_are_balanced() -> None:
    (scene,) = write("caption", np.random.default_rng(0), SETTINGS).scenes
    at = Situation(np.random.default_rng(1), SETTINGS, scene)
    asked = [QUESTION_KINDS["exists"](at) for _ in range(600)]
    answers = [item.answer for item in asked if item is not None]
    assert 0.42 < answers.count("yes") / len(answers) < 0.58


def test_one_request_in_ten_cannot_be_met() -> None:
    changes = [s.truth["edits"][0] for s in scripts("edit", 160)]
    share = sum(change["kind"] == "cannot" for change in changes) / len(changes)
    assert 0.03 < share < 0.2
    assert {change["kind"] for change in changes} == {*EDIT_KINDS, "cannot"}


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_an_edit_changes_its_one_delta_and_no_other_pixel(kind: str) -> None:
    seen = 0
    for seed in range(36):
        rng = np.random.default_rng(seed)
        scene = write("edit", rng, SETTINGS).scenes[0]
        change = EDIT_KINDS[kind][1](Situation(rng, SETTINGS, scene))
        if change is None or change.target is None:
            continue
        seen += 1
        check_delta(kind, scene, change.target)
    assert seen >= 6


def check_delta(kind: str, before: Scene, after: Scene) -> None:
    moved = (render(before) != render(after)).any(-1)
    assert moved.any()
    if kind in {"background", "style"}:
        field = kind
        assert getattr(before, field) != getattr(after, field)
        assert before.objects == after.objects
        return
    assert (before.background, before.style) == (after.background, after.style)
    old, new = set(before.objects), set(after.objects)
    gone, come = old - new, new - old
    if kind == "add":
        assert (len(gone), len(come)) == (0, 1)
    elif kind == "remove":
        assert not come
        assert len({(item.concept, item.colour) for item in gone}) == 1
    else:
        assert (len(gone), len(come)) == (1, 1)
    for item in gone | come:
        assert item.cell[0] % GRID == item.cell[1] % GRID == 0
        left, top, right, bottom = (int(side) for side in item.cell)
        moved[top : bottom + 1, left : right + 1] = False
    assert not moved.any()


def test_what_cannot_be_done_names_something_absent_and_draws_nothing() -> None:
    seen = 0
    for script in scripts("edit", 200):
        (change,) = script.truth["edits"]
        if change["kind"] == "cannot":
            seen += 1
            assert len(script.scenes) == 1
            assert script.lines[-1].content == change["answer"]
            (absent,) = script.mentions
            assert atlas.concept(absent).singular in change["answer"]
            assert absent not in {item.concept for item in script.scenes[0].objects}
    assert seen > 5


def test_edits_go_on_with_the_running_picture() -> None:
    for script in scripts("edits", 60):
        assert 2 <= len(script.truth["edits"]) <= 4
        assert script.lines[0].role == "user"
        assert [line.role for line in script.lines[1:]] == ["user", "model"] * len(
            script.truth["edits"]
        )
        drawn = [change for change in script.truth["edits"] if change["kind"] != "cannot"]
        assert len(script.scenes) == 1 + len(drawn)
        pairs = list(pairwise(script.scenes))
        for change, (before, after) in zip(drawn, pairs, strict=True):
            check_delta(change["kind"], before, after)


def test_stories_alternate_and_keep_their_hero() -> None:
    themes = set()
    for script in scripts("story", 80):
        truth, lines = script.truth, script.lines
        themes.add(truth["theme"])
        assert lines[0].role == "user"
        assert 3 <= truth["panels"] <= 5
        assert script.texts[0].endswith(f"in {NUMBERS[truth['panels']]} pictures.")
        assert len(script.scenes) == truth["panels"]
        assert [type(line.content) for line in lines[1:]] == [str, Scene] * truth["panels"]
        assert all(line.role == "model" for line in lines[1:])
        hero = truth["hero"]
        for scene in script.scenes:
            assert scene.style == hero["style"]
            first = scene.objects[0]
            assert (first.concept, first.colour) == (hero["concept"], hero["colour"])
            assert first.size == "medium"
    assert themes == set(PLOTS)
