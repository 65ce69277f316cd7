"""What the verbs that run a model share: the model with its settings, and replies.

In: option values as typed. Out: a `Context` from which sessions are made, and events turned into
bars and text on standard error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mogao import config as configs
from mogao.commands.output import printable, progress_bar
from mogao.config import GenerationConfig
from mogao.errors import ConfigError, RequestError
from mogao.model.storage import fingerprint
from mogao.pipeline import Mogao, load_generation
from mogao.provenance import provenance
from mogao.sampling.engine import Engine
from mogao.sampling.events import (
    Finished,
    ImageFinished,
    ImageStarted,
    ImageStep,
    TextDelta,
)
from mogao.sampling.session import Session


@dataclass(frozen=True, slots=True)
class Context:
    """A loaded model and how it is to be used.

    Attributes:
        model: The model.
        name: What the user called it.
        generation: Its defaults with the changes of `--set`.
        seed: Seed of the first session.
    """

    model: Mogao
    name: str
    generation: GenerationConfig
    seed: int

    def session(self, seed: int | None = None) -> Session:
        """A fresh session; `seed` replaces the seed of the command line."""
        return self.model.session(
            seed=self.seed if seed is None else seed, generation=self.generation
        )

    def engine(self) -> Engine:
        """An engine that runs many sessions together; close it after use."""
        return Engine(self.model.parts, generation=self.generation)

    @property
    def dtype(self) -> str:
        """Compute type of the model, such as "bfloat16"."""
        return str(self.model.dtype).removeprefix("torch.")

    def provenance(self) -> dict[str, Any]:
        """The keys that every result carries, with the model's compute type."""
        return provenance(self.dtype)

    def settings(self) -> dict[str, Any]:
        """What decides a result, as JSON values: model, type, seed, generation settings."""
        folder = self.model.folder
        return {
            "model": self.name,
            "weights": None if folder is None else fingerprint(folder),
            "dtype": self.dtype,
            "seed": self.seed,
            "generation": self.generation.model_dump(mode="json"),
        }


def open_context(
    name: str, *, dtype: str, seed: int, settings: Sequence[str] | None = None
) -> Context:
    """Load a model and apply `--set` changes to its generation settings.

    Raises:
        ConfigError: A setting or the dtype is unknown or out of bounds.
        CheckpointError: The model is missing or not valid.
    """
    defaults = load_generation(name).model_dump(mode="json")
    data = configs.override(defaults, settings or [])
    generation = configs.parse(GenerationConfig, data, where="--set")
    model = Mogao.from_pretrained(name, dtype=dtype, runtime=generation.runtime)
    return Context(model=model, name=name, generation=generation, seed=seed)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read `WxH` as (height, width) in pixels.

    Raises:
        ConfigError: The text is not two numbers of which each is a positive multiple of 16.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    sides = (int(match[2]), int(match[1])) if match else (0, 0)
    if min(sides) < 1 or any(side % 16 for side in sides):
        raise ConfigError(f"--size {text!r} must look like 128x96, both multiples of 16")
    return sides


def require_text(text: str, *, what: str) -> str:
    """Return the text when there is something in it.

    Raises:
        RequestError: It is empty or only white space.
    """
    if not text.strip():
        raise RequestError(f"{what} is empty: write what is to be done")
    return text


class Show:
    """Shows events while they come: text as it is written, bars for pictures.

    Args:
        console: Where to show them.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.is_inside_line = False

    def __call__(self, event: Any) -> None:
        """Show one event."""
        match event:
            case TextDelta(text=text):
                self.console.print(printable(text), end="", markup=False, emoji=False)
                self.is_inside_line = not text.endswith("\n")
            case ImageStarted(index=index):
                self.close()
                self.progress = progress_bar(self.console)
                self.progress.start()
                self.progress.add_task(f"picture {index + 1}", total=None)
            case ImageStep(step=step, num_steps=num_steps) if self.progress is not None:
                task = self.progress.task_ids[0]
                self.progress.update(task, completed=step + 1, total=num_steps)
            case ImageFinished() | Finished():
                self.close()

    def close(self) -> None:
        """End a line or a bar that is still open, as after an interruption."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
        if self.is_inside_line:
            self.console.print()
            self.is_inside_line = False
