"""What a benchmark is: items, where their outputs lie on the disk, and a rule that scores them.

In: records of a benchmark. Out: items to be taken by any model, rows of scores, a table. Making
outputs and scoring them are two stages with a folder between them, so what another program made
can be scored without a model of ours. No benchmark runs a model; no rule knows who is scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.sequence import InterleavedSequence, Pixels

Want = Literal["text", "picture", "document"]
LIKELIHOODS: Literal["likelihoods"] = "likelihoods"
"""What a turn may want besides: how likely each of its choices is as the answer. The output is the
JSON list `[{"nats": ..., "tokens": ...}, ...]` of negative log-probabilities and numbers of tokens,
the end of the answer included."""
Made = Sequence[str | Pixels]
"""Texts and pictures that a model made of one item so far."""


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What comes behind a model's first answer.

    Attributes:
        want: What the model is to make now.
        given: Makes what it is given, from all that it has made of the item so far.
        is_fresh: Whether this begins a new document, so that nothing before is seen.
        choices: What the likelihoods are of, where `LIKELIHOODS` are wanted.
    """

    want: Want | Literal["likelihoods"]
    given: Callable[[Made], InterleavedSequence]
    is_fresh: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One task for a model.

    Attributes:
        id: Unique in its benchmark; letters, digits, "_", "-", "." (it names files).
        group: What it counts for, such as a tag or a category.
        prompt: What the model is told, in words; for reports and for other programs.
        want: A short text, one picture, or text and pictures as the model likes.
        given: Makes the document that the model goes on with.
        truth: What the rule needs, as JSON values.
        num: Outputs wanted, each with a seed of its own.
        size: (height, width) of the pictures in pixels; None leaves it to the model.
        turns: What follows, one after another.
        settings: Changes of the generation settings, such as {"image.num_steps": 12}.
        whole: Name of what has a score only as a whole, such as a question in all rotations of its
            options; empty for an item that stands alone.
    """

    id: str
    group: str
    prompt: str
    want: Want
    given: Callable[[], InterleavedSequence]
    truth: Mapping[str, Any] = field(default_factory=dict)
    num: int = 1
    size: tuple[int, int] | None = None
    turns: tuple[Turn, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """What a model made of an item: texts and picture files in reading order."""

    parts: tuple[str | Path, ...]

    @property
    def text(self) -> str:
        """All texts, joined by line breaks."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def pictures(self) -> tuple[Path, ...]:
        """All picture files."""
        return tuple(part for part in self.parts if isinstance(part, Path))


@dataclass(frozen=True, slots=True)
class Row:
    """What a rule says about one item.

    Attributes:
        id: Of the item.
        group: Of the item.
        values: Named numbers that the table averages. One name has one range in a benchmark; where
            several outputs were wanted, each value is the mean over them.
        failures: What could not be read: an answer without a letter, a judge without a number. A
            failed value is missing from `values` or counts as wrong, as the protocol says.
        facts: JSON values for the reader of `items.jsonl`.
        unit: What the row shares with others that stand or fall with it, such as its document or
            its picture: resamples draw units. Empty where the row is its own.
    """

    id: str
    group: str
    values: Mapping[str, float]
    failures: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""


@runtime_checkable
class Benchmark(Protocol):
    """A set of items with its rules.

    Attributes:
        name: As on the command line.
        protocols: Ways to score that public scripts follow, the usual one first; the name of the
            one that was used stands beside each score.
    """

    name: str
    protocols: tuple[str, ...]

    def items(self) -> Sequence[Item]:
        """Return all items, always in the same order."""
        ...

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where output k of an item may lie in a folder of pictures, best first."""
        ...

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Apply the rule to the outputs of one item, at least one.

        Raises:
            ConfigError: A tool that the rule needs is missing.
        """
        ...

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the scores by name, the overall one first."""
        ...


def picture_places(item: Item, k: int) -> list[str]:
    """Where pictures lie that `mogao sample` or most other programs made."""
    return [f"{item.id}/{k}.png", f"{item.id}/{k:04d}.png", *([] if k else [f"{item.id}.png"])]
