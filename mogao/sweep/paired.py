"""Chance over prompts in the difference of two arms: what other items of the same kind might say.

In: the `items.jsonl` of both arms, seed by seed. Out: a 95 % bootstrap interval of each score's
difference, averaged over seeds, with the same resamples of items for both arms and all seeds.

Most scores are linear in the values of their rows (means over items, over groups, over units that
are drawn together). The table of a benchmark over rows that hold the mean difference of each value
then gives the mean difference of each score, and its interval draws both arms and all seeds
together, by the rule by which the benchmark draws for the score itself. That a score is linear is
tried and not taken for granted: its table must add up where values are split between two sets of
rows at random, and must give what the arms' own tables give. A score for which it does not (F1,
counts of failures, numbers from facts) has no interval here. Source: own design, docs/sweeps.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Row
from mogao.evaluation.scores import Score
from mogao.files import whole_rows
from mogao.sweep.scores import Gaps, Interval, Reached, Result

_ROUNDING = 2e-4
"""How far a stored score may lie from that of the stored rows: both are rounded."""


def prompt_gaps(reached: Reached, benchmarks: Mapping[str, Benchmark]) -> Gaps:
    """Return the intervals of all scores for which there is one.

    Args:
        reached: All results.
        benchmarks: Those that were scored, by name.

    Raises:
        DataError: An `items.jsonl` is damaged.
    """
    baseline, *others = reached
    gaps: dict[tuple[str, str, str], Interval] = {}
    every = [results for runs in reached.values() for results in runs.values()]
    for suite in (name for name in benchmarks if all(name in results for results in every)):
        first = [_read(results[suite]) for results in reached[baseline].values()]
        for arm in others:
            own = [_read(results[suite]) for results in reached[arm].values()]
            for name, interval in _intervals(benchmarks[suite], own, first).items():
                gaps[arm, suite, name] = interval
    return gaps


@dataclass(frozen=True, slots=True)
class _Scored:
    """One benchmark of one model: its stored scores and rows."""

    result: Result
    rows: list[Row]


def _read(result: Result) -> _Scored:
    path = result.folder / "items.jsonl"
    try:
        rows = [
            Row(
                row["id"],
                row["group"],
                {name: math.nan if x is None else float(x) for name, x in row["values"].items()},
                tuple(row["failures"]),
                row["facts"],
                row.get("unit", ""),
            )
            for row in whole_rows(path)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no list of scored items: {error!r}") from None
    return _Scored(result, rows)


def _intervals(
    benchmark: Benchmark, own: Sequence[_Scored], first: Sequence[_Scored]
) -> dict[str, Interval]:
    """Return the interval of each linear score; seeds stand in the same order in both."""
    runs = [*own, *first]
    if len({tuple((row.id, row.group) for row in run.rows) for run in runs}) > 1:
        return {}
    signs = np.repeat([1.0, -1.0], len(own))[:, None]
    parts = np.random.default_rng(0).uniform(0.2, 0.8, (len(runs), len(runs[0].rows)))
    weights = [np.broadcast_to(signs, parts.shape), parts, 1 - parts]
    try:
        tables = [_table(benchmark, run.rows, runs[0]) for run in runs]
        gap, part, rest = (_table(benchmark, _mixed(runs, one), runs[0]) for one in weights)
    except KeyError:  # rows of another version of the benchmark
        return {}

    def is_linear(name: str) -> bool:
        values = np.array([table[name].value for table in tables])
        stored = [run.result.scores[name].value for run in runs]
        reach = 1 + np.abs(values).sum()
        return bool(
            np.abs(values - stored).max() <= _ROUNDING
            and abs(gap[name].value * len(own) - signs[:, 0] @ values) <= 1e-6 * reach
            and abs(part[name].value + rest[name].value - values.sum() / len(own)) <= 1e-6 * reach
        )

    shared = set(gap).intersection(part, rest, *tables, *(run.result.scores for run in runs))
    found = {name: (gap[name].low, gap[name].high) for name in shared if is_linear(name)}
    # No width but a difference: a plain count, or items that all moved alike; it says nothing.
    return {name: ends for name, ends in found.items() if ends[0] < ends[1] or not any(ends)}


def _table(benchmark: Benchmark, rows: Sequence[Row], like: _Scored) -> dict[str, Score]:
    """The scores of some rows; whether they are those that are stored is for the caller to see."""
    protocol = like.result.facts["protocol"]
    known = protocol if protocol in benchmark.protocols else benchmark.protocols[0]
    with np.errstate(all="ignore"):
        return benchmark.table(rows, protocol=known)


def _mixed(runs: Sequence[_Scored], weights: np.ndarray) -> list[Row]:
    """Rows whose values are weighted sums over runs, divided by the number of seeds.

    A value that one run lacks is no number, so that no score rests on it.
    """
    rows = []
    for number, same in enumerate(zip(*(run.rows for run in runs), strict=True)):
        names = dict.fromkeys(name for row in same for name in row.values)
        values = {
            name: math.fsum(
                weight * row.values.get(name, math.nan)
                for weight, row in zip(weights[:, number], same, strict=True)
            )
            * 2
            / len(runs)
            for name in names
        }
        first = same[0]
        rows.append(Row(first.id, first.group, values, facts=first.facts, unit=first.unit))
    return rows
