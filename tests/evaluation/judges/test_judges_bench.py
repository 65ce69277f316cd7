"""The bench of the judges counts what is right, of a judge whose mistakes are known."""

from __future__ import annotations

import json

import numpy as np

from mogao.bench.judges import figures, run
from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.pipeline import Mogao

SHARES = (
    "scenes_right", "things_right", "concept", "style", "colour", "size", "place", "count",
    "background",
)  # fmt: skip


class Scripted:
    """A judge that says what it was told to, picture by picture."""

    name = "scripted/1"

    def __init__(self, *reports: Report) -> None:
        self.reports = {np.uint8(k).tobytes(): report for k, report in enumerate(reports)}

    def read(self, pixels):
        return self.reports[pixels[0, 0, 0].tobytes()]


def test_shares_are_over_scenes_over_things_and_over_painted_things():
    scene = Scene("sea", "noto", (SceneObject("cat", "red", "small", 30, 30),
                                  SceneObject("dog", None, "small", 90, 90)))  # fmt: skip
    cat = Finding("cat", "noto", "red", 33.0, 31.0, 29.0, 0.9)
    dog = Finding("dog", "noto", "brown", 31.0, 90.0, 88.0, 0.9)
    bear = Finding("bear", "noto", "brown", 45.0, 90.0, 88.0, 0.9)
    judge = Scripted(Report("sea", (cat, dog)), Report("sea", (cat, bear)), Report("snow", (dog,)),
                     Report("sea", (dog, cat)))  # fmt: skip
    pictures = [np.full((128, 128, 3), k, np.uint8) for k in range(4)]
    found = figures(judge, [scene] * 4, pictures)
    assert {name: found[name] for name in SHARES} == {
        "scenes_right": 0.5, "things_right": 6 / 8, "concept": 6 / 8, "style": 7 / 8,
        "colour": 3 / 4, "size": 6 / 8, "place": 7 / 8, "count": 3 / 4, "background": 3 / 4,
    }  # fmt: skip
    assert found["ms_mean"] > 0
    assert found["ms_p90"] > 0


def test_of_unpainted_things_no_colour_is_asked():
    scene = Scene("sea", "noto", (SceneObject("cat"),))
    judge = Scripted(Report("sea", ()))
    assert figures(judge, [scene], [np.zeros((128, 128, 3), np.uint8)])["colour"] is None


def test_both_judges_read_one_and_six_things_clean_and_behind_an_autoencoder():
    facts = run(Mogao.from_pretrained("nano").parts.autoencoder, num=3, seed=5)
    rows = facts["rows"]
    assert [(row["judge"].partition("/")[0], row["scenes"], row["pictures"]) for row in rows] == [
        (judge, scenes, pictures)
        for scenes in ("one", "six")
        for pictures in ("clean", "autoencoder")
        for judge in ("correlation", "detector")
    ]
    for row in rows:
        assert row["things_right"] >= (0.6 if row["scenes"] == "one" else 0.8)
    json.dumps(facts)
    again = run(Mogao.from_pretrained("nano").parts.autoencoder, num=3, seed=5)["rows"]
    assert [row["scenes_right"] for row in again] == [row["scenes_right"] for row in rows]
