"""Rules, worked by hand."""

from __future__ import annotations

import pytest

from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.world import (
    edit_done,
    same_answer,
    shows_all,
    shows_colours,
    shows_count,
    shows_relation,
    shows_single,
)


def finding(concept: str, colour: str = "red", *, x: float = 64, y: float = 64, size: float = 40):
    return Finding(concept, "noto", colour, float(size), float(x), float(y), 0.99)


def report(*findings: Finding, background: str = "white") -> Report:
    return Report(background, findings)


def test_single_asks_for_the_largest_thing():
    assert shows_single(report(finding("cat", size=50), finding("dog", size=30)), "cat")
    assert not shows_single(report(finding("cat", size=50), finding("dog", size=30)), "dog")
    assert not shows_single(report(), "cat")


def test_all_asks_for_each_concept():
    seen = report(finding("cat"), finding("dog"))
    assert shows_all(seen, ["dog", "cat"])
    assert not shows_all(seen, ["dog", "cow"])


def test_count_is_exact():
    seen = report(finding("cat"), finding("cat"), finding("dog"))
    assert shows_count(seen, "cat", 2)
    assert not shows_count(seen, "cat", 1)
    assert not shows_count(seen, "cat", 3)


def test_colours_belong_to_their_concepts():
    seen = report(finding("cat", "red"), finding("dog", "blue"))
    assert shows_colours(seen, [("cat", "red"), ("dog", "blue")])
    assert not shows_colours(seen, [("cat", "blue"), ("dog", "red")])
    assert not shows_colours(seen, [("cow", "red")])


@pytest.mark.parametrize(
    ("x", "y", "relation"),
    [(20, 64, "left of"), (110, 64, "right of"), (64, 15, "above"), (64, 110, "below")],
)
def test_relation_holds_in_its_own_direction_only(x: int, y: int, relation: str):
    seen = report(finding("cat", x=x, y=y), finding("dog", x=64, y=64))
    held = [
        name
        for name in ("left of", "right of", "above", "below")
        if shows_relation(seen, name, ("cat", "dog"))
    ]
    assert held == [relation]


def test_relation_needs_more_than_the_slack():
    # Sizes 40 and 40: the slack is 8 pixels; 17 leaves 9 of 17, more than half, 15 leaves 7 of 15.
    near = report(finding("cat", x=49), finding("dog", x=64))
    clear = report(finding("cat", x=47), finding("dog", x=64))
    assert not shows_relation(near, "left of", ("cat", "dog"))
    assert shows_relation(clear, "left of", ("cat", "dog"))
    assert not shows_relation(report(finding("cat")), "left of", ("cat", "dog"))
    assert not shows_relation(report(finding("cat"), finding("dog")), "above", ("cat", "dog"))


CAT = SceneObject("cat", None, "medium", 30, 30)
DOG = SceneObject("dog", None, "medium", 90, 90)
SOURCE = Scene("white", "noto", (CAT, DOG))


def test_remove_is_done_when_one_is_gone_and_the_other_stays():
    target = Scene("white", "noto", (DOG,))
    dog = finding("dog", x=92, y=88)
    assert edit_done(report(dog), SOURCE, target)
    assert not edit_done(report(dog, finding("cat", x=30, y=30)), SOURCE, target)
    assert not edit_done(report(), SOURCE, target)
    assert not edit_done(report(finding("dog", x=60, y=60)), SOURCE, target)


def test_recolour_is_done_when_the_colour_is_new_and_the_place_old():
    target = Scene("white", "noto", (SceneObject("cat", "blue", "medium", 30, 30), DOG))
    dog = finding("dog", "brown", x=90, y=90)
    assert edit_done(report(finding("cat", "blue", x=32, y=28), dog), SOURCE, target)
    assert not edit_done(report(finding("cat", "red", x=32, y=28), dog), SOURCE, target)
    assert not edit_done(report(finding("cat", "blue", x=70, y=28), dog), SOURCE, target)
    assert not edit_done(report(finding("cat", "blue", x=32, y=28)), SOURCE, target)


def test_background_is_done_when_it_is_there_and_all_objects_stay():
    target = Scene("sea", "noto", (CAT, DOG))
    kept = (finding("cat", x=30, y=30), finding("dog", x=90, y=90))
    assert edit_done(report(*kept, background="sea"), SOURCE, target)
    assert not edit_done(report(*kept, background="white"), SOURCE, target)
    assert not edit_done(report(kept[0], background="sea"), SOURCE, target)


def test_answers_agree_but_for_case_space_and_full_stop():
    assert same_answer(" Two. ", "two")
    assert same_answer("at the  top left", "at the top left")
    assert not same_answer("three", "two")
    assert not same_answer("", "two")
