"""Two processes train as one would on the joined batch, stop together and resume exactly."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mogao import config as configs
from mogao.errors import CheckpointError
from mogao.training import parallel
from mogao.training.checkpoint import latest_checkpoint
from mogao.training.loop import train_step
from mogao.training.state import RunState
from tests.training.conftest import ToyTask, config, train_toy

RANKS = 2
OPTIM = {"kind": "muon"}


def quiet_task(rank: int) -> ToyTask:
    """Rank r draws points of its own; the toy's noise would differ from a single process's."""
    task = ToyTask()
    task.data.manual_seed(100 + rank)
    task.noise = 0.0
    return task


def train_whole(rank: int, folder: Path) -> None:
    task = quiet_task(rank)
    train_toy(task, config(optim=OPTIM), folder / "whole")
    save_file(task.module.state_dict(), folder / f"rank-{rank}.safetensors")


def train_in_parts(rank: int, folder: Path) -> None:
    run_config = config(optim=OPTIM)
    state = RunState(quiet_task(rank), run_config)
    for _ in range(3):
        train_step(state, run_config)
    if rank == 0:
        (folder / "parts").mkdir()
        configs.save(run_config, folder / "parts/config.yaml")
    parallel.wait()
    state.save(folder / "parts/checkpoints")
    parallel.wait()
    task = quiet_task(rank)
    report = train_toy(task, run_config, folder / "parts", resume=True)
    assert report.step == 6


def stop_on_one_rank(rank: int, folder: Path) -> None:
    """Only the second process is out of time."""
    minutes = None if rank == 0 else 1e-9
    report = train_toy(quiet_task(rank), config(max_minutes=minutes), folder / "stopped")
    assert report.step == 0
    assert parallel.from_first(rank) == 0
    assert parallel.gather(rank) == [0, 1]


def in_group(job: Callable[[int, Path], None], rank: int, port: int, folder: Path) -> None:
    """What torchrun would do: describe the group in the environment."""
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    with parallel.joined_ranks():
        assert parallel.num_ranks() == RANKS
        job(rank, folder)


def on_two_ranks(job: Callable[[int, Path], None], folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=in_group, args=(job, rank, port, folder)) for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0


def test_two_ranks_train_like_one_process_and_resume_exactly(tmp_path, monkeypatch):
    on_two_ranks(train_whole, tmp_path)
    first, second = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in range(RANKS))
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name

    # One process that takes the batches of both as micro-batches of one step.
    parts, alone = [quiet_task(rank) for rank in range(RANKS)], quiet_task(0)
    batches = iter([part.next_batch() for _ in range(6) for part in parts])
    monkeypatch.setattr(alone, "next_batch", batches.__next__)
    train_toy(alone, config(optim=OPTIM, accumulation=2), tmp_path / "alone")
    for name, weight in alone.module.state_dict().items():
        torch.testing.assert_close(weight, first[name], rtol=0, atol=2e-4)

    on_two_ranks(train_in_parts, tmp_path)
    resumed = load_file(tmp_path / "parts/model/model.safetensors")
    for name, weight in load_file(tmp_path / "whole/model/model.safetensors").items():
        assert torch.equal(weight, resumed[name]), name

    other = RunState(quiet_task(0), config(optim=OPTIM))
    with pytest.raises(CheckpointError, match="written by 2 ranks, this run has 1"):
        other.load_latest(tmp_path / "whole/checkpoints", same_data=True)
    other.load_latest(tmp_path / "whole/checkpoints", same_data=False)
    assert other.progress.step == 6
    assert other.task.state_dict()["drawn"] == 0


def test_ranks_stop_at_the_same_step(tmp_path):
    on_two_ranks(stop_on_one_rank, tmp_path)
    assert latest_checkpoint(tmp_path / "stopped/checkpoints") is not None
