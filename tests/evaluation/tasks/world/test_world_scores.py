"""Scores of the world's suites: beside each stands its ceiling, and scenes are drawn as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mogao.evaluation.benchmark import Benchmark, Item, Output
from mogao.evaluation.controls import Perfect
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.registry import BENCHMARKS, open_benchmark
from mogao.evaluation.runner import choose, generate, read_outputs, score

JUDGED = [
    name
    for name, place in BENCHMARKS.items()
    if place.startswith("world.") and name not in {"world_questions", "world_captions"}
]
UNJUDGED = {
    "nano": {"questions", "stories", "story_pictures"},
    "world_stories": {"order", "alternation", "stop", "pictures"},
}
"""Scores of texts and numbers, of which no judge is asked."""


def rows_of(suite: Benchmark, items: Sequence[Item], outputs: dict[str, list[Output]]):
    return score(suite, items, outputs, tools=Tools(), protocol=suite.protocols[0])


@pytest.mark.parametrize("name", JUDGED)
def test_every_score_that_a_judge_gives_has_its_ceiling(name: str, tmp_path: Path):
    suite = open_benchmark(name, {})
    items = choose(suite.items(), most=1)
    generate(items, Perfect(), tmp_path)
    rows = rows_of(suite, items, read_outputs(items, tmp_path))
    scores = suite.table(rows, protocol=suite.protocols[0])
    unjudged = UNJUDGED.get(name, set())
    for score_name, one in scores.items():
        if score_name.split("/")[0] in unjudged:
            assert one.ceiling is None, score_name
        else:
            assert one.ceiling == pytest.approx(one.value), score_name


@pytest.mark.parametrize(
    ("name", "most", "num_rows", "num_units"),
    [
        ("world_repetition", 2, 10, 2),  # two documents at five scales
        ("world_captions", 3, 9, 3),  # three scenes at three levels
        ("world_round_trip", 2, 4, 2),  # two scenes, there and back
    ],
)
def test_rows_about_one_scene_are_one_unit(name: str, most: int, num_rows: int, num_units: int):
    suite = open_benchmark(name, {})
    items = choose(suite.items(), most=most)
    rows = rows_of(suite, items, {item.id: [Output(())] for item in items})
    assert len(rows) == num_rows
    assert len({row.unit for row in rows}) == num_units
    assert all(row.unit for row in rows)


def test_both_questions_about_a_picture_of_pope_are_one_unit():
    suite = open_benchmark("world_questions", {})
    items = choose(suite.items(), groups=["pope_random", "pope_popular"], most=8)
    rows = rows_of(suite, items, {item.id: [Output(("yes",))] for item in items})
    assert [row.unit for row in rows[::2]] == [row.unit for row in rows[1::2]]
    assert len({row.unit for row in rows}) == 4
    scores = suite.table(rows, protocol=suite.protocols[0])
    # Each picture has one question to yes and one to no.
    accuracy = scores["pope_random/accuracy"]
    assert (accuracy.low, accuracy.value, accuracy.high, accuracy.n) == (0.5, 0.5, 0.5, 8)
