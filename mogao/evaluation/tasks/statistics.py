"""Scores that are no plain mean over items, and the units that they are means over.

In: rows of one benchmark. Out: scores with 95 % bootstrap intervals over questions. Questions that
stand or fall together (rotations of one question, two questions to one picture) are merged into one
row first or name one unit, so that resamples draw them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from mogao.evaluation.benchmark import Row
from mogao.evaluation.scores import RESAMPLES, Score, summarise, sums_of_units

PERCENT = 100.0

Means = Float64[np.ndarray, "draws values"]
Numbers = Float64[np.ndarray, "draws"]
Statistic = Callable[[Means], Numbers]


def resampled(
    values: Float64[np.ndarray, "items values"],
    statistic: Statistic,
    *,
    units: Sequence[str] = (),
    seed: int = 0,
) -> Score:
    """Return a function of means with the percentile interval of 1,000 resamples over units.

    Args:
        values: Several numbers of each item, such as flags for the cells of a confusion table.
        statistic: From the means of the columns to the score, for many resamples at once.
        units: Of each item; see `mogao.evaluation.scores.summarise`.
        seed: Of the resampling.
    """
    if not len(values):
        return Score(0.0, 0.0, 0.0, 0)
    sums, sizes = sums_of_units(values, units)
    # Units with equal numbers are one kind: a resample is how often it draws each kind, which for
    # flags is some ten numbers and not thousands.
    kinds, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    num = len(sums)
    drawn = np.random.default_rng(seed).multinomial(num, counts / num, size=RESAMPLES) @ kinds
    low, high = np.percentile(statistic(drawn[:, :-1] / drawn[:, -1:]), [2.5, 97.5])
    value = statistic(values.mean(0, keepdims=True))[0]
    return Score(float(value), float(low), float(high), len(values))


def merged(
    rows: Sequence[Row],
    key: Callable[[Row], str],
    *,
    value: str,
    combine: Callable[[list[float]], float],
) -> list[Row]:
    """Return one row for all rows with the same key, in the order in which keys appear.

    Args:
        rows: Of one benchmark.
        key: Of the unit to which a row belongs; becomes the id.
        value: Name of the number that is combined; the merged rows have no other.
        combine: From the list of these numbers to one, such as `min`.
    """
    units: dict[str, list[Row]] = {}
    for row in rows:
        units.setdefault(key(row), []).append(row)
    return [
        Row(name, unit[0].group, {value: combine([row.values[value] for row in unit])})
        for name, unit in units.items()
    ]


def parse_failures(rows: Sequence[Row]) -> Score:
    """Return the share, in [0, 1], of items in which something could not be read."""
    failed = [float(bool(row.failures)) for row in rows]
    return summarise(failed, units=[row.unit for row in rows])


def scored(rows: Sequence[Row]) -> Score:
    """Return the share, in [0, 1], of items that have any value, so that the means rest on them."""
    return summarise([float(bool(row.values)) for row in rows], units=[row.unit for row in rows])
