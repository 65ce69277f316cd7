"""Means and their intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mogao.evaluation.benchmark import Row
from mogao.evaluation.scores import Score, summarise
from mogao.evaluation.tables import by_group, over_groups, over_items


def test_a_summary_holds_mean_interval_count_and_ceiling():
    score = summarise([1.0] * 60 + [0.0] * 40, ceiling=[1.0] * 99 + [0.0])
    assert score.value == pytest.approx(0.6)
    assert score.n == 100
    assert score.ceiling == pytest.approx(0.99)
    # Twice the standard error of a share of 0.6 over 100 prompts is 0.098.
    assert score.low == pytest.approx(0.5, abs=0.03)
    assert score.high == pytest.approx(0.7, abs=0.03)
    assert score == summarise([1.0] * 60 + [0.0] * 40, ceiling=[1.0] * 99 + [0.0])


def test_a_summary_of_nothing_is_zero_without_ceiling():
    assert summarise([]).to_json() == {
        "value": 0.0, "low": 0.0, "high": 0.0, "n": 0, "ceiling": None,
    }  # fmt: skip


ROWS = [Row("1", "a", {"x": 1.0}), Row("2", "a", {"x": 0.0}), Row("3", "a", {"x": 0.0}),
        Row("4", "b", {"x": 1.0}), Row("5", "b", {}, ("unread",))]  # fmt: skip


def test_means_go_over_items_or_over_groups():
    assert over_items(ROWS, "x").value == 0.5
    assert over_items(ROWS, "x").n == 4
    assert over_groups(ROWS, "x").value == pytest.approx((1 / 3 + 1) / 2)
    weighted = over_groups(ROWS, "x", weights={"a": 3.0, "b": 1.0, "c": 5.0}, scale=100.0)
    assert weighted.value == pytest.approx(50)
    assert {name: score.value for name, score in by_group(ROWS, "x").items()} == {
        "a": pytest.approx(1 / 3),
        "b": 1.0,
    }
    assert over_groups([], "x").n == 0


def test_the_interval_over_groups_draws_inside_each_group():
    rng = np.random.default_rng(0)
    values = rng.random(400) < 0.3
    rows = [Row(str(i), "ab"[i % 2], {"x": float(v)}) for i, v in enumerate(values)]
    score = over_groups(rows, "x")
    assert score.low < score.value < score.high
    spread = np.sqrt(0.3 * 0.7 / 400)
    assert score.high - score.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def repeated(times: int, *, with_units: bool) -> list[Row]:
    """Rows of 40 documents, each as often as asked in a group of its own letter."""
    return [
        Row(f"{k}-{n}", "abcde"[k], {"x": float(n % 3 == 0)}, unit=f"u{n}" if with_units else "")
        for k in range(times)
        for n in range(40)
    ]


def width(score: Score) -> float:
    return score.high - score.low


def test_asking_one_document_again_makes_no_interval_narrower():
    once, often = (repeated(times, with_units=True) for times in (1, 5))
    apart = repeated(5, with_units=False)
    for mean in (over_items, over_groups):
        expected, found = mean(once, "x"), mean(often, "x")
        assert found.value == pytest.approx(expected.value)
        assert found.n == 200
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert width(mean(apart, "x")) < 0.6 * width(found)


def test_units_of_one_group_are_drawn_inside_it():
    rows = [Row(str(i), "ab"[i % 2], {"x": float(i % 4 < 2)}, unit=str(i // 8)) for i in range(80)]
    assert over_items(rows, "x").low == over_items(rows, "x").high == 0.5
    alone = [replace(row, unit=f"{row.unit}{row.group}") for row in rows]
    assert over_groups(alone, "x") == over_groups(rows, "x")


def test_rows_without_a_unit_are_drawn_one_by_one():
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    assert summarise(values, units=[""] * 5) == summarise(values, units=[*"abcde"])
    assert summarise(values) == summarise(values, units=[""] * 5)
    assert summarise(values, units=["a"] * 5).low == 0.6
