"""Samplers: plain functions over `velocity(latents, t)`; the schedule is data.

In: a velocity field, noise and a falling schedule of flow times. Out: the latents behind each
interval; the last ones are the picture. Whoever supplies the velocity counts its evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

from jaxtyping import Float32
from torch import Tensor

Latents = Float32[Tensor, "tokens latent_dim"]
Velocity = Callable[[Latents, float], Latents]
Sampler = Callable[[Velocity, Latents, Sequence[float]], Iterator[Latents]]


def euler(velocity: Velocity, noise: Latents, schedule: Sequence[float]) -> Iterator[Latents]:
    """Yield the latents behind each interval, first order: one evaluation an interval.

    Source: arXiv 2209.03003, section 2 (forward Euler on the rectified flow).
    """
    latents = noise
    for t, t_next in pairwise(schedule):
        latents = latents + (t_next - t) * velocity(latents, t)
        yield latents


def midpoint(velocity: Velocity, noise: Latents, schedule: Sequence[float]) -> Iterator[Latents]:
    """Yield the latents behind each interval, second order: two evaluations an interval.

    Source: the explicit midpoint rule, arXiv 2412.06264, section 3.2 (as a flow solver).
    """
    latents = noise
    for t, t_next in pairwise(schedule):
        middle = (t + t_next) / 2
        halfway = latents + (middle - t) * velocity(latents, t)
        latents = latents + (t_next - t) * velocity(halfway, middle)
        yield latents


SAMPLERS: dict[Literal["euler", "midpoint"], Sampler] = {"euler": euler, "midpoint": midpoint}
