"""The suite gives full marks to the truth, none to nothing, and writes what it promises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mogao.data.world.scene import render
from mogao.evaluation.nano import FULL, QUICK, evaluate, scores_of, write_results
from mogao.evaluation.prompts import Item
from mogao.sequence import Pixels

SIZES = {
    "single_object": 3, "two_object": 2, "colors": 2, "counting": 2, "position": 2,
    "color_attr": 2, "questions": 7, "edits": 3, "stories": 2,
}  # fmt: skip


class Truth:
    """A player that knows every answer."""

    def draw(self, items: Sequence[Item]) -> Iterator[Pixels]:
        for item in items:
            assert item.target is not None
            yield render(item.target)

    def answer(self, items: Sequence[Item]) -> Iterator[str]:
        for item in items:
            yield f"{item.truth['answer'].capitalize()}."

    def tell(self, items: Sequence[Item]) -> Iterator[list[Pixels]]:
        for item in items:
            yield [np.zeros((128, 128, 3), np.uint8)] * int(item.truth["panels"])


class Nothing:
    """A player that draws a white sheet and is silent."""

    def draw(self, items: Sequence[Item]) -> Iterator[Pixels]:
        for _ in items:
            yield np.full((128, 128, 3), 250, np.uint8)

    def answer(self, items: Sequence[Item]) -> Iterator[str]:
        for _ in items:
            yield ""

    def tell(self, items: Sequence[Item]) -> Iterator[list[Pixels]]:
        for _ in items:
            yield []


def test_the_truth_scores_one_and_meets_its_ceiling():
    scores = scores_of(evaluate(Truth(), sizes=SIZES))
    assert all(score.value == 1 for name, score in scores.items() if name != "story_pictures")
    assert all(scores[task].ceiling == 1 for task in ("single_object", "colors", "edits"))
    assert scores["questions"].ceiling is None
    assert scores["story_pictures"].value >= 3
    assert {name: scores[name].n for name in SIZES} == SIZES


def test_nothing_scores_zero_below_the_same_ceiling():
    scores = scores_of(evaluate(Nothing(), sizes=SIZES))
    assert all(score.value == 0 for score in scores.values())
    assert scores["single_object"].ceiling == 1


def test_the_ceiling_sees_what_the_autoencoder_leaves():
    def lose_everything(pictures: Sequence[Pixels]) -> list[Pixels]:
        return [np.full_like(picture, 250) for picture in pictures]

    outcomes = evaluate(Truth(), sizes={"single_object": 2}, round_trip=lose_everything)
    assert scores_of(outcomes)["single_object"].ceiling == 0
    assert scores_of(outcomes)["single_object"].value == 1


def test_results_are_written(tmp_path: Path):
    seen: list[tuple[str, int]] = []
    sizes = {"colors": 2, "questions": 2, "edits": 1}
    outcomes = evaluate(Truth(), sizes=sizes, show=lambda *done: seen.append(done))
    summary = write_results(outcomes, tmp_path, model="truth", seed=0)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert {"suite", "protocol", "model", "seed", "scores", "commit", "versions"} <= set(summary)
    assert set(summary["scores"]["colors"]) == {"value", "low", "high", "n", "ceiling"}
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows][:2] == ["colors-000", "colors-001"]
    assert rows[0]["report"]["findings"]
    assert rows[2]["said"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    assert seen == [(task, n) for task, num in sizes.items() for n in range(1, num + 1)]


def test_the_ready_made_sizes_are_those_promised():
    assert (FULL["single_object"], FULL["two_object"], FULL["colors"]) == (100, 100, 100)
    assert FULL["questions"] >= 200
    assert (FULL["edits"], FULL["stories"]) == (60, 20)
    assert sum(QUICK.values()) <= 45
