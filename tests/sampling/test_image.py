"""Samplers on velocity fields whose solution is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mogao.flow import schedule
from mogao.sampling.image import SAMPLERS, euler, midpoint
from tests.tolerances import FLOAT32

CLEAN = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
NOISE = torch.tensor([[0.3, 0.1], [-1.0, 2.0]])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_straight_flow_is_followed_exactly(name: str, shift: float) -> None:
    states = list(SAMPLERS[name](lambda _, __: NOISE - CLEAN, NOISE, schedule(5, shift=shift)))  # type: ignore[index]
    assert len(states) == 5
    assert torch.allclose(states[-1], CLEAN, atol=FLOAT32)


@pytest.mark.parametrize(("sampler", "evaluations"), [(euler, 4), (midpoint, 8)])
def test_evaluations_are_one_or_two_an_interval(sampler, evaluations: int) -> None:
    times = []

    def velocity(latents: Tensor, t: float) -> Tensor:
        times.append(t)
        return torch.zeros_like(latents)

    list(sampler(velocity, NOISE, schedule(4)))
    assert len(times) == evaluations
    assert times[0] == 1.0
    assert min(times) > 0.0


def test_midpoint_is_second_order_and_euler_first() -> None:
    # d latents / dt = latents has the solution exp(t - 1) x noise.
    exact = torch.exp(torch.tensor(-1.0)) * NOISE

    def error(sampler, num_steps: int) -> float:
        *_, last = sampler(lambda latents, _: latents, NOISE, schedule(num_steps))
        return float((last - exact).abs().max())

    assert 1.7 < error(euler, 8) / error(euler, 16) < 2.3
    assert 3.4 < error(midpoint, 8) / error(midpoint, 16) < 4.6
