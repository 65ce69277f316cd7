"""Rules of edits, worked by hand: the change and the rest are judged apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mogao.data.world.scene import SIZES, Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.edit import (
    Verdict,
    change_done,
    judge_edit,
    judge_turns,
    open_things,
    rest_kept,
)

CAT = SceneObject("cat", None, "medium", 24, 24)
DOG = SceneObject("dog", None, "medium", 104, 104)
SOURCE = Scene("white", "noto", (CAT, DOG))


def seen(item: SceneObject, **changes) -> Finding:
    style = changes.pop("style", "noto")
    colour = item.colour or "brown"
    size = float(SIZES[item.size])
    return replace(
        Finding(item.concept, style, colour, size, float(item.x), float(item.y), 0.99), **changes
    )


def report(*findings: Finding, background: str = "white") -> Report:
    return Report(background, findings)


def scene(*objects: SceneObject, background: str = "white", style: str = "noto") -> Scene:
    return Scene(background, style, objects)


BOTH = (seen(CAT), seen(DOG))


def test_an_untouched_picture_keeps_the_rest_and_changes_nothing():
    bird = SceneObject("bird", None, "small", 64, 16)
    targets = [
        scene(CAT, DOG, bird),
        scene(DOG),
        scene(replace(CAT, concept="cow"), DOG),
        scene(replace(CAT, x=104), DOG),
        scene(replace(CAT, colour="blue"), DOG),
        scene(CAT, DOG, background="sea"),
        scene(CAT, DOG, style="fluent"),
    ]
    for target in targets:
        assert judge_edit(report(*BOTH), SOURCE, target) == Verdict(done=False, kept=True)


def test_an_empty_picture_has_removed_everything_and_kept_nothing():
    verdict = judge_edit(report(), SOURCE, scene(DOG))
    assert verdict == Verdict(done=True, kept=False)
    assert not verdict.right


def test_a_removed_thing_is_nowhere():
    target = scene(DOG)
    assert judge_edit(report(seen(DOG, x=100.0, y=110.0)), SOURCE, target).right
    fled = report(seen(DOG), seen(CAT, x=100.0))
    assert judge_edit(fled, SOURCE, target) == Verdict(done=False, kept=True)


def test_what_takes_the_place_of_another_stands_there():
    cow = replace(CAT, concept="cow", colour="red")
    target = scene(cow, DOG)
    assert judge_edit(report(seen(cow, x=30.0), seen(DOG)), SOURCE, target).right
    assert not change_done(report(seen(cow, x=64.0), seen(DOG)), SOURCE, target)
    assert not change_done(report(seen(cow, colour="blue"), seen(DOG)), SOURCE, target)
    assert not change_done(report(seen(cow), seen(CAT, y=104.0), seen(DOG)), SOURCE, target)
    # Something else in that place is a bad change, and no fault of the rest.
    pig = report(seen(replace(CAT, concept="pig")), seen(DOG))
    assert judge_edit(pig, SOURCE, target) == Verdict(done=False, kept=True)


def test_an_added_thing_may_stand_anywhere_but_where_a_relation_forbids_it():
    bird = SceneObject("bird", "blue", "small", 64, 16)
    target = scene(CAT, DOG, bird)
    above = report(*BOTH, seen(bird, x=104.0, y=30.0))
    left = report(*BOTH, seen(bird, x=20.0, y=100.0))
    for found in (above, left):
        assert judge_edit(found, SOURCE, target).right
    assert change_done(above, SOURCE, target, relation=("above", "dog"))
    assert not change_done(left, SOURCE, target, relation=("above", "dog"))
    twice = report(*BOTH, seen(bird), seen(bird, x=100.0, y=16.0))
    assert judge_edit(twice, SOURCE, target) == Verdict(done=False, kept=True)
    assert not change_done(report(*BOTH, seen(bird, colour="red")), SOURCE, target)


def test_a_moved_thing_lies_anywhere_in_the_part_that_was_named():
    target = scene(replace(CAT, x=104, y=24), DOG)  # at the top right
    for x, y in [(104.0, 24.0), (82.0, 46.0), (120.0, 10.0), (79.0, 49.0)]:
        assert judge_edit(report(seen(CAT, x=x, y=y), seen(DOG)), SOURCE, target).right
    for x, y in [(70.0, 24.0), (104.0, 60.0), (24.0, 24.0)]:
        found = judge_edit(report(seen(CAT, x=x, y=y), seen(DOG)), SOURCE, target)
        assert found == Verdict(done=False, kept=True)
    copied = report(*BOTH, seen(CAT, x=104.0))
    assert not change_done(copied, SOURCE, target)


def test_a_moved_thing_has_left_its_place_even_if_that_is_in_the_part():
    near = scene(replace(CAT, x=48, y=64), DOG)  # between the left and the middle
    target = scene(replace(CAT, x=16, y=64), DOG)  # on the left
    assert not change_done(report(seen(near.objects[0]), seen(DOG)), near, target)
    assert change_done(report(seen(CAT, x=24.0, y=64.0), seen(DOG)), near, target)


def test_a_place_without_a_name_is_a_place_by_its_pixels():
    target = scene(replace(CAT, x=48, y=80), DOG)
    assert change_done(report(seen(CAT, x=50.0, y=75.0), seen(DOG)), SOURCE, target)
    assert not change_done(report(seen(CAT, x=24.0, y=100.0), seen(DOG)), SOURCE, target)


def test_a_new_colour_is_asked_for_and_an_old_one_kept():
    red = replace(CAT, colour="red")
    assert judge_edit(report(seen(red), seen(DOG)), SOURCE, scene(red, DOG)).right
    assert not change_done(report(seen(red, x=80.0), seen(DOG)), SOURCE, scene(red, DOG))
    painted, target = scene(red, DOG), scene(red)
    assert rest_kept(report(seen(red)), painted, target)
    assert not rest_kept(report(seen(red, colour="blue")), painted, target)


def test_a_background_is_kept_unless_it_is_what_changes():
    sea = scene(CAT, DOG, background="sea")
    assert judge_edit(report(*BOTH, background="sea"), SOURCE, sea).right
    assert judge_edit(report(*BOTH, background="room"), SOURCE, sea) == Verdict(False, True)
    assert not rest_kept(report(seen(DOG), background="sea"), SOURCE, scene(DOG))


def test_a_style_changes_everywhere_or_not_at_all():
    flat = scene(CAT, DOG, style="fluent")
    drawn = [seen(CAT, style="fluent"), seen(DOG, style="fluent")]
    assert judge_edit(report(*drawn), SOURCE, flat).right
    assert judge_edit(report(drawn[0], seen(DOG)), SOURCE, flat) == Verdict(False, True)
    assert judge_edit(report(drawn[0]), SOURCE, flat) == Verdict(True, False)
    assert not change_done(report(), SOURCE, flat)


def test_things_too_many_or_out_of_place_are_no_rest_that_is_kept():
    target = scene(DOG)
    assert not rest_kept(report(seen(DOG), seen(DOG, y=24.0)), SOURCE, target)
    assert not rest_kept(report(seen(DOG), seen(CAT, concept="cow")), SOURCE, target)
    assert not rest_kept(report(seen(DOG, x=80.0)), SOURCE, target)
    assert not rest_kept(report(), SOURCE, target)


def test_a_part_of_a_thing_is_no_thing_too_many():
    snowman = SceneObject("snowman", None, "large", 80, 96)  # its cell begins at (48, 64)
    source, target = scene(CAT, snowman), scene(snowman)
    hat = Finding("bed", "noto", "black", 48.6, 84.5, 79.0, 0.53)
    assert rest_kept(report(seen(snowman), hat), source, target)
    assert not rest_kept(report(hat), source, target)
    assert not rest_kept(report(seen(snowman), replace(hat, y=60.0)), source, target)


def test_only_added_and_moved_things_are_free():
    bird = SceneObject("bird", None, "small", 64, 16)
    moved = replace(CAT, x=104)
    assert open_things(SOURCE, scene(CAT, DOG, bird)) == [bird]
    assert open_things(SOURCE, scene(moved, DOG)) == [moved]
    assert open_things(SOURCE, scene(replace(CAT, colour="red"), DOG)) == []
    assert open_things(SOURCE, scene(replace(CAT, concept="cow"))) == []


BIRD = SceneObject("bird", None, "small", 64, 16)
SCENES = [SOURCE, scene(CAT, DOG, BIRD), scene(CAT, DOG, replace(BIRD, colour="red"))]


def test_later_turns_look_for_a_free_thing_where_an_earlier_picture_has_it():
    drawn = replace(BIRD, x=100, y=30)
    first = report(*BOTH, seen(drawn))
    second = report(*BOTH, seen(drawn, colour="red"))
    elsewhere = report(*BOTH, seen(BIRD, colour="red"))
    right, wrong = Verdict(True, True), Verdict(done=False, kept=True)
    assert judge_turns([first, second], SCENES, [None, None]) == [right, right]
    assert judge_turns([first, elsewhere], SCENES, [None, None]) == [right, wrong]
    # What was never drawn is looked for where the true scene has it.
    assert judge_turns([report(*BOTH), elsewhere], SCENES, [None, None]) == [wrong, right]


def test_what_stays_keeps_its_size():
    elephant = SceneObject("elephant", None, "large", 88, 64)
    source, target = scene(CAT, elephant), scene(elephant)
    assert judge_edit(report(seen(elephant)), source, target).right
    assert judge_edit(report(seen(elephant, size=57.0)), source, target).right
    small = report(seen(elephant, size=32.0, colour="pink"))
    assert judge_edit(small, source, target) == Verdict(done=True, kept=False)
    # What is new may have any size.
    assert judge_edit(report(seen(DOG, concept="cow", size=32.0), seen(CAT)), SOURCE,
                      scene(CAT, replace(DOG, concept="cow"))).right  # fmt: skip


@pytest.mark.parametrize("concept", ["bird", "cow"])
def test_later_turns_keep_the_size_that_a_new_thing_was_given(concept: str):
    """A bird is added; a cow takes the place of the cat."""
    new = BIRD if concept == "bird" else replace(CAT, concept="cow")
    things = (CAT, DOG, new) if concept == "bird" else (new, DOG)
    stays = [CAT] if concept == "bird" else []
    scenes = [SOURCE, scene(*things), scene(*stays, new)]
    at = {"x": 100.0, "y": 30.0} if concept == "bird" else {}
    drawn, again, shrunk = (seen(new, size=size, **at) for size in (64.0, 62.0, 33.0))
    first = report(*map(seen, stays), seen(DOG), drawn)
    for last, kept in ((again, True), (shrunk, False)):
        found = judge_turns([first, report(*map(seen, stays), last)], scenes, [None, None])
        assert found == [Verdict(True, True), Verdict(done=True, kept=kept)]


def test_a_free_place_is_forgotten_with_the_thing_that_had_it():
    scenes = [SOURCE, scene(CAT, DOG, BIRD), SOURCE, scene(CAT, replace(DOG, x=64, y=16))]
    first = report(*BOTH, seen(BIRD, x=100.0, y=30.0))
    third = report(seen(CAT), seen(DOG, x=64.0, y=16.0))
    found = judge_turns([first, report(*BOTH), third], scenes, [None, None, None])
    assert [verdict.right for verdict in found] == [True, True, True]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_turn_without_a_picture_is_neither_done_nor_kept(missing: int):
    reports: list[Report | None] = [
        report(*BOTH, seen(BIRD)),
        report(*BOTH, seen(BIRD, colour="red")),
    ]
    reports[missing] = None
    found = judge_turns(reports, SCENES, [None, None])
    assert found[missing] == Verdict(done=False, kept=False)
    assert found[1 - missing].right
