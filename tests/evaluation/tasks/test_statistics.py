"""Scores that are functions of means, and rows that belong together."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.evaluation.benchmark import Row
from mogao.evaluation.scores import summarise
from mogao.evaluation.tasks.statistics import merged, parse_failures, resampled


def mean_of_first(means):
    return means[:, 0]


def test_a_resampled_mean_agrees_with_the_bootstrap_of_means():
    values = np.arange(40, dtype=float) % 5
    score = resampled(values[:, None], mean_of_first)
    other = summarise(list(values))
    assert score.value == pytest.approx(2.0)
    assert score.n == 40
    assert score.low == pytest.approx(other.low, abs=0.1)
    assert score.high == pytest.approx(other.high, abs=0.1)


def test_resamples_draw_items_and_not_columns():
    values = np.array([[1.0, 1.0]] * 5 + [[0.0, 0.0]] * 5)
    score = resampled(values, lambda means: means[:, 0] - means[:, 1])
    assert (score.value, score.low, score.high) == (0.0, 0.0, 0.0)


def test_resamples_draw_the_rows_of_a_unit_together():
    flags = np.repeat([[1.0], [0.0]], 20, axis=0)
    alone = resampled(flags, mean_of_first)
    twice = resampled(
        np.repeat(flags, 4, axis=0),
        mean_of_first,
        units=[str(i) for i in range(40) for _ in "abcd"],
    )
    assert twice.n == 160
    assert (twice.value, twice.low, twice.high) == pytest.approx((0.5, alone.low, alone.high))


def test_resampling_is_seeded_and_nothing_gives_nothing():
    values = np.random.default_rng(0).random((30, 1))
    assert resampled(values, mean_of_first, seed=1) == resampled(values, mean_of_first, seed=1)
    assert resampled(values, mean_of_first, seed=1) != resampled(values, mean_of_first, seed=2)
    assert resampled(np.zeros((0, 1)), mean_of_first).n == 0


def test_rows_of_one_unit_are_merged():
    rows = [
        Row("a0", "g", {"right": 1.0, "other": 3.0}),
        Row("b0", "h", {"right": 1.0}),
        Row("a1", "g", {"right": 0.0}),
    ]
    assert merged(rows, lambda row: row.id[0], value="right", combine=min) == [
        Row("a", "g", {"right": 0.0}),
        Row("b", "h", {"right": 1.0}),
    ]


def test_parse_failures_are_the_share_of_items():
    rows = [Row("a", "g", {}, failures=("one", "two")), *(Row(f"{n}", "g", {}) for n in range(3))]
    score = parse_failures(rows)
    assert (score.value, score.n) == (0.25, 4)
    pair = [Row("a", "g", {}, ("one",), unit="u"), Row("b", "g", {}, unit="u")]
    assert parse_failures(pair).low == parse_failures(pair).value == 0.5
