"""Guidance: named branches with coefficients that sum to one, and the velocity they give.

In: a sampling config, and the spans of the document. Out: branches, each a real, possibly shorter
token sequence, and one velocity field for the sampler. Training-time condition dropout leaves out
the same spans by the same `Drop`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from mogao.config import Curve, Drop, ImageSamplingConfig, Preset, value_at
from mogao.packing.layout import TokenKind
from mogao.packing.spans import Span, keep
from mogao.sampling.batches import Velocities
from mogao.sampling.cache import KVCache
from mogao.sampling.groups import DenoiseGroup, Run
from mogao.sampling.image import Latents
from mogao.sampling.runner import Runner

Coefficient = Callable[[float], float]
Caches = Callable[[Sequence[int]], Sequence[KVCache]]
"""Gives the caches of some branches, by their numbers, filled."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One term of guidance.

    Attributes:
        name: For traces and messages.
        drop: What its context leaves out.
        coefficient: Factor on its velocity, a function of t; those of all branches sum to one.
        text: Its part in the text-guided velocity, likewise.
    """

    name: str
    drop: Drop
    coefficient: Coefficient
    text: Coefficient


@dataclass(frozen=True, slots=True)
class Guidance:
    """A table of branches, the full one first, and what is made of their velocities.

    Attributes:
        branches: The terms.
        factor: Of the text-guided velocity in the result, a function of t.
        preset: Interval and renorm.
    """

    branches: tuple[Branch, ...]
    factor: Coefficient
    preset: Preset

    def coefficients(self, t: float) -> list[float]:
        """Return the factor of each branch; outside the interval the full one stands alone."""
        if not self._acts(t):
            return [1.0] + [0.0] * (len(self.branches) - 1)
        return [branch.coefficient(t) for branch in self.branches]

    def needed(self, t: float) -> list[int]:
        """Return the branches whose velocity counts at a flow time; others cost nothing."""
        coefficients = self.coefficients(t)
        is_plain = coefficients == [1.0] + [0.0] * (len(coefficients) - 1)
        is_cut = self.preset.renorm != "none" and not is_plain
        return [i for i, c in enumerate(coefficients) if c or (is_cut and self._is_read(i, t))]

    def combine(self, velocities: Mapping[int, Latents], t: float) -> Latents:
        """Return the guided velocity from those of the needed branches."""
        coefficients = self.coefficients(t)
        if len(velocities) == 1:
            ((number, velocity),) = velocities.items()
            return velocity * coefficients[number]
        if self.preset.renorm == "none":
            return _weighted(velocities, coefficients)
        full = velocities[0]
        if self.preset.renorm_of == "final":
            return _shorten(_weighted(velocities, coefficients), full, self.preset)
        shares, factor = [branch.text(t) for branch in self.branches], self.factor(t)
        guided = _shorten(_weighted(velocities, shares), full, self.preset)
        rest = [c - factor * share for c, share in zip(coefficients, shares, strict=True)]
        return factor * guided + _weighted(velocities, rest)

    def _acts(self, t: float) -> bool:
        low, high = self.preset.interval
        return low < t <= high

    def _is_read(self, number: int, t: float) -> bool:
        """Whether a renorm needs a branch although its coefficient is zero."""
        is_share = self.preset.renorm_of == "text" and bool(self.branches[number].text(t))
        return number == 0 or is_share


def guidance_of(config: ImageSamplingConfig) -> Guidance:
    """Return the table of branches that a config asks for."""
    preset = config.preset
    if config.guidance == "table":
        branches = tuple(
            Branch(row.name, row.drop, _curve(row.coefficient), _constant(0.0))
            for row in config.branches
        )
        return Guidance(branches, _constant(0.0), preset)
    text = _curve(_given(config.text_guidance_scale, preset.text_scale))
    image = _curve(_given(config.image_guidance_scale, preset.image_scale))
    if len(preset.drops) < 3:
        image = _constant(1.0)

    # The text-guided velocity is m + inner (f - m), the result b + image (u - b); see `Preset`.
    def inner(t: float) -> float:
        return text(t) if preset.nested else text(t) / (image(t) or 1.0)

    def total(t: float) -> float:
        return text(t) * image(t) if preset.nested else text(t)

    shares: list[Coefficient] = [inner, lambda t: 1 - inner(t), _constant(0.0)]
    totals: list[Coefficient] = [total, lambda t: image(t) - total(t), lambda t: 1 - image(t)]
    if len(preset.drops) == 1:
        shares = totals = [_constant(1.0)]
    branches = tuple(
        Branch(name, drop, coefficient, share)
        for (name, drop), coefficient, share in zip(
            preset.drops.items(), totals, shares, strict=False
        )
    )
    return Guidance(branches, image, preset)


def resolve(
    guidance: Guidance, spans: Sequence[Span], *, drawn: int
) -> tuple[Guidance, list[list[Span]]]:
    """Return guidance with branches of equal contexts merged, and the spans that each keeps.

    Args:
        guidance: The table.
        spans: The document up to the open token of the picture that is drawn.
        drawn: Segment of that picture.
    """
    merged: dict[tuple[object, ...], list[Branch]] = {}
    contexts = []
    for branch in guidance.branches:
        kept = keep(spans, branch.drop, drawn=drawn)
        key = (*((span.segment, span.origin, span.time) for span in kept),
               branch.drop.vit, branch.drop.clean)  # fmt: skip
        if key not in merged:
            contexts.append(kept)
        merged.setdefault(key, []).append(branch)
    branches = tuple(_sum(group) for group in merged.values())
    return Guidance(branches, guidance.factor, guidance.preset), contexts


class GuidedVelocity:
    """The velocity of one picture under its branches; those that count at a time run as one batch.

    Attributes:
        evaluations: Network evaluations so far, every branch counted.
    """

    def __init__(
        self,
        runner: Runner,
        guidance: Guidance,
        caches: Caches,
        *,
        positions: Sequence[Float32[Tensor, "tokens 3"]],
        boundaries: Sequence[Sequence[Run]],
    ) -> None:
        self.evaluations = 0
        self._last: tuple[Latents, float, Latents] | None = None
        self._runner, self._guidance, self._caches = runner, guidance, caches
        self._positions, self._boundaries = positions, boundaries
        self._groups: dict[tuple[int, ...], DenoiseGroup] = {}

    def __call__(self, latents: Latents, t: float) -> Latents:
        """Return the guided velocity."""
        needed = tuple(self._guidance.needed(t))
        if needed not in self._groups:
            caches, rule = self._caches(needed), self._runner.rule
            size = len(latents) + sum(run.length for run in self._boundaries[0])
            self._groups[needed] = self._runner.call(lambda: DenoiseGroup(caches, size, rule))
        runs = [
            run
            for i in needed
            for run in (
                *self._boundaries[i],
                Run(TokenKind.NOISY, self._positions[i], latents, t),
            )
        ]

        def combine(velocities: Velocities) -> Latents:
            return self._guidance.combine(dict(zip(needed, velocities, strict=True)), t)

        guided = self._runner.velocity(self._groups[needed], runs, combine=combine)
        self.evaluations += len(needed)
        self._last = (latents, t, guided)
        return guided

    @property
    def clean(self) -> Latents:
        """What the last call's latents would become if the flow went straight on."""
        assert self._last is not None
        latents, t, guided = self._last
        return latents - t * guided


def _sum(branches: Sequence[Branch]) -> Branch:
    """One branch for several whose contexts are equal."""
    if len(branches) == 1:
        return branches[0]

    def coefficient(t: float) -> float:
        return sum(branch.coefficient(t) for branch in branches)

    def text(t: float) -> float:
        return sum(branch.text(t) for branch in branches)

    return Branch(branches[0].name, branches[0].drop, coefficient, text)


def _weighted(velocities: Mapping[int, Latents], coefficients: Sequence[float]) -> Latents:
    stacked = torch.stack(list(velocities.values()))
    factors = torch.tensor([coefficients[i] for i in velocities], device=stacked.device)
    return torch.einsum("b,bte->te", factors, stacked)


def _shorten(guided: Latents, full: Latents, preset: Preset) -> Latents:
    """Cut a velocity to the length of the full one, where it is longer.

    Source: arXiv 2505.14683, inference code (renorm types global and channel).
    """
    if preset.renorm == "global":
        ratio = full.norm() / guided.norm().clamp(min=1e-12)
    else:
        ratio = full.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return guided * ratio.clamp(max=1.0)


def _curve(curve: Curve) -> Coefficient:
    return lambda t: value_at(curve, t)


def _constant(value: float) -> Coefficient:
    return lambda _t: value


def _given(curve: Curve | None, default: float) -> Curve:
    return default if curve is None else curve
