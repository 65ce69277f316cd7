"""Guidance: what a branch leaves out, the tables of branches that have names, and their scales.

In: nothing. Out: values that sampling, packing and training share; a branch at sampling and a
dropped condition in training are one `Drop`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mogao.config.base import Config, Probability

Finite = Annotated[float, Field(allow_inf_nan=False)]
Knot = tuple[Probability, Finite]


def _rising(knots: tuple[Knot, ...]) -> tuple[Knot, ...]:
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(knots)):
        raise ValueError("the times of knots must rise")
    return knots


Curve = Finite | Annotated[tuple[Knot, ...], Field(min_length=1), AfterValidator(_rising)]
"""A number, or knots (t, value) with rising t: linear between them, constant beyond them."""

GuidanceName = Literal["mogao", "bagel", "bagel_edit", "text_only", "off", "table"]
Renorm = Literal["none", "global", "token"]
RenormOf = Literal["final", "text"]


class Drop(Config):
    """What a context leaves out; the same value describes a guidance branch and its training."""

    text: bool = False
    """Leave out all text and role markers."""
    last_text: bool = False
    """Leave out the last text before the drawn picture, and the role markers behind it."""
    images: bool = False
    """Leave out every other picture with its open and close tokens."""
    vit: bool = False
    """Leave out the VIT copies only."""
    clean: bool = False
    """Leave out the CLEAN copies only."""
    tags: tuple[str, ...] = ()
    """Leave out the segments that carry one of these tags, but never the drawn picture."""
    keep_positions: bool = True
    """Whether what remains keeps its position ids, or moves up."""


KEEP_ALL = Drop()


class BranchConfig(Config):
    """One term of guidance: the velocity under a context, times a coefficient."""

    name: str
    drop: Drop = KEEP_ALL
    coefficient: Curve


class Preset(Config):
    """A table of branches with a name: the full context, then up to two that know less.

    With velocities f, m and b under the three, text scale s and image scale i, the result is
    b + i (u - b) with the text-guided velocity u = m + s / i (f - m), or u = m + s (f - m) where
    the scales are `nested`; without b it is u at i = 1.
    """

    drops: dict[str, Drop]
    nested: bool = False
    text_scale: float = 1.0
    image_scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    renorm: Renorm = "none"
    renorm_of: RenormOf = "final"


# What the model has thought before it draws is known to the full context alone.
_BAGEL = {
    "full": KEEP_ALL,
    "no_last_text": Drop(last_text=True, tags=("thought",), keep_positions=False),
    "no_images": Drop(images=True, tags=("thought",), keep_positions=False),
}
PRESETS: dict[GuidanceName, Preset] = {
    # arXiv 2505.05472, multi-modal guidance, after arXiv 2211.09800, eq. 3.
    "mogao": Preset(
        drops={"full": KEEP_ALL, "pictures": Drop(text=True), "none": Drop(text=True, images=True)},
        text_scale=7.5,
        image_scale=1.5,
    ),
    # arXiv 2505.14683, inference code: generation and editing.
    "bagel": Preset(
        drops=_BAGEL,
        nested=True,
        text_scale=4.0,
        image_scale=1.5,
        interval=(0.4, 1.0),
        renorm="global",
    ),
    "bagel_edit": Preset(
        drops=_BAGEL,
        nested=True,
        text_scale=4.0,
        image_scale=2.0,
        renorm="token",
        renorm_of="text",
    ),
    # arXiv 2207.12598: one scale, the text alone is dropped.
    "text_only": Preset(drops={"full": KEEP_ALL, "no_text": Drop(text=True)}, text_scale=7.5),
    "off": Preset(drops={"full": KEEP_ALL}),
}


def value_at(curve: Curve, t: float) -> float:
    """Return the value of a curve at a flow time."""
    if not isinstance(curve, tuple):
        return curve
    before = [knot for knot in curve if knot[0] <= t]
    after = [knot for knot in curve if knot[0] > t]
    if not before or not after:
        return (before[-1] if before else after[0])[1]
    (start, low), (stop, high) = before[-1], after[0]
    return low + (high - low) * (t - start) / (stop - start)


def knots_of(*curves: Curve) -> list[float]:
    """Return every t at which one of some curves bends; one t where all are constant."""
    found = {t for curve in curves if isinstance(curve, tuple) for t, _ in curve}
    return sorted(found) or [1.0]


class DropoutConfig(Config):
    """Condition dropout: a dropped context equals a guidance branch at sampling (invariant 6)."""

    guidance: GuidanceName = "mogao"
    """The preset whose branches are trained."""
    branches: dict[str, Probability] = {"pictures": 0.10, "none": 0.05}
    """Share of the documents under each of its branches; the rest sees everything."""
    vit: Probability = 0.10
    """Extra, where no branch was drawn: drop the VIT copies alone."""
    clean: Probability = 0.05
    """Extra, where no branch was drawn: drop the CLEAN copies alone."""

    @model_validator(mode="after")
    def _known(self) -> DropoutConfig:
        known = list(PRESETS[self.guidance].drops)[1:] if self.guidance in PRESETS else []
        unknown = sorted(set(self.branches) - set(known))
        if unknown:
            raise ValueError(f"{unknown} are no branches of {self.guidance}; it has {known}")
        if sum(self.branches.values()) > 1:
            raise ValueError("the shares of all branches must not exceed 1")
        return self
