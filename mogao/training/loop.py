"""The training loop, to be read from top to bottom.

In: a `RunConfig` and a folder. Out, in that folder: `config.yaml` (resolved), `checkpoints/`,
`metrics.csv`, `tensorboard/`, `samples/` and, at the end, the model folder `model/`.
A run that is stopped and resumed continues bit for bit. Under torchrun every process reads its own
share of the data, gradients are summed, and the first process writes the files.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import torch

from mogao.config import RunConfig
from mogao.model.hardware import pick_device, pick_dtype
from mogao.training import parallel
from mogao.training.folder import export_model, prepare_folder
from mogao.training.log import RunLog, SilentLog, StepResult, Window
from mogao.training.optim import learning_rate_scale
from mogao.training.state import RunState
from mogao.training.task import Task, build_task

Stopped = Literal["steps", "time", "interrupt"]


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a process of a run did.

    Attributes:
        stopped: Why it ended: all steps done, the time limit, or Ctrl-C.
        step: Finished steps of the whole run.
        skipped: Steps of the whole run that the guard refused.
        samples: Documents or pictures seen in the whole run.
        seconds: Training time of the whole run.
        metrics: The last logged row.
        model: The exported model folder.
        checkpoint: Where `--resume` continues.
        rank: Number of this process; the first one, 0, speaks for all.
    """

    stopped: Stopped
    step: int
    skipped: int
    samples: int
    seconds: float
    metrics: dict[str, float]
    model: Path
    checkpoint: Path
    rank: int

    @property
    def exit_code(self) -> int:
        """Exit code of the command line: 130 after Ctrl-C, else 0."""
        return 130 if self.stopped == "interrupt" else 0


def train(config: RunConfig, out: str | Path, *, resume: bool = False) -> TrainReport:
    """Train what the config describes.

    Args:
        config: The run.
        out: Folder of all outputs.
        resume: Continue from the newest checkpoint in `out`; without one the run starts.

    Raises:
        ConfigError: `out` holds another run and `resume` is not set, or the model changed.
        CheckpointError: A checkpoint or model folder is damaged, or the disk is full.
        DataError: The data cannot be read or holds too many broken records.
        MogaoError: The guard stopped a run that went wrong.
    """
    clock = Clock(config.max_minutes)
    out = Path(out)
    with parallel.joined_ranks():
        is_first = parallel.rank() == 0
        changes = prepare_folder(config, out, resume=resume) if is_first else []
        changes = parallel.from_first(changes)
        device = pick_device()
        task = build_task(config, device=device, dtype=pick_dtype(config.dtype, device))
        return run(task, config, out=out, clock=clock, changes=changes)


def run(
    task: Task, config: RunConfig, *, out: Path, clock: Clock, changes: Sequence[str] = ()
) -> TrainReport:
    """Train a task until its last step, its time limit or Ctrl-C.

    Args:
        task: Data, network and losses.
        config: The run; its task section is not read here.
        out: A prepared folder; the newest checkpoint in it is continued.
        clock: Started when the process started.
        changes: Keys of the config that differ from the run being continued.
    """
    state = RunState(task, config)
    same_data = not any(key.startswith("data") for key in changes)
    state.load_latest(out / "checkpoints", same_data=same_data)
    progress = state.progress
    window, row = Window(), dict[str, float]()
    save_timer = Timer(config.checkpoint_minutes)
    sample_timer = Timer(config.sample_minutes)

    with (
        interrupts() as interrupted,
        open_log(config, out=out, first_step=progress.step) as log,
    ):
        for key in changes:
            log.say(f"changed since the last checkpoint: {key}")
        task.module.train()
        stop = parallel.any_rank([clock.is_over])[0]
        while progress.step < config.max_steps and not stop:
            window.add(train_step(state, config))
            log.advance(progress.step)
            if progress.step % config.log_every_steps == 0 or progress.step == config.max_steps:
                row = write_row(window, state, log, seconds_left=clock.seconds_left)
                window = Window()
            over = clock.is_over or interrupted.is_set()
            stop, save, draw = agree(over, save_timer, sample_timer)
            if save:
                state.save(out / "checkpoints")
            if draw:
                write_samples(state, out / "samples", seed=config.seed)

        checkpoint = state.save(out / "checkpoints")
        model = export_model(state, out / "model")
        if interrupted.is_set():
            log.say(f"interrupted: step {progress.step} is saved; continue with --resume")
        elif config.sample_minutes:
            write_samples(state, out / "samples", seed=config.seed)
    done: Stopped = "steps" if progress.step >= config.max_steps else "time"
    return TrainReport(
        stopped="interrupt" if interrupted.is_set() else done,
        step=progress.step,
        skipped=state.guard.num_refused,
        samples=progress.samples,
        seconds=progress.seconds,
        metrics=row,
        model=model,
        checkpoint=checkpoint,
        rank=parallel.rank(),
    )


def write_row(
    window: Window, state: RunState, log: RunLog | SilentLog, *, seconds_left: float | None
) -> dict[str, float]:
    """Log the means of a window and return them."""
    row = window.row() | {"skipped": float(state.guard.num_refused)}
    log.write(state.progress.step, row, seconds_left=seconds_left)
    state.progress.best_loss = min(row["loss"], state.progress.best_loss or row["loss"])
    return row


def agree(over: bool, *timers: Timer) -> list[bool]:
    """Whether to stop, and which timers ring, equal on all ranks.

    All stop when one is out of time or interrupted; of the timers only those of the first count.
    """
    rings = [parallel.rank() == 0 and timer.rings() for timer in timers]
    return parallel.any_rank([over, *rings])


@contextmanager
def open_log(config: RunConfig, *, out: Path, first_step: int) -> Iterator[RunLog | SilentLog]:
    """The first process writes metrics and talks; the others keep silent."""
    if parallel.rank() != 0:
        yield SilentLog()
        return
    with RunLog(out, first_step=first_step, max_steps=config.max_steps) as log:
        yield log


def train_step(state: RunState, config: RunConfig) -> StepResult:
    """Draw `accumulation` micro-batches, take one optimiser step, or skip it if the guard says so.

    Raises:
        MogaoError: Too many steps in a row were refused.
    """
    task, progress, result = state.task, state.progress, StepResult()
    started = time.monotonic()
    # All micro-batches are drawn first, so that the normalisers span them.
    batches = [task.next_batch() for _ in range(config.accumulation)]
    normalisers = global_weights([task.weights(batch) for batch in batches])
    result.wait_seconds = time.monotonic() - started

    state.optimiser.zero_grad()
    for batch in batches:
        if not any(normalisers.values()):
            result.loss = float("nan")  # nothing carries loss: the guard counts and skips it
            break
        loss, metrics = task.losses(batch, normalisers, state.generator)
        loss.backward()
        result.loss += float(loss.detach())
        for name, value in metrics.items():
            result.metrics[name] = result.metrics.get(name, torch.zeros_like(value)) + value
        result.counts.update(task.tokens(batch))
    join_ranks(result)
    parallel.sum_gradients(state.optimiser.trainable.values())
    result.norm = state.optimiser.clip()
    result.scale = learning_rate_scale(progress.step, config.optim, max_steps=config.max_steps)

    progress.step += 1
    progress.samples += result.counts["samples"]
    progress.tokens += result.counts["tokens"]
    progress.flops += result.counts["flops"]
    result.accepted = state.guard.accepts(loss=result.loss, norm=result.norm, step=progress.step)
    if result.accepted:
        state.optimiser.step(result.scale)
        state.average.update()
    result.seconds = time.monotonic() - started
    progress.seconds += result.seconds
    return result


def global_weights(weights: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sum loss weights by name over the micro-batches of a step and over ranks.

    Source: arXiv 2505.05472 (global weighted loss).
    """
    names = sorted({name for part in weights for name in part})
    return parallel.sum_values(
        {name: sum(part.get(name, 0.0) for part in weights) for name in names}
    )


def join_ranks(result: StepResult) -> None:
    """Sum losses, metrics and counts over ranks; each is a contribution to a global figure."""
    if parallel.num_ranks() == 1:
        return
    metrics = parallel.sum_values({name: float(value) for name, value in result.metrics.items()})
    counts = parallel.sum_values({name: float(value) for name, value in result.counts.items()})
    result.loss = parallel.sum_values({"loss": result.loss})["loss"]
    result.metrics = {name: torch.tensor(value) for name, value in metrics.items()}
    result.counts = Counter({name: int(value) for name, value in counts.items()})


def write_samples(state: RunState, folder: Path, *, seed: int) -> None:
    """Draw samples with averaged weights and a generator of their own: training is not touched."""
    if parallel.rank() != 0:
        return
    generator = torch.Generator(state.device).manual_seed(seed)
    with state.averaged():
        state.task.write_samples(folder, state.progress.step, generator)


class Clock:
    """Time limit of a process."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + minutes * 60

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the limit; None where there is none."""
        return None if self._end is None else self._end - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the limit has passed."""
        return self._end is not None and time.monotonic() >= self._end


class Timer:
    """Rings once per period; a period of 0 never rings."""

    def __init__(self, minutes: float) -> None:
        self._seconds = minutes * 60
        self._last = time.monotonic()

    def rings(self) -> bool:
        """Whether a period has passed since it last rang."""
        if not self._seconds or time.monotonic() - self._last < self._seconds:
            return False
        self._last = time.monotonic()
        return True


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag, so that the step is finished; a second one interrupts."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(_number: int, _frame: FrameType | None) -> None:
        flag.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
