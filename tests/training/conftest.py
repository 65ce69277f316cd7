"""A tiny real task: regression by a two-layer network on drawn points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mogao.config import OptimConfig, RunConfig
from mogao.training.folder import prepare_folder
from mogao.training.loop import Clock, TrainReport, run, train_step
from mogao.training.state import RunState
from mogao.training.task import Task
from tests.training import joint

setting = joint.setting


class ToyTask:
    """Learn y = tanh(A x) from points drawn with the task's own generator.

    Attributes:
        broken_at: Number of the micro-batch whose loss is spoilt, and by which factor.
    """

    def __init__(self, *, seed: int = 0, points: int = 8, weight: float = 1.0) -> None:
        init = torch.Generator().manual_seed(seed)
        self.module = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=init))
        self.truth = torch.randn(4, 4, generator=init)
        self.data = torch.Generator().manual_seed(seed + 1)
        self.points = points
        self.weight = weight
        self.drawn = 0
        self.broken: dict[int, float] = {}
        self.noise = 0.01

    def matrices(self) -> dict[str, tuple[int, ...]]:
        return {"0.weight": (8, 8), "2.weight": ()}

    def next_batch(self) -> tuple[int, Tensor]:
        self.drawn += 1
        return self.drawn, torch.randn(self.points, 4, generator=self.data)

    def weights(self, batch: tuple[int, Tensor]) -> dict[str, float]:
        return {"points": self.weight * len(batch[1])}

    def losses(
        self,
        batch: tuple[int, Tensor],
        normalisers: Mapping[str, float],
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        number, x = batch
        target = torch.tanh(x @ self.truth)
        target = target + self.noise * torch.randn(target.shape, generator=generator)
        squares = (self.module(x) - target).square().mean(1)
        loss = self.weight * squares.sum() / normalisers["points"]
        return loss * self.broken.get(number, 1.0), {"error": loss.detach()}

    def tokens(self, batch: tuple[int, Tensor]) -> dict[str, int]:
        return {"tokens": len(batch[1]), "padding": 0, "samples": 1}

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "data": self.data.get_state()}

    def load_state_dict(self, state: Mapping[str, Any], *, same_data: bool) -> None:
        if not same_data:
            return
        self.drawn = state["drawn"]
        self.data.set_state(state["data"])

    def write_samples(self, folder: Path, step: int, generator: torch.Generator) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        value = float(self.module(torch.ones(1, 4)).sum())
        (folder / f"{step}.txt").write_text(f"{value} {torch.rand(1, generator=generator)}")

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        folder.mkdir(parents=True)
        save_file(dict(weights), folder / "model.safetensors")


def config(*, optim: dict[str, Any] | None = None, **values: Any) -> RunConfig:
    """A run of a few float32 steps."""
    rates = {"warmup_steps": 2, "learning_rate": 1e-2, "muon_learning_rate": 1e-2}
    defaults = {"max_steps": 6, "log_every_steps": 2, "sample_minutes": 0, "dtype": "float32"}
    return RunConfig(**(defaults | values), optim=OptimConfig(**(rates | (optim or {}))))


def train_toy(
    task: ToyTask, run_config: RunConfig, out: Path, *, resume: bool = False
) -> TrainReport:
    """What `mogao.training.loop.train` does, with the toy in place of a built task."""
    changes = prepare_folder(run_config, out, resume=resume)
    clock = Clock(run_config.max_minutes)
    return run(task, run_config, out=out, clock=clock, changes=changes)


@pytest.fixture
def toy():
    """The toy's class, its config and its runner."""

    class Toy:
        task = ToyTask
        config = staticmethod(config)
        train = staticmethod(train_toy)

    return Toy


def run_and_resume(
    make_task: Callable[[], Task], run_config: RunConfig, folder: Path
) -> tuple[RunState, RunState]:
    """Six steps at once, and three, a checkpoint, three more: both states afterwards."""
    whole, first, second = (RunState(make_task(), run_config) for _ in range(3))
    for _ in range(6):
        train_step(whole, run_config)
    for _ in range(3):
        train_step(first, run_config)
    first.save(folder)
    second.load_latest(folder, same_data=True)
    for _ in range(3):
        train_step(second, run_config)
    pairs = zip(whole.task.module.parameters(), second.task.module.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    return whole, second
