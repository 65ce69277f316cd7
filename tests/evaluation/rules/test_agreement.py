"""A judge agrees with a scene when everything that can be seen is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.agreement import agrees

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
    ],
)
def test_any_mistake_disagrees(report: Report):
    assert not agrees(report, SCENE)
