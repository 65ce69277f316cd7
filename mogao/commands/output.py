"""What every verb prints: progress on standard error, results on standard output.

In: results. Out: lines for people, or one JSON object on the last line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mogao.files import to_json

T = TypeVar("T")


def progress_bar(console: Console) -> Progress:
    """A bar with count and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def counted(items: Iterable[T], *, what: str, total: int, quiet: bool) -> Iterator[T]:
    """Go through items with a bar on standard error."""
    with progress_bar(Console(stderr=True, quiet=quiet)) as progress:
        yield from progress.track(items, total=total, description=what)


def finish(result: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a result: lines for people, or one JSON object as the last line of standard output."""
    for line in [to_json(result)] if as_json else lines:
        typer.echo(line)


def printable(text: str) -> str:
    """Text of a model without control characters, which a terminal would obey."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
