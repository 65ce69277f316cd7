"""From rows to scores: means with 95 % bootstrap intervals over items, never over pictures.

In: rows of one benchmark. Out: scores. Public scripts average in two ways, over all items or over
the means of groups; a benchmark says which it uses, and its intervals follow the same rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mogao.evaluation.benchmark import Row
from mogao.evaluation.scores import RESAMPLES, Score, summarise

CEILING = "ceiling"
"""Value of a row: whether the judge accepts a real render."""


def numbers(rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None) -> list[float]:
    """Return one value of all rows that have it; of some groups only where they are named."""
    return [
        row.values[value]
        for row in rows
        if value in row.values and (groups is None or row.group in groups)
    ]


def by_group(rows: Sequence[Row], value: str, *, scale: float = 1.0) -> dict[str, Score]:
    """Return the mean of a value in each group, in the order in which the groups appear."""
    names = dict.fromkeys(row.group for row in rows)
    return {name: over_items(rows, value, groups=[name], scale=scale) for name in names}


def over_items(
    rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None, scale: float = 1.0
) -> Score:
    """Return the mean over all items, or over those of some groups."""
    return summarise([scale * number for number in numbers(rows, value, groups=groups)])


def over_groups(
    rows: Sequence[Row],
    value: str,
    *,
    weights: Mapping[str, float] | None = None,
    scale: float = 1.0,
    seed: int = 0,
) -> Score:
    """Return the weighted mean of the means of groups; its resamples draw inside each group.

    Args:
        rows: Of one benchmark.
        value: Name of the number.
        weights: Of each group; None weighs all alike. A group without rows is left out and the
            other weights are scaled up.
        scale: Factor on the result.
        seed: Of the resampling.
    """
    names = weights or dict.fromkeys((row.group for row in rows), 1.0)
    found = {name: np.array(numbers(rows, value, groups=[name])) for name in names}
    found = {name: values for name, values in found.items() if len(values)}
    if not found:
        return Score(0.0, 0.0, 0.0, 0)
    factors = np.array([names[name] for name in found])
    factors = scale * factors / factors.sum()
    rng = np.random.default_rng(seed)
    draws = np.stack([_resampled(values, rng) for values in found.values()])
    low, high = np.percentile(factors @ draws, [2.5, 97.5])
    mean = float(factors @ np.array([values.mean() for values in found.values()]))
    return Score(mean, float(low), float(high), sum(map(len, found.values())))


def _resampled(values: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Means of resamples of one group."""
    return values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
