"""From pairwise votes to numbers: strengths with intervals, shares with intervals and p-values.

In: counts of wins. Out: Bradley-Terry strengths as natural logarithms, and shares of yes-no events.
Pure arithmetic that knows neither pages nor files.

Source: Bradley and Terry, Biometrika 39 (1952); Wilson, JASA 22 (1927); own design of the joint
interval, docs/decisions.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from mogao.evaluation.scores import RESAMPLES, Score

_HALF_WIN = 0.5
_PRIOR = 0.01  # 1 / variance of a normal prior; keeps a system that won every vote finite
_MAX_STEP = 1.0
_MAX_ITERATIONS = 100
_CLOSE = 1e-9
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Share:
    """How often something happened.

    Attributes:
        value: Share in [0, 1]; 0 where it could not happen.
        low: Lower end of the 95 % Wilson interval.
        high: Upper end.
        n: How often it could have happened.
        p_value: Of the exact two-sided test against one half; None where a half means nothing.
    """

    value: float
    low: float
    high: float
    n: int
    p_value: float | None = None

    @classmethod
    def of(cls, count: int, n: int, *, against_half: bool = False) -> Share:
        """Return the share of `count` in `n`."""
        p_value = binomial_p_value(count, n) if against_half else None
        if not n:
            return cls(0.0, 0.0, 1.0, 0, p_value)
        share, extra = count / n, _Z**2 / n
        middle = (share + extra / 2) / (1 + extra)
        half = _Z * math.sqrt(share * (1 - share) / n + extra / n / 4) / (1 + extra)
        return cls(share, max(0.0, middle - half), min(1.0, middle + half), n, p_value)

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to four places."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def binomial_p_value(count: int, n: int) -> float:
    """Probability that a fair coin of `n` throws is at least as far from half as `count`."""
    fewer = min(count, n - count)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def bradley_terry(
    wins: Float64[np.ndarray, "*batch systems systems"],
) -> Float64[np.ndarray, "*batch systems"]:
    """Fit strengths by Newton steps, all members of a batch together.

    Args:
        wins: How often the first system beat the second; a tie is half a win for each.

    Returns:
        Natural logarithms with mean 0: the odds of a win are exp of the difference. A weak prior
        (standard deviation 10) keeps them finite.
    """
    games = wins + wins.swapaxes(-1, -2)
    identity = np.eye(wins.shape[-1])
    strengths = np.zeros(wins.shape[:-1])
    for _ in range(_MAX_ITERATIONS):
        odds = strengths[..., :, None] - strengths[..., None, :]
        expected = 0.5 * (1 + np.tanh(odds / 2))  # the logistic function without overflow
        gradient = (wins - games * expected).sum(-1) - _PRIOR * strengths
        weight = games * expected * (1 - expected)
        curvature = identity * (weight.sum(-1)[..., None] + _PRIOR) - weight
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        size = np.abs(step).max(-1, keepdims=True)
        strengths += step * np.minimum(1, _MAX_STEP / np.maximum(size, _MAX_STEP))
        if size.max() < _CLOSE:
            break
    return strengths


def strengths_with_intervals(
    wins: Float64[np.ndarray, "items systems systems"], *, seed: int = 0
) -> list[Score]:
    """Fit strengths with 95 % intervals: of a bootstrap over items, never below normal ones.

    The intervals hold together: in 95 of 100 experiments all true strengths lie inside. Their
    half-widths are the bootstrap's standard errors times the 95th percentile of the largest
    standardised deviation of any system. Where votes are unanimous or there is one item, all
    resamples are equal and say nothing. So no half-width is below that of the normal
    approximation, which takes votes as independent, at a fit that cannot be infinite: with half a
    win more for each side of each pair, and the inverse of the curvature there. Each interval
    holds that of this fit too.

    Source: Haldane, Annals of Human Genetics 20 (1956), and Anscombe, Biometrika 43 (1956), for
    half a win on each side of a log-odds and its variance; own design of the joint width.

    Args:
        wins: As in `bradley_terry`, for each item.
        seed: Of the resampling.

    Returns:
        One score a system; `n` is the number of items.
    """
    items, systems, _ = wins.shape
    if not items:
        return [Score(0.0, 0.0, 0.0, 0)] * systems
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(items, np.full(items, 1 / items), RESAMPLES)
    resampled = (draws @ wins.reshape(items, -1)).reshape(-1, systems, systems)
    found = bradley_terry(wins.sum(0))
    half = _joint_half_widths(bradley_terry(resampled) - found)
    centre, covariance = _smoothed_fit(wins.sum(0))
    least = _joint_half_widths(
        rng.multivariate_normal(np.zeros(systems), covariance, RESAMPLES, method="eigh")
    )
    wide = np.maximum(half, least)
    low = np.minimum(found - wide, centre - least)
    high = np.maximum(found + wide, centre + least)
    ends = np.stack([found, low, high], axis=1).tolist()
    return [Score(value, bottom, top, items) for value, bottom, top in ends]


def _joint_half_widths(
    deviations: Float64[np.ndarray, "draws systems"],
) -> Float64[np.ndarray, " systems"]:
    """Multiples of the standard errors that hold 95 % of the draws for all systems at once."""
    errors = deviations.std(0)
    sizes = np.abs(deviations) / np.maximum(errors, _CLOSE)
    return errors * np.percentile(sizes.max(1), 95)


def _smoothed_fit(
    wins: Float64[np.ndarray, "systems systems"],
) -> tuple[Float64[np.ndarray, " systems"], Float64[np.ndarray, "systems systems"]]:
    """Strengths with half a win more for each side of each pair, and their covariance."""
    padded = wins + _HALF_WIN * (1 - np.eye(len(wins)))
    centre = bradley_terry(padded)
    expected = 0.5 * (1 + np.tanh((centre[:, None] - centre) / 2))
    weight = (padded + padded.T) * expected * (1 - expected)
    return centre, np.linalg.pinv(np.diag(weight.sum(1)) - weight, hermitian=True)
