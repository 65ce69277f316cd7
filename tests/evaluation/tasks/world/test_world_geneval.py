"""GenEval's form in the world: the truth fulfils it, shuffled prompts do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.data.world.scene import render
from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.geneval import read_request
from mogao.evaluation.runner import choose
from mogao.evaluation.tasks.world.base import scene_of
from mogao.evaluation.tasks.world.drawing import SIZES, WorldGenEval, record

PROTOCOL = "world-geneval-2"


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return choose(WorldGenEval().items(), most=4)


def drawn(item: Item, folder: Path) -> Output:
    target = scene_of(item.truth, "target")
    assert target is not None
    path = folder / f"{item.id}.png"
    save_png(render(target), path)
    return Output((path,))


def table(items: list[Item], outputs: list[Output]):
    suite = WorldGenEval()
    rows = [
        suite.score(item, [output], tools=Tools(), protocol=PROTOCOL)
        for item, output in zip(items, outputs, strict=True)
    ]
    return suite.table(rows, protocol=PROTOCOL)


def test_real_renders_are_right_and_shuffled_ones_are_not(items, tmp_path: Path):
    outputs = [drawn(item, tmp_path) for item in items]
    scores = table(items, outputs)
    assert {name: scores[name].value for name in SIZES} == dict.fromkeys(SIZES, 1.0)
    assert [scores[name].value for name in ("overall", "graded")] == pytest.approx([1, 1])
    assert scores["position"].ceiling == 1
    order = np.random.default_rng(0).permutation(len(items))
    assert table(items, [outputs[i] for i in order])["overall"].value < 0.25


def test_an_empty_sheet_is_wrong_and_has_the_graded_floor_that_is_documented(items, tmp_path: Path):
    path = tmp_path / "empty.png"
    save_png(np.full((128, 128, 3), 250, np.uint8), path)
    scores = table(items, [Output((path,))] * len(items))
    assert scores["overall"].value == 0
    assert scores["graded"].value == pytest.approx(1 / 12)


def test_there_are_as_many_prompts_as_in_geneval():
    every = WorldGenEval().items()
    assert len(every) == len({item.id for item in every}) == 553
    assert {item.num for item in every} == {4}
    for item in every:
        read_request(item.truth, where=item.id)


def test_a_place_is_that_of_the_named_thing_seen_from_the_other():
    truth = {"concepts": ["cat", "dog"], "colours": [None, None], "count": 1,
             "relation": "left of"}  # fmt: skip
    assert record("position", truth)["include"] == [
        {"class": "dog", "count": 1},
        {"class": "cat", "count": 1, "position": ["left of", 0]},
    ]
    truth = {"concepts": ["cat"], "colours": ["red"], "count": 3, "relation": None}
    found = record("counting", truth)
    assert found["include"] == [{"class": "cat", "count": 3, "color": "red"}]
    assert found["exclude"] == [{"class": "cat", "count": 4}]
