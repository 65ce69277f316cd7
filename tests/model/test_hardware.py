"""A thread lets go of its OpenMP workers and computes the same afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mogao.model.hardware import release_threads


def num_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or torch.get_num_threads() < 2,
    reason="counts the threads of a Linux process that computes with two",
)
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
