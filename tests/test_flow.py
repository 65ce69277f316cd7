"""Flow times, corruption and schedules: the numbers, and what holds for all of them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mogao.config import FlowConfig
from mogao.flow import FlowInputs, corrupt, draw_times, interpolate, schedule, shift_time
from tests.packs import relative
from tests.tolerances import FLOAT32

SHIFTS = st.floats(0.05, 20.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("t", "shift", "expected"),
    [
        (0.5, 3.0, 0.75),  # 3 * 0.5 / (1 + 2 * 0.5) = 1.5 / 2
        (0.25, 3.0, 0.5),  # 3 * 0.25 / (1 + 2 * 0.25) = 0.75 / 1.5
        (0.5, 0.5, 1 / 3),  # 0.5 * 0.5 / (1 - 0.5 * 0.5) = 0.25 / 0.75
        (0.3, 1.0, 0.3),
        (0.0, 7.0, 0.0),
        (1.0, 7.0, 1.0),
    ],
)
def test_shifted_times_have_the_values_of_the_formula(
    t: float, shift: float, expected: float
) -> None:
    assert float(shift_time(torch.tensor(t), shift)) == pytest.approx(expected)


@given(t=st.floats(0.01, 0.99), shift=SHIFTS)
def test_a_shift_above_one_moves_towards_noise_and_its_inverse_back(t: float, shift: float) -> None:
    time = torch.tensor(t, dtype=torch.float64)
    moved = shift_time(time, shift)
    assert 0 < moved < 1
    assert (moved > time) == (shift > 1) or shift == pytest.approx(1)
    assert float(shift_time(moved, 1 / shift)) == pytest.approx(t)


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_a_shift_that_is_not_positive_is_refused(shift: float) -> None:
    with pytest.raises(ValueError, match=f"shift must be above 0, got {shift}"):
        shift_time(torch.tensor([0.5]), shift)
    with pytest.raises(ValueError, match="shift must be above 0"):
        schedule(4, shift=shift)


@pytest.mark.parametrize(
    ("num_steps", "shift", "expected"),
    [
        (1, 1.0, [1.0, 0.0]),
        (4, 1.0, [1.0, 0.75, 0.5, 0.25, 0.0]),
        (2, 3.0, [1.0, 0.75, 0.0]),
        # 3 * 2/3 / (1 + 2 * 2/3) = 6/7 and 3 * 1/3 / (1 + 2 * 1/3) = 3/5.
        (3, 3.0, [1.0, 6 / 7, 0.6, 0.0]),
    ],
)
def test_schedules_have_the_values_written_by_hand(
    num_steps: int, shift: float, expected: list[float]
) -> None:
    assert schedule(num_steps, shift=shift) == pytest.approx(expected)


@given(num_steps=st.integers(1, 1000), shift=SHIFTS)
@settings(deadline=None)
def test_a_schedule_falls_from_one_to_zero(num_steps: int, shift: float) -> None:
    times = schedule(num_steps, shift=shift)
    assert len(times) == num_steps + 1
    assert (times[0], times[-1]) == (1.0, 0.0)
    assert all(later < earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize("num_steps", [0, -3])
def test_a_schedule_without_steps_is_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"num_steps must be at least 1, got {num_steps}"):
        schedule(num_steps)


@given(
    mean=st.floats(-5, 5), std=st.floats(0.1, 4), shift=SHIFTS, seed=st.integers(0, 99)
)  # fmt: skip
@settings(deadline=None)
def test_drawn_times_are_times_and_a_shift_moves_each(mean, std, shift, seed) -> None:
    plain = draw_times(8, FlowConfig(mean=mean, std=std), generator=generator(seed))
    moved = draw_times(8, FlowConfig(mean=mean, std=std, shift=shift), generator=generator(seed))
    assert moved.dtype == torch.float32
    assert ((moved >= 0) & (moved <= 1)).all()
    assert torch.equal(moved, shift_time(plain, shift))
    assert (moved >= plain).all() if shift >= 1 else (moved <= plain).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 0.5),
        ({"mean": math.log(3)}, 0.75),  # the sigmoid of log 3 is 3 / (3 + 1): more noise
        ({"mean": -math.log(3)}, 0.25),
        ({"shift": 3.0}, 0.75),
        ({"mean": math.log(3), "shift": 3.0}, 0.9),  # 3 * 0.75 / (1 + 2 * 0.75)
    ],
)
def test_without_spread_every_drawn_time_is_the_shifted_sigmoid_of_the_mean(
    config: dict[str, Any], expected: float
) -> None:
    times = draw_times(5, FlowConfig(std=1e-7, **config), generator=generator())
    assert times.tolist() == pytest.approx([expected] * 5, abs=1e-6)


def test_drawn_times_are_logit_normal() -> None:
    times = draw_times(20_000, FlowConfig(mean=0.5, std=2.0), generator=generator())
    logits = times.double().logit()
    assert float(logits.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(logits.std()) == pytest.approx(2.0, abs=0.05)


def test_interpolation_and_velocity_follow_the_convention() -> None:
    clean, noise = torch.tensor([[2.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 8.0], [3.0, -1.0]])
    # Row one: 0.75 * (2, 4) + 0.25 * (0, 8); row two has t = 1: all noise.
    found = interpolate(clean, noise, torch.tensor([0.25, 1.0]))
    assert found.tolist() == [[1.5, 5.0], [3.0, -1.0]]
    assert torch.equal(interpolate(clean, noise, torch.zeros(2)), clean)


def corrupted(lengths: tuple[int, ...], seed: int, **config: Any) -> tuple[Tensor, FlowInputs]:
    clean = torch.randn(sum(lengths), 4, generator=generator(seed + 1))
    return clean, corrupt(clean, lengths, FlowConfig(**config), generator=generator(seed))


LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@given(lengths=LENGTHS, seed=st.integers(0, 999), shift=SHIFTS, t_next=st.floats(0, 1))
@settings(deadline=None)
def test_a_step_along_the_velocity_lands_where_the_noise_would_be_less(
    lengths, seed, shift, t_next
) -> None:
    clean, flow = corrupted(lengths, seed, shift=shift)
    assert flow.t.shape == (len(lengths),)
    t = flow.t.repeat_interleave(torch.tensor(lengths))[:, None]
    noise = clean + flow.velocity
    assert relative(flow.noisy, (1 - t) * clean + t * noise) < FLOAT32
    stepped = flow.noisy + (t_next - t) * flow.velocity
    expected = interpolate(clean, noise, torch.full((len(clean),), t_next))
    assert float((stepped - expected).abs().max()) < FLOAT32


def test_every_run_has_a_time_and_every_value_a_noise_of_its_own() -> None:
    clean, flow = corrupted((2000, 2000), 0)
    assert flow.t[0] != flow.t[1]
    noise = clean + flow.velocity
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.05)
    assert len(noise.flatten().unique()) > 0.99 * noise.numel()


def test_corruption_is_float32_and_repeats_with_its_generator() -> None:
    clean = torch.ones(3, 4, dtype=torch.bfloat16)
    first, again, other = (
        corrupt(clean, (1, 2), FlowConfig(), generator=generator(seed)) for seed in (0, 0, 1)
    )
    for name in ("noisy", "t", "velocity"):
        value = getattr(first, name)
        assert value.dtype == torch.float32
        assert torch.equal(value, getattr(again, name))
        assert not torch.equal(value, getattr(other, name))


def test_a_pack_without_noisy_tokens_has_an_empty_corruption() -> None:
    flow = corrupt(torch.zeros(0, 4), (), FlowConfig(), generator=generator())
    assert (flow.noisy.shape, flow.t.shape, flow.velocity.shape) == ((0, 4), (0,), (0, 4))
