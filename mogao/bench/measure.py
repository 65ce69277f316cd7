"""Rates and times that every bench shares: the machine's matrix rate, medians of wall times.

In: callables. Out: plain numbers. Definitions: docs/training.md, section "How speed is counted";
FLOPs are counted in `mogao.packing.cost`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

MATRIX_SIDE = 2048


def matrix_flops_per_second() -> float:
    """Return the best of five rates of a bfloat16 product of two 2,048-square matrices."""
    generator = torch.Generator().manual_seed(0)
    side = (MATRIX_SIDE, MATRIX_SIDE)
    left, right = (torch.randn(side, generator=generator).to(torch.bfloat16) for _ in range(2))
    seconds = min(seconds_of(lambda: left @ right) for _ in range(5))
    return float(2 * MATRIX_SIDE**3 / seconds)


def seconds_of(run: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def median_seconds(run: Callable[[], object], *, repeats: int = 5, warm_up: int = 1) -> float:
    """Return the median wall time of several calls after warm-up calls."""
    for _ in range(warm_up):
        run()
    return statistics.median(seconds_of(run) for _ in range(repeats))
