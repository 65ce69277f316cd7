"""Whether what a judge says of a picture is the truth about the scene that was painted.

In: a `Report` and the `Scene`. Out: a boolean. What no judge can know is not asked: the colour of
an unpainted thing, and which of two equal things is which.
"""

from __future__ import annotations

import numpy as np

from mogao.data.world.scene import Scene, SceneObject
from mogao.evaluation.judges.report import Finding, Report

NEAR = 8.0  # distance of centres below which a finding lies where a thing lies, pixels


def agrees(report: Report, scene: Scene) -> bool:
    """Whether background, number, concepts, styles, places and painted colours are right."""
    left = list(report.findings)
    for item in scene.objects:
        match = next((finding for finding in left if _is(finding, item, scene.style)), None)
        if match is None:
            return False
        left.remove(match)
    return not left and report.background == scene.background


def _is(finding: Finding, item: SceneObject, style: str) -> bool:
    return (
        finding.concept == item.concept
        and finding.style == style
        and item.colour in (None, finding.colour)
        and bool(np.hypot(finding.x - item.x, finding.y - item.y) <= NEAR)
    )
