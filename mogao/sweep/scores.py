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

Name = tuple[str, str]
"""A benchmark and one of its scores."""
Scores = dict[Name, Score]


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
    """

    suite: str
    score: str
    arm: str
    value: Spread
    prompts: tuple[float, float]
    num_prompts: int
    ceiling: float | None
    difference: Spread | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded to four places."""
        return {
            "suite": self.suite,
            "score": self.score,
            "arm": self.arm,
            **self.value.to_json(),
            "prompts": [round(end, 4) for end in self.prompts],
            "num_prompts": self.num_prompts,
            "ceiling": None if self.ceiling is None else round(self.ceiling, 4),
            "difference": None if self.difference is None else self.difference.to_json(),
        }


def read_scores(path: Path) -> Scores:
    """Return the scores in a `summary.json`, of one benchmark or of a collection.

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        suites = facts.get("suites", [facts])
        return {
            (one["suite"], name): Score(**score)
            for one in suites
            for name, score in one["scores"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no summary of an evaluation: {error!r}") from None


def compare(results: Mapping[str, Mapping[int, Scores]]) -> list[Line]:
    """Return all scores of all arms, score by score.

    Args:
        results: Arm to seed to scores, the baseline first; every arm has the same seeds.

    Raises:
        DataError: A run lacks a score that the first one has.
    """
    arms = list(results)
    first = next(iter(results[arms[0]].values()))
    lines = []
    for name in first:
        baseline = _spread(results[arms[0]], name, arm=arms[0])
        for arm in arms:
            value = baseline if arm == arms[0] else _spread(results[arm], name, arm=arm)
            found = [scores[name] for scores in results[arm].values()]
            ceilings = [score.ceiling for score in found if score.ceiling is not None]
            lines.append(
                Line(
                    *name,
                    arm,
                    value,
                    prompts=(_mean([s.low for s in found]), _mean([s.high for s in found])),
                    num_prompts=found[0].n,
                    ceiling=_mean(ceilings) if ceilings else None,
                    difference=None if arm == arms[0] else value.minus(baseline),
                )
            )
    return lines


def _spread(runs: Mapping[int, Scores], name: Name, *, arm: str) -> Spread:
    missing = [seed for seed, scores in runs.items() if name not in scores]
    if missing:
        raise DataError(f"{'/'.join(name)} is missing in arm {arm!r}, seeds {missing}")
    return Spread({seed: scores[name].value for seed, scores in runs.items()})


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
