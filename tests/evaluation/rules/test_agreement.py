"""A judge agrees with a scene when everything that can be seen is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.agreement import agrees, read_against

SCENE = Scene(
    "beach",
    "noto",
    (SceneObject("cat", None, "small", 40, 40), SceneObject("cat", "red", "small", 90, 80)),
)
PLAIN = Finding("cat", "noto", "orange", 32.0, 42.0, 38.0, 0.9)
RED = Finding("cat", "noto", "red", 32.0, 90.0, 80.0, 0.9)


def test_the_truth_agrees_in_any_order():
    assert agrees(Report("beach", (PLAIN, RED)), SCENE)
    assert agrees(Report("beach", (RED, PLAIN)), SCENE)


@pytest.mark.parametrize(
    "report",
    [
        Report("snow", (PLAIN, RED)),
        Report("beach", (PLAIN,)),
        Report("beach", (PLAIN, RED, RED)),
        Report("beach", (PLAIN, replace(RED, colour="blue"))),
        Report("beach", (PLAIN, replace(RED, style="fluent"))),
        Report("beach", (PLAIN, replace(RED, concept="dog"))),
        Report("beach", (PLAIN, replace(RED, x=99.0))),
        Report("beach", (PLAIN, replace(RED, size=41.0))),
    ],
)
def test_any_mistake_disagrees(report: Report):
    assert not agrees(report, SCENE)


def test_a_thing_is_read_by_the_nearest_finding_and_told_what_is_wrong():
    far = replace(RED, x=101.0, size=50.0, colour="blue")
    reading = read_against(Report("beach", (far, replace(PLAIN, style="fluent"))), SCENE)
    assert reading.things == (
        {"concept": True, "style": False, "size": True, "place": True},
        {"concept": True, "style": True, "colour": False, "size": False, "place": False},
    )
    assert reading.count
    assert reading.background
    assert not reading.right


def test_of_a_thing_that_nothing_lies_near_all_is_wrong():
    reading = read_against(Report("snow", (PLAIN, replace(RED, x=60.0))), SCENE)
    assert set(reading.things[1].values()) == {False}
    assert set(reading.things[0].values()) == {True}
    assert reading.count
    assert not reading.background
    both = (PLAIN, replace(PLAIN, x=43.0), RED)
    assert not read_against(Report("beach", both), SCENE).count


def test_the_style_is_asked_only_where_styles_differ():
    painted = SceneObject("bowl", "red", "small", 40, 40)
    things = (painted, SceneObject("bowl", None, "small", 90, 80))
    seen = tuple(
        Finding("bowl", "fluent", "red", 32.0, float(one.x), float(one.y), 0.9) for one in things
    )
    reading = read_against(Report("beach", seen), Scene("beach", "noto", things))
    assert [one.get("style") for one in reading.things] == [None, False]
