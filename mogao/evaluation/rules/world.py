"""Rules of the world: what a judge saw, and whether it is right.

In: a `Report` and the truth. Out: booleans. The rules have the form of GenEval's, with a judge of
the world in place of a detector; no rule looks at pixels.

Source: arXiv 2310.11513, section 3 (tasks and the rule for places).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.geneval import relations

SAME_PLACE = 16.0  # distance of centres below which a thing counts as not moved, pixels


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

    The largest thing of each concept counts, and GenEval's rule for places.
    """
    ones, others = report.named(pair[0]), report.named(pair[1])
    return bool(ones and others) and relation in relations(ones[0].box, others[0].box)


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
        seen = at_place(report, item)
        if not seen:
            return False
        is_painted = item.colour is not None and (
            key not in before or before[key].colour != item.colour
        )
        if is_painted and all(finding.colour != item.colour for finding in seen):
            return False
    return not any(at_place(report, item) for key, item in before.items() if key not in after)


def at_place(report: Report, item: SceneObject) -> list[Finding]:
    """Return the findings of a thing's concept that stand where it is."""
    return [finding for finding in report.named(item.concept) if is_near(finding, item)]


def is_near(finding: Finding, item: SceneObject) -> bool:
    """Whether a finding stands where a thing is, whatever it shows."""
    return bool(np.hypot(finding.x - item.x, finding.y - item.y) <= SAME_PLACE)


def same_answer(said: str, right: str) -> bool:
    """Whether two short answers agree, apart from case, outer space and a full stop."""
    return _plain(said) == _plain(right)


def _key(item: SceneObject) -> tuple[str, int, int]:
    return item.concept, item.x, item.y


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
