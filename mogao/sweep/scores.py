"""From the summaries of all runs to one comparison: means over seeds, differences paired by seed.

In: `summary.json` of every evaluation. Out: `Line`s, one for each score of each arm. Two kinds of
chance are kept apart: over seeds (other weights, noise and data) and over prompts (other items).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao.errors import DataError
from mogao.evaluation.scores import Score

Interval = tuple[float, float]
FACTS = ("protocol", "seed", "tools", "dtype", "options", "files")
"""Keys of a summary that say how a benchmark was scored; all runs of a comparison share them."""
_T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
)  # fmt: skip
"""97.5 % quantiles of Student's t, from 1 degree of freedom on."""


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark, scored for one model.

    Attributes:
        folder: Its files.
        facts: How it was scored: `FACTS`.
        scores: By name.
    """

    folder: Path
    facts: Mapping[str, Any]
    scores: Mapping[str, Score]


Results = dict[str, Result]
"""What one model reached, by benchmark."""
Reached = Mapping[str, Mapping[int, Results]]
"""Arm to seed to results, the baseline first; every arm has the same seeds."""
Gaps = Mapping[tuple[str, str, str], Interval]
"""Arm, benchmark and score to the interval over prompts of the difference from the baseline."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Numbers by seed, and what they are like together.

    Attributes:
        by_seed: The numbers.
    """

    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return sum(self.by_seed.values()) / len(self.by_seed)

    @property
    def least(self) -> float:
        """Of all seeds."""
        return min(self.by_seed.values())

    @property
    def most(self) -> float:
        """Of all seeds."""
        return max(self.by_seed.values())

    @property
    def standard_error(self) -> float | None:
        """Of the mean; None for one seed, which says nothing about others."""
        count = len(self.by_seed)
        if count < 2:
            return None
        squares = sum((value - self.mean) ** 2 for value in self.by_seed.values())
        return math.sqrt(squares / (count - 1) / count)

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean by Student's t with n - 1 degrees of freedom; None for one."""
        error = self.standard_error
        if error is None:
            return None
        reach = _t_975(len(self.by_seed) - 1) * error
        return self.mean - reach, self.mean + reach

    def minus(self, other: Spread) -> Spread:
        """Return the differences by seed."""
        return Spread({seed: value - other.by_seed[seed] for seed, value in self.by_seed.items()})

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to four places."""
        error = self.standard_error
        return {
            "mean": round(self.mean, 4),
            "least": round(self.least, 4),
            "most": round(self.most, 4),
            "standard_error": None if error is None else round(error, 4),
            "over_seeds": _rounded(self.interval),
            "by_seed": {str(seed): round(value, 4) for seed, value in self.by_seed.items()},
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One score of one arm.

    Attributes:
        suite: The benchmark.
        score: Name of the score.
        arm: Name of the arm.
        value: Over the seeds.
        prompts: 95 % bootstrap interval over prompts, mean of those of the seeds.
        num_prompts: Behind the interval.
        ceiling: Mean over the seeds, where the benchmark has one.
        difference: From the baseline, paired by seed; None for the baseline itself.
        difference_prompts: 95 % bootstrap interval of the difference over prompts, all seeds on the
            same resamples; None where it is not known.
    """

    suite: str
    score: str
    arm: str
    value: Spread
    prompts: Interval
    num_prompts: int
    ceiling: float | None
    difference: Spread | None = field(default=None)
    difference_prompts: Interval | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to four places."""
        gap = self.difference
        between = {"prompts": _rounded(self.difference_prompts)}
        return {
            "suite": self.suite,
            "score": self.score,
            "arm": self.arm,
            **self.value.to_json(),
            "prompts": _rounded(self.prompts),
            "num_prompts": self.num_prompts,
            "ceiling": None if self.ceiling is None else round(self.ceiling, 4),
            "difference": None if gap is None else gap.to_json() | between,
        }


def read_results(folder: Path) -> Results:
    """Return what an evaluation left in a folder, of one benchmark or of a collection.

    Raises:
        DataError: There is no `summary.json`, or it holds something else.
    """
    path = folder / "summary.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        found = {one["suite"]: (folder / one["suite"], one) for one in facts.get("suites", ())}
        return {
            name: Result(
                place,
                {key: one.get(key) for key in FACTS},
                {score: Score(**values) for score, values in one["scores"].items()},
            )
            for name, (place, one) in (found or {facts["suite"]: (folder, facts)}).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no summary of an evaluation: {error!r}") from None


def shared_facts(reached: Reached) -> dict[str, Mapping[str, Any]]:
    """Return how each benchmark was scored.

    Raises:
        DataError: Two runs were not scored alike, so their numbers cannot be compared.
    """
    first: Results = {}
    for results in (one for runs in reached.values() for one in runs.values()):
        for suite, result in results.items():
            other = first.setdefault(suite, result)
            for key in FACTS:
                if result.facts[key] != other.facts[key]:
                    raise DataError(
                        f"{suite} was not scored alike: {key} is {other.facts[key]!r} in "
                        f"{other.folder}, but {result.facts[key]!r} in {result.folder}; remove one "
                        "of these folders, and the same sweep scores it anew"
                    )
    return {suite: result.facts for suite, result in first.items()}


def compare(reached: Reached, gaps: Gaps | None = None) -> list[Line]:
    """Return all scores of all arms, score by score.

    Args:
        reached: All results.
        gaps: Intervals over prompts of the differences, as far as they are known.

    Raises:
        DataError: A run lacks a score that the first one has.
    """
    arms = list(reached)
    first = next(iter(reached[arms[0]].values()))
    lines = []
    for suite, name in ((suite, name) for suite, one in first.items() for name in one.scores):
        found = {arm: _scores_of(runs, (suite, name), arm=arm) for arm, runs in reached.items()}
        baseline = _spread(found[arms[0]])
        for arm, by_seed in found.items():
            scores, value = list(by_seed.values()), _spread(by_seed)
            ceilings = [score.ceiling for score in scores if score.ceiling is not None]
            lines.append(
                Line(
                    suite,
                    name,
                    arm,
                    value,
                    prompts=(_mean([s.low for s in scores]), _mean([s.high for s in scores])),
                    num_prompts=scores[0].n,
                    ceiling=_mean(ceilings) if ceilings else None,
                    difference=None if arm == arms[0] else value.minus(baseline),
                    difference_prompts=(gaps or {}).get((arm, suite, name)),
                )
            )
    return lines


def _scores_of(
    runs: Mapping[int, Results], which: tuple[str, str], *, arm: str
) -> dict[int, Score]:
    """One score of a benchmark by seed."""
    suite, name = which
    lacks = [
        seed for seed, one in runs.items() if suite not in one or name not in one[suite].scores
    ]
    if lacks:
        raise DataError(f"{suite}/{name} is missing in arm {arm!r}, seeds {lacks}")
    return {seed: results[suite].scores[name] for seed, results in runs.items()}


def _spread(scores: Mapping[int, Score]) -> Spread:
    return Spread({seed: score.value for seed, score in scores.items()})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rounded(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(end, 4) for end in interval]


def _t_975(freedom: int) -> float:
    """97.5 % quantile of Student's t; beyond the table its expansion in 1 / degrees of freedom."""
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
