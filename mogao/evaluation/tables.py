"""From rows to scores: means with 95 % bootstrap intervals over units, never over pictures.

In: rows of one benchmark. Out: scores. Public scripts average in two ways, over all items or over
the means of groups; a benchmark says which it uses, and its intervals follow the same rule. A unit
is an item, or the document or picture that several items share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from mogao.evaluation.benchmark import Row
from mogao.evaluation.scores import RESAMPLES, Score, places_of_units, summarise

CEILING = "ceiling"
"""Value of a row: whether the judge accepts a real render."""


def numbers(rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None) -> list[float]:
    """Return one value of all rows that have it; of some groups only where they are named."""
    return [row.values[value] for row in having(rows, value, groups=groups)]


def having(rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None) -> list[Row]:
    """Return all rows that have a value; of some groups only where they are named."""
    return [row for row in rows if value in row.values and (groups is None or row.group in groups)]


def by_group(rows: Sequence[Row], value: str, *, scale: float = 1.0) -> dict[str, Score]:
    """Return the mean of a value in each group, in the order in which the groups appear."""
    names = dict.fromkeys(row.group for row in rows)
    return {name: over_items(rows, value, groups=[name], scale=scale) for name in names}


def over_items(
    rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None, scale: float = 1.0
) -> Score:
    """Return the mean over all items, or over those of some groups."""
    own = having(rows, value, groups=groups)
    units = [row.unit for row in own]
    return summarise([scale * row.values[value] for row in own], units=units)


def over_groups(
    rows: Sequence[Row],
    value: str,
    *,
    weights: Mapping[str, float] | None = None,
    scale: float = 1.0,
    seed: int = 0,
) -> Score:
    """Return the weighted mean of the means of groups.

    Its resamples draw inside each group, or, where units have rows in several groups, among the
    units that have rows in the same ones.

    Args:
        rows: Of one benchmark.
        value: Name of the number.
        weights: Of each group; None weighs all alike. A group without rows is left out and the
            other weights are scaled up.
        scale: Factor on the result.
        seed: Of the resampling.
    """
    names = weights or dict.fromkeys((row.group for row in rows), 1.0)
    found = {name: having(rows, value, groups=[name]) for name in names}
    found = {name: own for name, own in found.items() if own}
    if not found:
        return Score(0.0, 0.0, 0.0, 0)
    factors = np.array([names[name] for name in found])
    factors = scale * factors / factors.sum()
    sums, counts = _sums_by_group(list(found.values()), value)
    draws = _resampled_means(sums, counts, seed=seed)
    low, high = np.percentile(draws @ factors, [2.5, 97.5])
    mean = float(factors @ (sums.sum(0) / counts.sum(0)))
    return Score(mean, float(low), float(high), sum(map(len, found.values())))


def _sums_by_group(
    found: Sequence[Sequence[Row]], value: str
) -> tuple[Float64[np.ndarray, "units groups"], Float64[np.ndarray, "units groups"]]:
    """Sums of a value, and numbers of rows, of each unit in each group."""
    rows = [(row, column) for column, own in enumerate(found) for row in own]
    places = places_of_units([row.unit for row, _ in rows])
    sums = np.zeros((places.max() + 1, len(found)))
    counts = np.zeros_like(sums)
    for place, (row, column) in zip(places, rows, strict=True):
        sums[place, column] += row.values[value]
        counts[place, column] += 1
    return sums, counts


def _resampled_means(
    sums: Float64[np.ndarray, "units groups"],
    counts: Float64[np.ndarray, "units groups"],
    *,
    seed: int,
) -> Float64[np.ndarray, "draws groups"]:
    """Means of groups in resamples among the units that have rows in the same groups."""
    strata: dict[tuple[int, ...], list[int]] = {}
    for place, row in enumerate(counts):
        strata.setdefault(tuple(np.flatnonzero(row)), []).append(place)
    rng = np.random.default_rng(seed)
    drawn, drawn_counts = np.zeros((2, RESAMPLES, sums.shape[1]))
    for columns, places in strata.items():
        draws = np.array(places)[rng.integers(len(places), size=(RESAMPLES, len(places)))]
        for column in columns:
            drawn[:, column] += sums[draws, column].sum(1)
            drawn_counts[:, column] += counts[draws, column].sum(1)
    return drawn / drawn_counts
