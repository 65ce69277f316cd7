"""Guidance: named branches with coefficients that sum to one, and the velocity they give.

In: scales, and the spans of the document. Out: branches, each a real shorter token sequence with
the position ids of the whole, and one velocity field for the sampler. Training-time condition
dropout leaves out the same spans by the same `Drop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float32
from torch import Tensor

from mogao.config import ImageSamplingConfig
from mogao.packing.layout import TokenKind
from mogao.packing.spans import KEEP_ALL, Drop, Span
from mogao.sampling.cache import KVCache
from mogao.sampling.groups import DenoiseGroup, Run
from mogao.sampling.image import Latents
from mogao.sampling.runner import Runner


@dataclass(frozen=True, slots=True)
class Branch:
    """One term of guidance.

    Attributes:
        name: For traces and messages.
        drop: What its context leaves out.
        coefficient: Factor on its velocity.
    """

    name: str
    drop: Drop
    coefficient: float


def branches_of(config: ImageSamplingConfig) -> tuple[Branch, ...]:
    """Return the branches that a config asks for; the full one first.

    `mogao` is v(none) + image_scale (v(pictures) - v(none)) + text_scale (v(full) - v(pictures)).

    Source: arXiv 2505.05472, multi-modal guidance (7.5 and 1.5), after arXiv 2211.09800, eq. 3.
    """
    if config.guidance == "off":
        return (Branch("full", KEEP_ALL, 1.0),)
    text, image = config.text_guidance_scale, config.image_guidance_scale
    return (
        Branch("full", KEEP_ALL, text),
        Branch("pictures", Drop(text=True), image - text),
        Branch("none", Drop(text=True, images=True), 1.0 - image),
    )


def resolve(
    branches: Sequence[Branch], spans: Sequence[Span], *, drawn: int
) -> list[tuple[Branch, list[Span]]]:
    """Return the branches that differ on this document, with the spans that each keeps.

    Branches with equal contexts are merged; those whose coefficient is then 0 are left out, but
    never the first, which stands for the whole context.

    Args:
        branches: The full one first.
        spans: The document up to the open token of the picture that is drawn.
        drawn: Segment of that picture.
    """
    merged: dict[tuple[tuple[int, ...], bool, bool], Branch] = {}
    for branch in branches:
        drop = branch.drop
        kept = tuple(i for i, span in enumerate(spans) if drop.keeps(span, drawn=drawn))
        key = (kept, drop.vit, drop.clean)
        if key in merged:
            total = merged[key].coefficient + branch.coefficient
            merged[key] = replace(merged[key], coefficient=total)
        else:
            merged[key] = branch
    return [
        (branch, [spans[i] for i in kept])
        for place, ((kept, *_), branch) in enumerate(merged.items())
        if place == 0 or branch.coefficient != 0
    ]


class GuidedVelocity:
    """The velocity of one picture under its branches, all in one batch.

    Attributes:
        evaluations: Network evaluations so far, every branch counted.
    """

    def __init__(
        self,
        runner: Runner,
        branches: Sequence[tuple[Branch, KVCache]],
        *,
        positions: Float32[Tensor, "tokens 3"],
        config: ImageSamplingConfig,
    ) -> None:
        self.evaluations = 0
        self._runner, self._positions, self._config = runner, positions, config
        caches = [cache for _, cache in branches]
        self._coefficients = [branch.coefficient for branch, _ in branches]
        self._all = DenoiseGroup(caches, len(positions), runner.rule)
        self._full = self._all
        if len(caches) > 1:
            self._full = DenoiseGroup(caches[:1], len(positions), runner.rule)

    def __call__(self, latents: Latents, t: float) -> Latents:
        """Return the guided velocity; outside the guidance interval that of the full context."""
        low, high = self._config.guidance_interval
        if len(self._coefficients) == 1 or not low < t <= high:
            return self._velocities(self._full, latents, t=t, count=1)[0]
        count = len(self._coefficients)
        velocities = self._velocities(self._all, latents, t=t, count=count)
        coefficients = torch.tensor(self._coefficients, device=latents.device)
        guided = torch.einsum("b,bte->te", coefficients, velocities)
        if self._config.renorm == "global":
            return guided * (velocities[0].norm() / guided.norm().clamp(min=1e-12)).clamp(max=1.0)
        return guided

    def _velocities(
        self, group: DenoiseGroup, latents: Latents, *, t: float, count: int
    ) -> Float32[Tensor, "branches tokens latent_dim"]:
        self.evaluations += count
        run = Run(TokenKind.NOISY, self._positions, latents, t)
        return self._runner.velocity(group, [run] * count)
