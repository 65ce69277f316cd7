"""Modules of other libraries: casts leave masters alone, files are strict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mogao.errors import CheckpointError
from mogao.model.library import fill_weights, run_in, seeded, write_weights
from mogao.model.storage import read_object


def test_seeded_restores_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    with seeded(1):
        first = torch.rand(3)
    with seeded(1):
        again = torch.rand(3)
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_cast_run_leaves_the_weights_and_reaches_them_with_gradients() -> None:
    layer = nn.Linear(4, 2)
    out = run_in(layer, torch.bfloat16, torch.ones(1, 4, dtype=torch.bfloat16))
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.ones(2, 4))


def test_weights_come_back_as_float32_without_the_ignored(tmp_path: Path) -> None:
    both = nn.ModuleDict({"body": nn.Linear(3, 3), "head": nn.Linear(3, 3)})
    write_weights(both, tmp_path / "w.safetensors", dtype=torch.float32)
    body = nn.ModuleDict({"body": nn.Linear(3, 3)})
    fill_weights(body, tmp_path / "w.safetensors", ignore="head.")
    assert torch.equal(body.state_dict()["body.weight"], both.state_dict()["body.weight"])
    with pytest.raises(CheckpointError, match=r"unexpected: head\.bias"):
        fill_weights(body, tmp_path / "w.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, float("nan"))
    write_weights(layer, tmp_path / "w.safetensors", dtype=torch.float32)
    with pytest.raises(CheckpointError, match="not finite"):
        fill_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_settings_must_be_a_json_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"JSON|object"):
        read_object(tmp_path / "config.json")
