"""Rules that turn what a judge saw into right or wrong, and many of these into a score.

In: a `Report` and the truth. Out: booleans; shares with 95 % intervals. The rules have the form of
GenEval's, with a judge of the world in place of a detector; no rule looks at pixels.

Source: arXiv 2310.11513, section 3 (tasks and the rule for positions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report

SAME_PLACE = 16.0  # distance of centres below which a thing counts as not moved, pixels
_RELATION_SLACK = 0.1  # share of the sizes that a centre must be off before it counts
_RELATION_SHARE = 0.5  # least part of the distance that lies along the stated axis
_RESAMPLES = 1000


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
    draws = np.random.default_rng(seed).integers(len(numbers), size=(_RESAMPLES, len(numbers)))
    low, high = np.percentile(numbers[draws].mean(1), [2.5, 97.5])
    return Score(float(numbers.mean()), float(low), float(high), len(numbers), top)


def shows_single(report: Report, concept: str) -> bool:
    """Whether the only or largest thing is the concept."""
    return bool(report.findings) and report.findings[0].concept == concept


def shows_all(report: Report, concepts: Sequence[str]) -> bool:
    """Whether each of the concepts is there."""
    return all(report.named(concept) for concept in concepts)


def shows_count(report: Report, concept: str, count: int) -> bool:
    """Whether the concept is there exactly `count` times."""
    return len(report.named(concept)) == count


def shows_colours(report: Report, pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether the largest thing of each concept has the colour that goes with it."""
    return all(
        bool(named := report.named(concept)) and named[0].colour == colour
        for concept, colour in pairs
    )


def shows_relation(report: Report, relation: str, pair: tuple[str, str]) -> bool:
    """Whether the first of a pair of concepts lies left of, right of, above or below the second.

    The largest thing of each concept counts. Along each axis a tenth of both sizes is taken off
    the distance of the centres; what is left must make up more than half of the distance along the
    stated axis.
    """
    ones, others = report.named(pair[0]), report.named(pair[1])
    if not ones or not others:
        return False
    slack = _RELATION_SLACK * (ones[0].size + others[0].size)
    offset = np.array([ones[0].x - others[0].x, ones[0].y - others[0].y])
    clear = np.sign(offset) * np.maximum(np.abs(offset) - slack, 0)
    length = float(np.linalg.norm(offset))
    if length == 0:
        return False
    dx, dy = clear / length
    along = {"left of": -dx, "right of": dx, "above": -dy, "below": dy}[relation]
    return bool(along > _RELATION_SHARE)


def edit_done(report: Report, source: Scene, target: Scene) -> bool:
    """Whether a picture shows what an edit asked for and kept the rest.

    Every object of the target stands in its place, with its colour where the edit gave it a new
    one; nothing that the edit took away is left in its place; a changed background is there.
    """
    if target.background != source.background and report.background != target.background:
        return False
    before = {_key(item): item for item in source.objects}
    after = {_key(item): item for item in target.objects}
    for key, item in after.items():
        seen = _at_place(report, item)
        if not seen:
            return False
        is_painted = item.colour is not None and (
            key not in before or before[key].colour != item.colour
        )
        if is_painted and all(finding.colour != item.colour for finding in seen):
            return False
    return not any(_at_place(report, item) for key, item in before.items() if key not in after)


def same_answer(said: str, right: str) -> bool:
    """Whether two short answers agree, apart from case, outer space and a full stop."""
    return _plain(said) == _plain(right)


def _key(item: SceneObject) -> tuple[str, int, int]:
    return item.concept, item.x, item.y


def _at_place(report: Report, item: SceneObject) -> list[Finding]:
    return [
        finding
        for finding in report.named(item.concept)
        if np.hypot(finding.x - item.x, finding.y - item.y) <= SAME_PLACE
    ]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
