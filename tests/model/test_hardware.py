"""A thread lets go of its OpenMP workers and computes the same afterwards."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import torch

from mogao.model.hardware import compute_alone, release_threads


def num_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


needs_two = pytest.mark.skipif(
    not sys.platform.startswith("linux") or torch.get_num_threads() < 2,
    reason="counts the threads of a Linux process that computes with two",
)


@needs_two
def test_workers_end_and_come_back() -> None:
    x = torch.randn(2048, 512)
    release_threads()
    before = num_threads()
    expected = x.exp().sum()
    busy = num_threads()
    assert busy > before
    release_threads()
    assert num_threads() < busy
    assert torch.equal(x.exp().sum(), expected)


@needs_two
@pytest.mark.parametrize("is_told", [False, True])
def test_a_thread_that_computes_alone_has_no_workers_and_others_keep_theirs(is_told) -> None:
    if is_told:
        torch.set_num_threads(torch.get_num_threads())
    x = torch.randn(2048, 512)
    found: list[tuple[int, int]] = []

    def work(*, alone: bool) -> None:
        if alone:
            compute_alone()
        before = num_threads()
        x.exp().sum()
        found.append((before, num_threads()))

    for alone in (True, False):
        thread = threading.Thread(target=work, kwargs={"alone": alone})
        thread.start()
        thread.join()
    (first, second), (third, fourth) = found
    assert first == second
    assert fourth > third
    assert torch.get_num_threads() > 1
