"""Learning-rate curve, Muon, averages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mogao.config import OptimConfig
from mogao.errors import CheckpointError, ConfigError
from mogao.training.optim import MovingAverage, Muon, Optimiser, learning_rate_scale, orthogonalise


@given(
    warmup=st.integers(0, 50),
    share=st.floats(0, 1),
    final=st.floats(0, 1),
    max_steps=st.integers(1, 300),
)
def test_curve_rises_stays_and_falls(warmup, share, final, max_steps):
    config = OptimConfig(warmup_steps=warmup, decay_share=share, final_share=final)
    curve = [learning_rate_scale(s, config, max_steps=max_steps) for s in range(max_steps)]
    assert all(0 < value <= 1 for value in curve)
    peak = curve.index(max(curve))
    rising, falling = curve[: peak + 1], curve[peak:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    if warmup < (1 - share) * max_steps:
        assert max(curve) == 1.0


def test_curve_has_the_stated_values():
    config = OptimConfig(warmup_steps=10, decay_share=0.5, final_share=0.1)
    values = [learning_rate_scale(step, config, max_steps=100) for step in (0, 9, 50, 75, 99)]
    assert values == pytest.approx([0.1, 1.0, 1.0, 0.55, 0.118])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 32), (2, 32, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices).float())
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_row_blocks_are_orthogonalised_alone():
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(12, 8, generator=generator)
    gradient[:4] *= 100  # a loud block must not drown a quiet one
    fused = nn.Parameter(torch.zeros(12, 8))
    parts = [nn.Parameter(torch.zeros(4, 8)), nn.Parameter(torch.zeros(8, 8))]
    fused.grad = gradient.clone()
    parts[0].grad, parts[1].grad = gradient[:4].clone(), gradient[4:].clone()
    Muon({"w": fused}, heights={"w": (4, 8)}, weight_decay=0.0).step(0.1)
    alone = Muon({"a": parts[0], "b": parts[1]}, heights={"a": (), "b": ()}, weight_decay=0.0)
    alone.step(0.1)
    torch.testing.assert_close(fused.detach(), torch.cat([p.detach() for p in parts]))


def test_a_convolution_is_one_matrix():
    gradient = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel, matrix = nn.Parameter(torch.zeros(6, 2, 3, 3)), nn.Parameter(torch.zeros(6, 18))
    kernel.grad, matrix.grad = gradient.clone(), gradient.flatten(1)
    for parameter in (kernel, matrix):
        Muon({"w": parameter}, heights={"w": ()}, weight_decay=0.0).step(0.1)
    assert torch.equal(kernel.detach().flatten(1), matrix.detach())
    assert matrix.abs().max() > 0


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="add up to 9 of 12"):
        Muon({"w": nn.Parameter(torch.zeros(12, 8))}, heights={"w": (4, 5)}, weight_decay=0.0)


def test_muon_trains_matrices_only():
    module = nn.Linear(4, 4)
    optimiser = Optimiser(module, matrices={"weight": ()}, config=OptimConfig(kind="muon"))
    assert set(optimiser.muon.parameters) == {"weight"}
    assert set(optimiser.rest) == {"bias"}


def test_unknown_matrices_are_named():
    with pytest.raises(ConfigError, match="did you mean 'weight'"):
        Optimiser(nn.Linear(4, 4), matrices={"weigth": ()}, config=OptimConfig())


def test_a_frozen_module_cannot_be_trained():
    with pytest.raises(ConfigError, match="nothing to train"):
        Optimiser(nn.Linear(4, 4).requires_grad_(False), matrices={}, config=OptimConfig())


def test_weight_decay_spares_vectors():
    module = nn.Linear(4, 4)
    nn.init.ones_(module.weight)
    nn.init.ones_(module.bias)
    config = OptimConfig(weight_decay=0.5, learning_rate=0.1)
    optimiser = Optimiser(module, matrices={"weight": ()}, config=config)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step(1.0)
    torch.testing.assert_close(module.weight, torch.full((4, 4), 0.95))
    torch.testing.assert_close(module.bias, torch.ones(4))


def test_average_follows_the_formula():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = MovingAverage(module, decay=0.5)
    nn.init.ones_(module.weight)
    average.update()  # decay (1 + 1) / (10 + 1)
    assert average.weights["weight"].item() == pytest.approx(9 / 11)
    for _ in range(30):
        average.update()
    expected = average.weights["weight"].item()
    nn.init.zeros_(module.weight)
    average.update()  # the warm-up is over: decay 0.5
    assert average.weights["weight"].item() == pytest.approx(expected / 2)


def test_applied_average_is_taken_back_exactly():
    module = nn.Linear(3, 3)
    average = MovingAverage(module, decay=0.9)
    before = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1.0)
    live = module.weight.detach().clone()
    with average.applied():
        assert torch.equal(module.weight, before)
    assert torch.equal(module.weight, live)


def test_no_average_with_decay_zero():
    module = nn.Linear(2, 2)
    average = MovingAverage(module, decay=0.0)
    average.update()
    assert average.weights == {}


def test_momenta_of_another_network_are_refused():
    config = OptimConfig(kind="muon")
    first = Optimiser(nn.Linear(4, 4), matrices={"weight": ()}, config=config)
    second = Optimiser(nn.Linear(4, 4), matrices={}, config=config)
    with pytest.raises(CheckpointError, match="weight"):
        second.load_state_dict(first.state_dict())
