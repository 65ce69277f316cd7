"""Samplers on velocity fields whose solution is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mogao.config import ImageSamplingConfig, parse
from mogao.errors import ConfigError
from mogao.flow import schedule
from mogao.sampling.image import (
    RANDOM,
    SAMPLERS,
    Draw,
    RandomStep,
    Reuse,
    cps,
    euler,
    log_density,
    random_steps,
    run_sampler,
    schedule_of,
    sde,
)
from tests.tolerances import FLOAT32

CLEAN = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
NOISE = torch.tensor([[0.3, 0.1], [-1.0, 2.0]])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_straight_flow_is_followed_exactly(name: str, shift: float) -> None:
    states = list(SAMPLERS[name](lambda _, __: NOISE - CLEAN, NOISE, schedule(5, shift=shift)))
    assert len(states) == 5
    assert torch.allclose(states[-1], CLEAN, atol=FLOAT32)


@pytest.mark.parametrize(
    ("name", "evaluations"), [("euler", 4), ("midpoint", 8), ("heun", 7), ("dpm", 4)]
)
def test_evaluations_of_a_schedule(name: str, evaluations: int) -> None:
    times = []

    def velocity(latents: Tensor, t: float) -> Tensor:
        times.append(t)
        return torch.zeros_like(latents)

    list(SAMPLERS[name](velocity, NOISE, schedule(4)))
    assert len(times) == evaluations
    assert times[0] == 1.0
    assert min(times) > 0.0


def bent(latents: Tensor, t: float) -> Tensor:
    """The velocity of data from N(0, 1/4): latents(t) = sqrt((1-t)^2 / 4 + t^2) x noise."""
    return latents * (t - (1 - t) / 4) / ((1 - t) ** 2 / 4 + t**2)


@pytest.mark.parametrize(
    ("name", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("dpm", 2)]
)
def test_errors_fall_with_the_order_of_the_sampler(name: str, order: int) -> None:
    # Up to t = 0.1: the multistep sampler ends with a step of first order.
    def error(num_steps: int) -> float:
        times = [0.9 - 0.8 * i / num_steps for i in range(num_steps + 1)]
        start = math.sqrt(0.1**2 / 4 + 0.9**2) * NOISE
        *_, last = SAMPLERS[name](bent, start, times)
        return float((last - math.sqrt(0.9**2 / 4 + 0.1**2) * NOISE).abs().max())

    ratio = error(10) / error(20)
    assert ratio > 2**order * 0.75
    assert order == 2 or ratio < 3


@pytest.mark.parametrize("name", RANDOM)
def test_without_noise_the_stochastic_step_is_eulers(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    steps = list(
        random_steps(bent, NOISE, schedule(6), draw=RANDOM[name](0.0), generator=generator)
    )
    expected = list(euler(bent, NOISE, schedule(6)))
    for step, state in zip(steps, expected, strict=True):
        torch.testing.assert_close(step.latents, state, rtol=0, atol=1e-6)


def sampled(draw: Draw, num_steps: int) -> Tensor:
    """What a stochastic sampler makes of data N(2, 0.5^2), one dimension, exact velocity."""

    def velocity(latents: Tensor, t: float) -> Tensor:
        variance = 0.25 * (1 - t) ** 2 + t**2
        gain = (0.25 * (1 - t) - t) / variance
        offset = latents - 2 * (1 - t)
        return -(2 + gain * offset)

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(100_000, 1, generator=generator)
    *_, last = random_steps(velocity, noise, schedule(num_steps), draw=draw, generator=generator)
    assert float(last.latents.mean()) == pytest.approx(2.0, abs=0.01)
    return last.latents


@pytest.mark.parametrize("num_steps", [40, 200])
def test_sde_steps_keep_the_distribution_of_the_data(num_steps: int) -> None:
    assert float(sampled(sde(0.7), num_steps).std()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("num_steps", "std"), [(10, 0.370), (40, 0.408), (200, 0.420)])
def test_cps_steps_make_less_variety_than_the_data_has(num_steps: int, std: float) -> None:
    assert float(sampled(cps(0.7), num_steps).std()) == pytest.approx(std, abs=0.005)


def test_log_probabilities_are_those_of_the_normal_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    before = NOISE
    for step in random_steps(bent, NOISE, schedule(4), draw=sde(0.7), generator=generator):
        assert torch.equal(step.before, before)
        mean, std = sde(0.7)(step.before, bent(step.before, step.t), (step.t, step.t_next))
        assert torch.equal(mean, step.mean)
        assert std == step.std
        before = step.latents
        normal = torch.distributions.Normal(step.mean, step.std)
        expected = float(normal.log_prob(step.latents).mean())
        assert step.log_prob == pytest.approx(expected, abs=1e-5)
        assert log_density(step.latents, step.mean, std=step.std) == step.log_prob


def test_the_config_names_sampler_and_schedule() -> None:
    config = ImageSamplingConfig(sampler="sde", schedule=(1.0, 0.5, 0.0))

    def last(seed: int, config: ImageSamplingConfig) -> tuple[Tensor, object]:
        generator = torch.Generator().manual_seed(seed)
        times = [1.0, 0.5, 0.0]
        return list(run_sampler(bent, NOISE, times, config=config, generator=generator))[-1]

    states = [last(seed, config) for seed in (0, 0, 1)]
    assert torch.equal(states[0][0], states[1][0])
    assert not torch.equal(states[0][0], states[2][0])
    assert all(isinstance(draw, RandomStep) for _, draw in states)
    assert last(0, ImageSamplingConfig())[1] is None
    assert schedule_of(config) == [1.0, 0.5, 0.0]
    assert schedule_of(ImageSamplingConfig(num_steps=2, shift=3.0)) == schedule(2, shift=3.0)


@pytest.mark.parametrize("times", [[1.0], [1.0, 0.5], [0.9, 0.0], [1.0, 0.5, 0.5, 0.0]])
def test_a_schedule_must_fall_from_one_to_zero(times: list[float]) -> None:
    with pytest.raises(ConfigError, match="must fall from 1 to 0"):
        parse(ImageSamplingConfig, {"schedule": times}, where="test")


def test_reuse_asks_again_only_when_the_latents_have_moved() -> None:
    asked = []

    def velocity(_: Tensor, t: float) -> Tensor:
        asked.append(t)
        return NOISE - CLEAN

    times = schedule(10)
    every = Reuse(velocity, threshold=0.0, last=times[-2])
    *_, exact = euler(every, NOISE, times)
    assert asked == times[:-1]
    asked.clear()
    *_, last = euler(Reuse(velocity, threshold=0.3, last=times[-2]), NOISE, times)
    assert 2 < len(asked) < 10
    assert (asked[0], asked[-1]) == (times[0], times[-2])
    torch.testing.assert_close(last, exact)  # the flow is straight: nothing is lost
