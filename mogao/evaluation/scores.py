"""A score: a mean over prompts with a 95 % interval.

In: one number a prompt. Out: their mean with the interval of resamples over prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

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


def summarise(values: Sequence[float], *, ceiling: Sequence[float] = (), seed: int = 0) -> Score:
    """Mean of a list with the percentile interval of 1,000 resamples over prompts.

    Args:
        values: One number per prompt.
        ceiling: The same prompts answered perfectly, as the judge sees it; empty where no judge
            is involved.
        seed: Of the resampling.
    """
    top = float(np.mean(ceiling)) if len(ceiling) else None
    if not len(values):
        return Score(0.0, 0.0, 0.0, 0, top)
    numbers = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.percentile(numbers[draws].mean(1), [2.5, 97.5])
    return Score(float(numbers.mean()), float(low), float(high), len(numbers), top)
