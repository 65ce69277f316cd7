"""Samplers: plain functions over `velocity(latents, t)`; the schedule is data.

In: a velocity field, noise and a falling schedule of flow times. Out: the latents behind each
interval; the last ones are the picture. Whoever supplies the velocity counts its evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float32
from torch import Tensor

from mogao.config import ImageSamplingConfig
from mogao.flow import schedule as even_schedule

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


def heun(velocity: Velocity, noise: Latents, schedule: Sequence[float]) -> Iterator[Latents]:
    """Yield the latents behind each interval, second order: two evaluations, one at the last.

    The last interval is an Euler step: no network is asked about t = 0.
    Source: arXiv 2206.00364, algorithm 1 (Heun's rule, here on the flow).
    """
    latents = noise
    for t, t_next in pairwise(schedule):
        slope = velocity(latents, t)
        ahead = latents + (t_next - t) * slope
        if t_next > 0:
            ahead = latents + (t_next - t) * (slope + velocity(ahead, t_next)) / 2
        latents = ahead
        yield latents


def dpm(velocity: Velocity, noise: Latents, schedule: Sequence[float]) -> Iterator[Latents]:
    """Yield the latents behind each interval, second order with one evaluation an interval.

    Extrapolates the clean latents from the last two evaluations. Where the log signal-to-noise
    ratio is infinite there is nothing to extrapolate from: from t = 1 on the first two intervals,
    and the last one down to t = 0, are first order, that is, Euler steps.
    Source: arXiv 2211.01095, algorithm 2 (DPM-Solver++ 2M) at alpha = 1 - t and sigma = t.
    """
    latents, before = noise, None
    width_before = math.inf
    for t, t_next in pairwise(schedule):
        clean = latents - t * velocity(latents, t)
        width = _log_ratio(t_next) - _log_ratio(t)
        aim = clean
        if before is not None and math.isfinite(width) and math.isfinite(width_before):
            aim = clean + width / (2 * width_before) * (clean - before)
        latents = torch.lerp(aim, latents, t_next / t)
        before, width_before = clean, width
        yield latents


def _log_ratio(t: float) -> float:
    """Half the log signal-to-noise ratio, log((1 - t) / t)."""
    if t <= 0:
        return math.inf
    return -math.inf if t >= 1 else math.log((1 - t) / t)


@dataclass(frozen=True, slots=True, eq=False)
class RandomStep:
    """One step of the stochastic sampler, a draw from a normal distribution.

    Attributes:
        before: Latents from which the step started.
        t: Flow time there.
        t_next: Flow time of what was drawn.
        latents: What was drawn.
        mean: Centre of the distribution.
        std: Its standard deviation, equal for all values.
        log_prob: Log density of the draw, averaged over all values.
    """

    before: Latents
    t: float
    t_next: float
    latents: Latents
    mean: Latents
    std: float
    log_prob: float


Draw = Callable[[Latents, Latents, tuple[float, float]], tuple[Latents, float]]
"""Takes latents, their velocity, and t with the next t; gives mean and deviation of the next."""


def random_steps(
    velocity: Velocity,
    noise: Latents,
    schedule: Sequence[float],
    *,
    draw: Draw,
    generator: torch.Generator,
) -> Iterator[RandomStep]:
    """Yield the steps of a stochastic sampler.

    A step without deviation has no density: `log_prob` is then infinite.
    """
    latents = noise
    for t, t_next in pairwise(schedule):
        mean, std = draw(latents, velocity(latents, t), (t, t_next))
        drawn = torch.randn(mean.shape, generator=generator, device=mean.device)
        reached = mean + std * drawn
        yield RandomStep(
            latents, t, t_next, reached, mean, std, log_density(reached, mean, std=std)
        )
        latents = reached


def sde(scale: float) -> Draw:
    """Return the step whose marginals are those of the flow; at `scale` 0 an Euler step.

    Source: arXiv 2505.05470 (Flow-GRPO), section 4.2; at t = 1 the next time bounds the noise.
    """

    def draw(x: Latents, velocity: Latents, times: tuple[float, float]) -> tuple[Latents, float]:
        t, t_next = times
        step = t_next - t
        spread = scale * math.sqrt(t / (1 - (t if t < 1 else t_next)))
        pull = spread**2 / (2 * t)
        mean = x * (1 + pull * step) + velocity * ((1 + pull * (1 - t)) * step)
        return mean, spread * math.sqrt(-step)

    return draw


def cps(scale: float) -> Draw:
    """Return the step that keeps the coefficients of clean latents and noise; 0 is an Euler step.

    Cleaner latents on the way than `sde`, but a smaller variety: its marginals are not those of the
    flow. Source: arXiv 2509.05952 (coefficient-preserving sampling).
    """

    def draw(x: Latents, velocity: Latents, times: tuple[float, float]) -> tuple[Latents, float]:
        t, t_next = times
        std = t_next * math.sin(scale * math.pi / 2)
        clean, noise = x - t * velocity, x + (1 - t) * velocity
        return clean * (1 - t_next) + noise * math.sqrt(t_next**2 - std**2), std

    return draw


RANDOM: dict[str, Callable[[float], Draw]] = {"sde": sde, "cps": cps}


def log_density(latents: Latents, mean: Latents, *, std: float) -> float:
    """Return the log density of a draw from a normal distribution, averaged over all values."""
    if std == 0:
        return math.inf
    squares = ((latents - mean) / std).square().mean()
    return float(-0.5 * squares - math.log(std) - 0.5 * math.log(2 * math.pi))


SAMPLERS: dict[str, Sampler] = {"euler": euler, "midpoint": midpoint, "heun": heun, "dpm": dpm}


def run_sampler(
    velocity: Velocity,
    noise: Latents,
    schedule: Sequence[float],
    *,
    config: ImageSamplingConfig,
    generator: torch.Generator,
) -> Iterator[tuple[Latents, RandomStep | None]]:
    """Yield what the sampler of a config reaches behind each interval.

    Args:
        velocity: The field.
        noise: Where it begins.
        schedule: Falling times.
        config: Names the sampler.
        generator: Source of the draws of the stochastic one.

    Yields:
        The latents, and how they were drawn where the sampler is stochastic.
    """
    if config.sampler in RANDOM:
        draw = RANDOM[config.sampler](config.noise_scale)
        for step in random_steps(velocity, noise, schedule, draw=draw, generator=generator):
            yield step.latents, step
        return
    for latents in SAMPLERS[config.sampler](velocity, noise, schedule):
        yield latents, None


def schedule_of(config: ImageSamplingConfig) -> list[float]:
    """Return the falling times of a config: its own list, else evenly spaced and shifted."""
    return list(config.schedule) or even_schedule(config.num_steps, shift=config.shift)


class Reuse:
    """A velocity that is asked again only once the latents have moved enough.

    The relative change of the latents between calls is added up; while the sum stays below
    `threshold`, the last velocity is returned as it is. The first and the last call are always
    passed on. Source: the rule of TeaCache, arXiv 2411.19108, section 3.3, on the latents instead
    of the network's modulated inputs.
    """

    def __init__(self, velocity: Velocity, *, threshold: float, last: float) -> None:
        self._velocity, self._threshold, self._last = velocity, threshold, last
        self._seen: Latents | None = None
        self._known: Latents | None = None
        self._change = 0.0

    def __call__(self, latents: Latents, t: float) -> Latents:
        """Return a velocity, new or the last one."""
        if self._seen is not None:
            moved = (latents - self._seen).abs().mean() / self._seen.abs().mean().clamp(min=1e-12)
            self._change += float(moved)
        self._seen = latents
        if self._known is None or t <= self._last or self._change >= self._threshold:
            self._known, self._change = self._velocity(latents, t), 0.0
        return self._known
