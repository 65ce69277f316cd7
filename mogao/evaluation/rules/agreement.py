"""Whether what a judge says of a picture is the truth about the scene that was painted.

In: a `Report` and the `Scene`. Out: what is right of each thing and of the picture, and whether all
of it is. What no judge can know is not asked: the colour of an unpainted thing, the style of one
that all styles draw alike, and which of two equal things is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from mogao.data.world import atlas
from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.facts import nearest_size

NEAR = 8.0  # distance of centres below which a finding lies where a thing lies, pixels
_FAR = 16.0  # distance of centres from which on a finding is of nothing that is there, pixels
ATTRIBUTES = ("concept", "style", "colour", "size", "place")
"""What is asked of each thing: the colour of painted ones alone, the style where styles differ."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a judge has read a picture.

    Attributes:
        things: What is right of each thing of the scene, by the names in `ATTRIBUTES`.
        count: Whether there are as many findings as things.
        background: Whether the background is right.
    """

    things: tuple[Mapping[str, bool], ...]
    count: bool
    background: bool

    @property
    def right(self) -> bool:
        """Whether all of it is."""
        return self.count and self.background and all(all(one.values()) for one in self.things)


def agrees(report: Report, scene: Scene) -> bool:
    """Whether all that `read_against` asks of a picture is right."""
    return read_against(report, scene).right


def read_against(report: Report, scene: Scene) -> Reading:
    """Hold a report against the truth; a thing is read by the finding that lies nearest.

    The size is right where it is the named one that is nearest to the finding's.
    """
    pairs = product(range(len(scene.objects)), range(len(report.findings)))
    near = sorted((_distance(report.findings[j], scene.objects[i]), i, j) for i, j in pairs)
    found: dict[int, Finding] = {}
    taken: set[int] = set()
    for distance, i, j in near:
        if distance < _FAR and i not in found and j not in taken:
            found[i] = report.findings[j]
            taken.add(j)
    things = [_right(found.get(i), item, scene.style) for i, item in enumerate(scene.objects)]
    return Reading(
        tuple(things),
        count=len(report.findings) == len(scene.objects),
        background=report.background == scene.background,
    )


def _right(finding: Finding | None, item: SceneObject, style: str) -> dict[str, bool]:
    unknown = {
        "colour": item.colour is None,
        "style": atlas.alike(item.concept, item.colour),
    }
    asked = [name for name in ATTRIBUTES if not unknown.get(name, False)]
    if finding is None:
        return dict.fromkeys(asked, False)
    right = {
        "concept": finding.concept == item.concept,
        "style": finding.style == style,
        "colour": finding.colour == item.colour,
        "size": nearest_size(finding.size) == item.size,
        "place": _distance(finding, item) <= NEAR,
    }
    return {name: right[name] for name in asked}


def _distance(finding: Finding, item: SceneObject) -> float:
    return float(np.hypot(finding.x - item.x, finding.y - item.y))
