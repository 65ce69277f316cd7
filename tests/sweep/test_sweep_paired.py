"""Chance over prompts in the difference of two arms, against the slow obvious resampling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Row
from mogao.evaluation.results import row_json
from mogao.evaluation.scores import RESAMPLES
from mogao.evaluation.tasks.geneval import GenEval
from mogao.evaluation.tasks.pope import Pope
from mogao.evaluation.tasks.world.dense import WorldDense
from mogao.files import to_json
from mogao.sweep.paired import prompt_gaps
from mogao.sweep.scores import Reached, Result

SIZES = {"colors": 5, "counting": 8, "position": 3}
SEEDS = (0, 1, 4)


def drawn(*, seed: int, shift: float) -> list[Row]:
    """Items of three groups of unlike sizes; how hard an item is does not depend on the seed."""
    hard = np.random.default_rng(99).random(16)
    luck = np.random.default_rng(seed).random(16)
    groups = [group for group, size in SIZES.items() for _ in range(size)]
    return [
        Row(
            f"{group}-{number}",
            group,
            {
                "right": float(one - 0.4 * more < 0.4 + shift),
                "graded": round(0.8 * one + 0.2 * more, 6),
            },
        )
        for number, (group, one, more) in enumerate(zip(groups, hard, luck, strict=True))
    ]


def stored(benchmark: Benchmark, rows: list[Row], folder: Path) -> Result:
    """What an evaluation leaves of these rows."""
    folder.mkdir(parents=True)
    (folder / "items.jsonl").write_text("".join(to_json(row_json(row)) + "\n" for row in rows))
    protocol = benchmark.protocols[0]
    return Result(folder, {"protocol": protocol}, benchmark.table(rows, protocol=protocol))


def reached(benchmark: Benchmark, runs: dict[str, list[list[Row]]], folder: Path) -> Reached:
    return {
        arm: {
            seed: {benchmark.name: stored(benchmark, rows, folder / f"{arm}-{seed}")}
            for seed, rows in enumerate(each)
        }
        for arm, each in runs.items()
    }


@pytest.fixture
def geneval(tmp_path: Path) -> GenEval:
    return GenEval(tmp_path / "none.jsonl")


@pytest.fixture
def pope(tmp_path: Path) -> Pope:
    return Pope(tmp_path / "none.jsonl")


def runs() -> dict[str, list[list[Row]]]:
    return {
        "plain": [drawn(seed=seed, shift=0.0) for seed in SEEDS],
        "other": [drawn(seed=seed + 100, shift=0.2) for seed in SEEDS],
    }


def slow_interval(value: str) -> tuple[float, float]:
    """Resample items inside each group: the same ones for both arms and all seeds."""
    rng = np.random.default_rng(0)
    draws = {group: rng.integers(size, size=(RESAMPLES, size)) for group, size in SIZES.items()}
    gaps = np.zeros(RESAMPLES)
    for plain, other in zip(*runs().values(), strict=True):
        for group, picks in draws.items():
            first, second = (
                np.array([row.values[value] for row in rows if row.group == group])
                for rows in (plain, other)
            )
            for number, pick in enumerate(picks):
                gaps[number] += (second[pick].mean() - first[pick].mean()) / len(SIZES) / len(SEEDS)
    low, high = np.percentile(gaps, [2.5, 97.5])
    return float(low), float(high)


def test_the_interval_is_that_of_resampling_both_arms_and_all_seeds_together(
    geneval: GenEval, tmp_path: Path
) -> None:
    gaps = prompt_gaps(reached(geneval, runs(), tmp_path), {"geneval": geneval})
    assert {arm for arm, _, _ in gaps} == {"other"}
    assert {name for _, _, name in gaps} == {"overall", "graded", *SIZES}
    for name, value in (("overall", "right"), ("graded", "graded")):
        assert gaps["other", "geneval", name] == pytest.approx(slow_interval(value), abs=1e-9)
    low, high = gaps["other", "geneval", "overall"]
    assert low < high


def test_what_is_the_same_item_by_item_differs_by_no_chance(
    geneval: GenEval, tmp_path: Path
) -> None:
    same = runs()["plain"]
    gaps = prompt_gaps(
        reached(geneval, {"plain": same, "twin": same}, tmp_path), {"geneval": geneval}
    )
    assert set(gaps.values()) == {(0.0, 0.0)}


def answered(says: str) -> list[Row]:
    """Four questions of which the first two are to be affirmed; "?" is neither."""
    return [
        Row(
            f"q{number}",
            "popular",
            {
                "right": float(word == truth),
                "yes": float(word == "y"),
                "no": float(word == "n"),
                "truth": float(truth == "y"),
            },
            failures=("neither yes nor no",) if word == "?" else (),
        )
        for number, (word, truth) in enumerate(zip(says, "yynn", strict=True))
    ]


def test_scores_that_are_no_means_of_values_have_no_interval(pope: Pope, tmp_path: Path) -> None:
    found = reached(pope, {"plain": [answered("ynyn")], "other": [answered("yyn?")]}, tmp_path)
    names = {name for _, _, name in prompt_gaps(found, {"pope": pope})}
    assert names == {"popular/accuracy", "popular/yes_ratio"}


def test_equal_scores_of_unlike_answers_are_not_taken_for_linear_ones(
    pope: Pope, tmp_path: Path
) -> None:
    found = reached(pope, {"plain": [answered("ynyn")], "other": [answered("nyny")]}, tmp_path)
    scores = [runs[0]["pope"].scores["f1"].value for runs in found.values()]
    assert scores[0] == scores[1]
    gaps = prompt_gaps(found, {"pope": pope})
    assert ("other", "pope", "f1") not in gaps
    low, high = gaps["other", "pope", "popular/accuracy"]
    assert low < 0 < high


def test_a_value_that_one_run_lacks_is_no_ground_for_an_interval(
    geneval: GenEval, tmp_path: Path
) -> None:
    both = runs()
    cut = both["other"][1][0]
    both["other"][1][0] = Row(cut.id, cut.group, {"right": cut.values["right"]})
    gaps = prompt_gaps(reached(geneval, both, tmp_path), {"geneval": geneval})
    assert {name for _, _, name in gaps} == {"overall", *SIZES}


def test_other_items_or_other_rows_than_those_scored_give_no_interval(
    geneval: GenEval, tmp_path: Path
) -> None:
    both = runs()
    fewer = both | {"other": [rows[1:] for rows in both["other"]]}
    assert prompt_gaps(reached(geneval, fewer, tmp_path / "a"), {"geneval": geneval}) == {}
    found = reached(geneval, both, tmp_path / "b")
    path = found["other"][0]["geneval"].folder / "items.jsonl"
    path.write_text(path.read_text().replace('"right": 1.0', '"right": 0.0'))
    gaps = prompt_gaps(found, {"geneval": geneval})
    assert {name for _, _, name in gaps} == {"graded"}


def test_rows_of_another_version_of_a_benchmark_give_no_interval(tmp_path: Path) -> None:
    row = Row("a", "three_things", {"score": 1.0, "ceiling": 1.0}, facts={})
    dense = WorldDense()
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "items.jsonl").write_text(to_json(row_json(row)) + "\n")
    result = Result(folder, {"protocol": "world-dense-0"}, {})
    found = {arm: {0: {"world_dense": result}} for arm in ("plain", "other")}
    assert prompt_gaps(found, {"world_dense": dense}) == {}


def test_items_that_all_moved_alike_have_no_interval(geneval: GenEval, tmp_path: Path) -> None:
    right = [Row(f"{n}", "colors", {"right": 1.0, "graded": 1.0}) for n in range(4)]
    wrong = [Row(f"{n}", "colors", {"right": 0.0, "graded": 0.25 * n}) for n in range(4)]
    found = reached(geneval, {"plain": [wrong], "other": [right]}, tmp_path)
    assert {name for _, _, name in prompt_gaps(found, {"geneval": geneval})} == {"graded"}


@pytest.mark.parametrize("line", ["{", "[1]", json.dumps({"id": "a"})])
def test_damaged_items_are_named(geneval: GenEval, tmp_path: Path, line: str) -> None:
    found = reached(geneval, runs(), tmp_path)
    path = found["other"][0]["geneval"].folder / "items.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=r"items\.jsonl is no list of scored items"):
        prompt_gaps(found, {"geneval": geneval})
