"""Draw one of several things with a given generator; much faster than `Generator.choice`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Draw one of the items, all equally likely."""
    return items[int(rng.integers(len(items)))]


def pick_weighted(rng: np.random.Generator, weights: Mapping[T, float]) -> T:
    """Draw a key with probability proportional to its weight; weights are at least 0."""
    point = rng.random() * sum(weights.values())
    chosen = None
    for item, weight in weights.items():
        if weight > 0:
            chosen = item
            point -= weight
            if point < 0:
                break
    if chosen is None:
        raise ValueError("weights must hold a positive weight")
    return chosen
