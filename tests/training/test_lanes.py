"""Micro-batches side by side give the gradients of one after another, bit for bit."""

from __future__ import annotations

import threading

import pytest
import torch

from mogao.training.lanes import Lanes
from mogao.training.loop import train_step
from mogao.training.state import RunState


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_lanes_change_no_bit_of_a_run(toy):
    weights = []
    for lanes in (1, 2, 3):
        config = toy.config(accumulation=3, lanes=lanes, optim={"kind": "muon"})
        task = toy.task()
        state = RunState(task, config)
        results = [train_step(state, config) for _ in range(3)]
        assert all(result.accepted and result.counts["samples"] == 3 for result in results)
        weights.append(torch.cat([p.detach().flatten() for p in task.module.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


@pytest.mark.usefixtures("two_threads")
def test_each_lane_has_its_share_of_the_threads(toy):
    task, seen = toy.task(), []
    losses = task.losses

    def watched(batch, normalisers, generator):
        seen.append((threading.get_ident(), torch.get_num_threads()))
        meet.wait(timeout=20)  # both lanes are at work at the same time
        return losses(batch, normalisers, generator)

    task.losses = watched
    meet = threading.Barrier(2)
    batches = [task.next_batch() for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    Lanes(2).accumulate(task, batches, {"points": 16.0}, generator=generator)
    assert len({thread for thread, _ in seen}) == 2
    assert [count for _, count in seen] == [1, 1]
    assert torch.get_num_threads() == 2


def test_an_error_in_a_lane_reaches_the_loop(toy):
    config = toy.config(accumulation=2, lanes=2)
    task = toy.task()

    def broken(*_):
        raise ValueError("a broken batch")

    task.losses = broken
    with pytest.raises(ValueError, match="a broken batch"):
        train_step(RunState(task, config), config)
