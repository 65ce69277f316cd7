"""Prompts name trained concepts, show nothing that training showed, and repeat by seed."""

from __future__ import annotations

import pytest

from mogao.data.world.questions import KINDS
from mogao.data.world.splits import (
    Settings,
    colour_is_held_out,
    is_held_out,
    known_concepts,
    pair_is_held_out,
    style_is_held_out,
)
from mogao.errors import DataError
from mogao.evaluation.prompts import CANNOT, EDIT_TASKS, PICTURE_TASKS, make_edits, make_prompts

TASKS = (*PICTURE_TASKS, "questions", "edits", "stories")
NOTO = Settings("unseen", styles=("noto",))


@pytest.mark.parametrize("task", TASKS)
def test_an_item_depends_on_seed_and_number_alone(task: str):
    items = make_prompts(task, 6, seed=3)
    assert make_prompts(task, 6, seed=3) == items
    assert make_prompts(task, 3, seed=3) == items[:3]
    assert make_prompts(task, 6, seed=4) != items
    assert len({item.id for item in items}) == 6


@pytest.mark.parametrize("task", [*PICTURE_TASKS, "questions", "edits"])
def test_scenes_show_trained_concepts_in_trained_styles(task: str):
    for item in make_prompts(task, 12):
        for scene in filter(None, (item.source, item.target)):
            for shown in scene.objects:
                assert shown.concept in known_concepts()
                assert not style_is_held_out(shown.concept, scene.style)


def test_pictures_are_of_the_styles_asked_for():
    every = [
        scene
        for task in ("single_object", "two_object", "questions", "edits")
        for item in make_prompts(task, 40, settings=NOTO)
        for scene in filter(None, (item.source, item.target))
    ]
    assert {scene.style for scene in every} == {"noto"}
    assert not any(style_is_held_out(o.concept, "noto") for scene in every for o in scene.objects)


def test_pairs_and_colours_were_never_trained():
    for task in ("two_object", "position"):
        for item in make_prompts(task, 12):
            assert pair_is_held_out(*item.truth["concepts"])
    for task in ("colors", "color_attr"):
        for item in make_prompts(task, 12):
            pairs = zip(item.truth["concepts"], item.truth["colours"], strict=True)
            assert any(colour_is_held_out(concept, colour) for concept, colour in pairs)
    assert all(is_held_out(item.source) for item in make_prompts("edits", 6) if item.source)


def test_every_concept_comes_once_before_any_comes_again():
    items = make_prompts("single_object", len(known_concepts()))
    assert {item.truth["concepts"][0] for item in items} == set(known_concepts())


def test_kinds_of_questions_and_edits_are_balanced():
    questions = [item.truth["kind"] for item in make_prompts("questions", 2 * len(KINDS))]
    assert all(questions.count(kind) == 2 for kind in KINDS)
    edits = [item.truth["kind"] for item in make_prompts("edits", 6)]
    assert all(edits.count(kind) == 2 for kind in EDIT_TASKS)


def test_an_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(DataError, match=r"telling.*stories"):
        make_prompts("telling", 1)


def test_an_edit_depends_on_seed_kind_and_number_alone():
    both = make_edits(["remove", CANNOT], 2, seed=3, settings=NOTO)
    assert both[:2] == make_edits(["remove"], 2, seed=3, settings=NOTO)
    assert both[2:3] == make_edits([CANNOT], 1, seed=3, settings=NOTO)
    assert both[:2] != make_edits(["remove"], 2, seed=4, settings=NOTO)
    assert [item.id for item in both] == ["remove-000", "remove-001", "cannot-000", "cannot-001"]
    assert both[0].text != make_prompts("edits", 1, seed=3, settings=NOTO)[0].text


def test_an_edit_has_a_target_unless_it_cannot_be_made():
    made, refused = make_edits(["style", CANNOT], 1)
    assert made.source is not None
    assert made.target is not None
    assert {made.source.style, made.target.style} == {"noto", "fluent"}
    assert refused.target is None
    assert refused.truth["answer"].startswith("There is no ")
    assert is_held_out(made.source)


def test_an_unknown_kind_of_edit_is_named_with_the_nearest():
    with pytest.raises(DataError, match=r"'recolor'.*'recolour'"):
        make_edits(["recolor"], 1)
