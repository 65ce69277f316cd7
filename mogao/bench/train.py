"""Speed of the real training loop: tokens a second and the share of the machine's matrix rate.

In: a run config (nano on the world by default). Out: the JSON of `mogao bench train`. The steps
are those of `mogao train`: data drawn and encoded on the fly, forward, backward, optimiser.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mogao.bench.measure import matrix_flops_per_second
from mogao.config import JointTask, OptimConfig, RunConfig, WorldConfig
from mogao.model.hardware import compiler_available, pick_dtype
from mogao.model.vae import Autoencoder
from mogao.training.joint import JointTraining
from mogao.training.loop import train_step
from mogao.training.state import RunState

WARM_UP_STEPS = 8  # a compiled layer meets its last new kind of shape within a few packs
TIMED_STEPS = 10


def run(
    *, seed: int = 0, compile_layers: bool = True, config: RunConfig | None = None
) -> dict[str, Any]:
    """Measure training steps; keys as in docs/training.md ("bench train").

    Args:
        seed: Of data, weights and noise.
        compile_layers: Compile where a compiler exists.
        config: A joint run; by default nano from new weights on the drawing mixture.
    """
    device = torch.device("cpu")
    with TemporaryDirectory() as folder:
        Autoencoder(JointTask().model.autoencoder).save(Path(folder) / "vae")
        config = config or _nano(folder, seed=seed, compile_layers=compile_layers)
        dtype = pick_dtype(config.dtype, device)
        task = JointTraining(config, device=device, dtype=dtype)
    state = RunState(task, config)
    for _ in range(WARM_UP_STEPS):
        train_step(state, config)
    started = time.perf_counter()
    rate = matrix_flops_per_second()
    results = [train_step(state, config) for _ in range(TIMED_STEPS)]
    seconds = sum(result.seconds for result in results)
    tokens = sum(result.counts["tokens"] for result in results)
    flops = sum(result.counts["flops"] for result in results)
    padding = sum(result.counts["padding"] for result in results)
    return {
        "tokens_per_second": tokens / seconds,
        "samples_per_second": sum(result.counts["samples"] for result in results) / seconds,
        "step_seconds": statistics.median(result.seconds for result in results),
        "matrix_gflops": rate / 1e9,
        "counted_gflops": flops / seconds / 1e9,
        "share_of_matrix_rate": flops / seconds / rate,
        "data_wait_share": sum(result.wait_seconds for result in results) / seconds,
        "padding_share": padding / (tokens + padding),
        "compiled": config.compile != "off" and compiler_available(device),
        "seconds": time.perf_counter() - started,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _nano(folder: str, *, seed: int, compile_layers: bool) -> RunConfig:
    return RunConfig(
        task=JointTask(autoencoder_from=folder),
        data=WorldConfig(seed=seed),
        optim=OptimConfig(kind="muon"),
        compile="auto" if compile_layers else "off",
        seed=seed,
    )
