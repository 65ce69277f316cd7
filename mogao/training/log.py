"""Metrics of a run: CSV, TensorBoard where it is installed, and progress in the terminal.

In: scalars of each step. Out: `metrics.csv`, `tensorboard/`, lines or a bar on standard error.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mogao.errors import CheckpointError
from mogao.files import atomic_write

QUIET = {
    "gradient_norm", "learning_rate_scale", "tokens_per_second", "data_wait_share",
    "padding_share", "skipped",
}  # fmt: skip
"""Columns of the table that the terminal does not show."""


class MetricTable:
    """A CSV file with one row per logged step, `step` first; it grows columns as they come."""

    def __init__(self, path: Path, *, after_step: int) -> None:
        """Continue a table; rows behind `after_step` belong to work that was not kept."""
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            self.rows = [row for row in rows if int(row["step"]) <= after_step]
        self.columns = list(self.rows[0]) if self.rows else []
        self._write_all()

    def add(self, step: int, row: Mapping[str, float]) -> None:
        """Append one row and put it on disk."""
        values = {"step": str(step)} | {name: f"{value:.6g}" for name, value in row.items()}
        self.rows.append(values)
        new = [name for name in values if name not in self.columns]
        self.columns += new
        if new:
            self._write_all()
            return
        with _writing(self.path), self.path.open("a", encoding="utf-8", newline="") as stream:
            csv.DictWriter(stream, self.columns).writerow(self.rows[-1])

    def _write_all(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        if self.columns:
            writer.writeheader()
        writer.writerows(self.rows)
        with _writing(self.path):
            atomic_write(self.path, text.getvalue())


@dataclass(slots=True)
class StepResult:
    """What one step did.

    Attributes:
        loss: Global weighted mean, losses joined.
        norm: Gradient norm before clipping.
        scale: Value of the learning-rate curve.
        accepted: Whether the guard let the update through.
        metrics: Means by name, detached.
        counts: Tokens, padding and samples.
        wait_seconds: Time spent on data.
        seconds: Time of the whole step.
    """

    loss: float = 0.0
    norm: float = 0.0
    scale: float = 0.0
    accepted: bool = False
    metrics: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wait_seconds: float = 0.0
    seconds: float = 0.0


class Window:
    """Means over the steps since the last logged row."""

    def __init__(self) -> None:
        self.results: list[StepResult] = []

    def add(self, result: StepResult) -> None:
        """Take one step."""
        self.results.append(result)

    def row(self) -> dict[str, float]:
        """Means, rates and shares; a refused step counts for rates only."""
        accepted = [result for result in self.results if result.accepted]
        counts = sum((result.counts for result in self.results), Counter[str]())
        seconds = sum(result.seconds for result in self.results)
        wait = sum(result.wait_seconds for result in self.results)
        names = dict.fromkeys(name for result in accepted for name in result.metrics)
        return {
            "loss": _mean([result.loss for result in accepted]),
            **{name: _mean([float(r.metrics[name]) for r in accepted if name in r.metrics])
               for name in names},
            "gradient_norm": _mean([result.norm for result in accepted]),
            "learning_rate_scale": self.results[-1].scale,
            "tokens_per_second": counts["tokens"] / seconds,
            "samples_per_second": counts["samples"] / seconds,
            "data_wait_share": wait / seconds,
            "padding_share": counts["padding"] / max(counts["tokens"] + counts["padding"], 1),
        }  # fmt: skip


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


class SilentLog:
    """What all ranks but the first write: nothing."""

    def say(self, text: str) -> None:
        """Drop a line."""

    def advance(self, step: int) -> None:
        """Drop a step."""

    def write(self, step: int, row: Mapping[str, float], *, seconds_left: float | None) -> None:
        """Drop a row."""


class RunLog:
    """Everything that a run tells: table, TensorBoard, terminal. A context manager."""

    def __init__(self, out: Path, *, first_step: int, max_steps: int) -> None:
        self.table = MetricTable(out / "metrics.csv", after_step=first_step)
        self.console = Console(stderr=True)
        self._max_steps = max_steps
        self._first_step = first_step
        self._started = time.monotonic()
        self._board = self._open_board(out / "tensorboard", first_step)
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            console=self.console,
        )
        self._bar_id = self._bar.add_task("", total=max_steps, completed=first_step)

    def __enter__(self) -> RunLog:  # noqa: PYI034 (beartype cannot check Self in a method)
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """Print one line above the progress."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._bar_id, completed=step)

    def write(self, step: int, row: Mapping[str, float], *, seconds_left: float | None) -> None:
        """Record one row of metrics.

        Args:
            step: Number of finished steps.
            row: Scalars by name.
            seconds_left: Until the run's time limit; None where it has none.
        """
        self.table.add(step, row)
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        text = self._describe(step, row, seconds_left)
        self._bar.update(self._bar_id, completed=step, description=text)
        if not self.console.is_terminal:
            self.say(f"step {step}/{self._max_steps}  {text}")

    def _describe(self, step: int, row: Mapping[str, float], seconds_left: float | None) -> str:
        elapsed = time.monotonic() - self._started
        by_steps = elapsed / max(step - self._first_step, 1) * (self._max_steps - step)
        left = by_steps if seconds_left is None else min(by_steps, seconds_left)
        values = [f"{name} {value:.4g}" for name, value in row.items() if name not in QUIET]
        return "  ".join([*values, f"left {_clock(left)}"])

    def _open_board(self, folder: Path, first_step: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("TensorBoard is not installed: metrics go to metrics.csv only")
            return None
        return SummaryWriter(str(folder), purge_step=first_step + 1)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}; free some space, then continue with --resume"
        ) from None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
