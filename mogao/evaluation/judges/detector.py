"""The second judge of the world: a detector that was trained on scenes of its own.

In: RGB bytes of a picture. Out: a `Report`. It shares neither code nor idea with the judge of
correlations (`.correlation`), so what both say can be believed. `configs/judge/detector.yaml`
trains it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from mogao.config import DetectorConfig
from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS
from mogao.data.world.colours import COLOURS
from mogao.errors import CheckpointError
from mogao.evaluation.judges.report import Finding, Report, check_canvas
from mogao.model.detector import CELL, OFFSETS, UNIT_SIZE, WEIGHTS, Detector
from mogao.model.vae import pixels_to_tensor

LEAST = 0.4  # probability of a centre from which on it is a finding
_OVERLAP = 0.35  # distance of centres below which two findings are one, share of the smaller size


def vocabulary(*, widths: tuple[int, int], depths: tuple[int, int]) -> DetectorConfig:
    """Return the config of a detector of everything in the world."""
    return DetectorConfig(
        widths=widths,
        depths=depths,
        concepts=tuple(atlas.concepts()),
        styles=tuple(atlas.STYLES),
        colours=tuple(COLOURS),
        backgrounds=tuple(BACKGROUNDS),
    )


class DetectorJudge:
    """Reads pictures of the world; deterministic, and the same for every picture.

    Attributes:
        name: "detector/" and the first eight digits of the sha256 of its weights.
    """

    def __init__(self, detector: Detector, *, version: str = "unsaved") -> None:
        """Take a network.

        Args:
            detector: The network.
            version: What tells its weights from others, for the name.

        Raises:
            CheckpointError: It was trained on another vocabulary than today's atlas.
        """
        known = vocabulary(widths=detector.config.widths, depths=detector.config.depths)
        if detector.config != known:
            raise CheckpointError(
                "the detector was trained on another atlas; train configs/judge/detector.yaml anew"
            )
        self._detector = detector
        self.name = f"detector/{version}"

    @classmethod
    def load(cls, folder: str | Path | None = None) -> DetectorJudge:
        """Open a detector's folder; None opens the one that ships.

        Raises:
            CheckpointError: The folder is missing or damaged, or does not fit the atlas.
        """
        folder = Path(folder or Path(__file__).parent / "weights")
        detector = Detector.load(folder).eval()
        digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        return cls(detector, version=digest[:8])

    @torch.inference_mode()
    def read(self, pixels: NDArray[np.uint8]) -> Report:
        """Say what a picture shows.

        Args:
            pixels: RGB bytes [128, 128, 3].

        Raises:
            RequestError: The picture has another shape.
        """
        check_canvas(pixels)
        device = next(self._detector.parameters()).device
        seen = self._detector(pixels_to_tensor([pixels]).to(device))
        names = self._detector.config
        findings: list[Finding] = []
        for score, row, col in _peaks(seen.centre[0].sigmoid()):
            place = seen.place[0, row, col].tolist()
            found = Finding(
                concept=names.concepts[_best(seen.concepts[0, row, col])],
                style=names.styles[_best(seen.styles[0, row, col])],
                colour=names.colours[_best(seen.colours[0, row, col])],
                size=UNIT_SIZE * 2.0 ** place[OFFSETS],
                x=CELL * (col + place[0]),
                y=CELL * (row + place[1]),
                score=score,
            )
            if not any(_same(found, other) for other in findings):
                findings.append(found)
        findings.sort(key=lambda finding: finding.size, reverse=True)
        return Report(names.backgrounds[_best(seen.backgrounds[0])], tuple(findings))


def _peaks(heat: Float32[Tensor, "rows cols"]) -> list[tuple[float, int, int]]:
    """(probability, row, column) of local maxima, the surest first."""
    highest = F.max_pool2d(heat[None], 3, stride=1, padding=1)[0]
    rows, cols = torch.nonzero((heat == highest) & (heat >= LEAST), as_tuple=True)
    found = [
        (float(heat[row, col]), row, col)
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
    ]
    return sorted(found, reverse=True)


def _same(first: Finding, second: Finding) -> bool:
    distance = np.hypot(first.x - second.x, first.y - second.y)
    return bool(distance < _OVERLAP * min(first.size, second.size))


def _best(logits: Tensor) -> int:
    return int(logits.argmax())
