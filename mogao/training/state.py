"""Everything that a run carries from step to step, and therefore from process to process.

In: a `Task` and a `RunConfig`. Out: a `RunState` that can be saved and continued bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mogao.config import RunConfig
from mogao.errors import CheckpointError
from mogao.training import parallel
from mogao.training.checkpoint import (
    checkpoint_name,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from mogao.training.guard import SpikeGuard
from mogao.training.optim import MovingAverage, Optimiser
from mogao.training.task import Task

RANK_SEED = 7_919
"""Distance of the noise seeds of two ranks."""


@dataclass(slots=True)
class Progress:
    """Counters of the whole run.

    Attributes:
        step: Finished steps, refused ones included.
        samples: Documents or pictures seen.
        tokens: Tokens seen, without padding.
        flops: Counted FLOPs of all steps; 0 where the task counts none.
        seconds: Time spent in steps.
        best_loss: Lowest logged loss.
    """

    step: int = 0
    samples: int = 0
    tokens: int = 0
    flops: int = 0
    seconds: float = 0.0
    best_loss: float | None = None


class RunState:
    """The parts of a run: task, optimiser, averaged weights, guard, generator, counters."""

    def __init__(self, task: Task, config: RunConfig) -> None:
        """Build the parts around a task.

        Raises:
            ConfigError: The task has nothing to train or names unknown matrices.
        """
        self.task = task
        self.optimiser = Optimiser(task.module, matrices=task.matrices(), config=config.optim)
        self.average = MovingAverage(task.module, decay=config.optim.ema_decay)
        self.guard = SpikeGuard(factor=config.spike_factor, max_bad_steps=config.max_bad_steps)
        self.device = next(task.module.parameters()).device
        # Ranks draw other noise; the first one draws what a single process would.
        seed = config.seed + RANK_SEED * parallel.rank()
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.progress = Progress()
        self._config = config

    def save(self, folder: Path) -> Path:
        """Write a checkpoint; every rank takes part, the first one writes.

        Raises:
            CheckpointError: The disk is full or the folder cannot be written.
        """
        own = {"task": self.task.state_dict(), "generator": self.generator.get_state()}
        state = {
            "module": self.task.module.state_dict(),
            "ranks": parallel.gather(own),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict(),
            "guard": self.guard.state_dict(),
            "progress": asdict(self.progress),
            "config": self._config.model_dump(mode="json"),
        }
        if parallel.rank() != 0:
            return folder / checkpoint_name(self.progress.step)
        keep = self._config.keep_checkpoints
        return save_checkpoint(folder, state, step=self.progress.step, keep=keep)

    def load_latest(self, folder: Path, *, same_data: bool) -> None:
        """Continue from the newest checkpoint, if there is one.

        Args:
            folder: Where `save` wrote.
            same_data: False when the data source changed; its position then starts anew.

        Raises:
            CheckpointError: The checkpoint is damaged, belongs to another network or optimiser, or
                was written by another number of ranks and the data is the same.
        """
        path = latest_checkpoint(folder)
        if path is None:
            return
        state = load_checkpoint(path)
        try:
            self.task.module.load_state_dict(state["module"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.load_state_dict(state["average"])
            self.guard.load_state_dict(state["guard"])
            self.progress = Progress(**state["progress"])
            self._load_own(state["ranks"], path, same_data=same_data)
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} does not belong to this run: {error}; resume with the configuration that "
                "wrote it, or train into another folder"
            ) from None

    def _load_own(
        self, states: Sequence[Mapping[str, Any]], path: Path, *, same_data: bool
    ) -> None:
        """Take over noise and data position of this rank; other ranks can only begin other data."""
        same_ranks = len(states) == parallel.num_ranks()
        if same_data and not same_ranks:
            raise CheckpointError(
                f"{path} was written by {len(states)} ranks, this run has {parallel.num_ranks()}; "
                f"resume with torchrun --nproc-per-node {len(states)}, or change the data's seed"
            )
        own = states[parallel.rank()] if same_ranks else states[0]
        if same_ranks:
            self.generator.set_state(own["generator"].cpu())
        self.task.load_state_dict(own["task"], same_data=same_data)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Evaluate with averaged weights for a while."""
        module = self.task.module.eval()
        try:
            with self.average.applied(), torch.no_grad():
                yield
        finally:
            module.train()
