"""A score: a mean over prompts with a 95 % interval.

In: one number a prompt. Out: their mean with the interval of resamples over prompts, or over the
documents or pictures that several of them share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over prompts with its 95 % bootstrap interval.

    Attributes:
        value: The mean; 0 where there are no prompts.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of prompts.
        ceiling: The same for real renders after the autoencoder, where a judge is involved.
    """

    value: float
    low: float
    high: float
    n: int
    ceiling: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to four places."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def summarise(
    values: Sequence[float],
    *,
    ceiling: Sequence[float] = (),
    units: Sequence[str] = (),
    seed: int = 0,
) -> Score:
    """Mean of a list with the percentile interval of 1,000 resamples over units.

    Args:
        values: One number per prompt.
        ceiling: The same prompts answered perfectly, as the judge sees it; empty where no judge
            is involved.
        units: Of each number: those of one unit are drawn together, and an empty one is its own.
            None at all makes each number one.
        seed: Of the resampling.
    """
    top = float(np.mean(ceiling)) if len(ceiling) else None
    if not len(values):
        return Score(0.0, 0.0, 0.0, 0, top)
    numbers = np.asarray(values, np.float64)
    sums, counts = sums_of_units(numbers[:, None], units)
    draws = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.percentile(sums[draws, 0].sum(1) / counts[draws].sum(1), [2.5, 97.5])
    return Score(float(numbers.mean()), float(low), float(high), len(numbers), top)


def sums_of_units(
    values: Float64[np.ndarray, "rows values"], units: Sequence[str]
) -> tuple[Float64[np.ndarray, "units values"], Float64[np.ndarray, " units"]]:
    """Return the sum and the number of the rows of each unit, in the order in which they appear.

    Args:
        values: Several numbers of each row.
        units: See `summarise`.
    """
    places = places_of_units(units or [""] * len(values))
    sums = np.zeros((int(places.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(sums, places, values)
    return sums, np.bincount(places, minlength=len(sums)).astype(np.float64)


def places_of_units(units: Sequence[str]) -> Int64[np.ndarray, " rows"]:
    """Return the number of the unit of each row; every empty name is a unit of its own."""
    known: dict[str | int, int] = {}
    return np.array([known.setdefault(name or i, len(known)) for i, name in enumerate(units)], int)
