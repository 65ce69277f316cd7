"""The questions that rules may ask about pictures, and the set of those who answer them.

In: pixels and words. Out: boxes, colours, probabilities, texts, vectors. Each provider has a name,
which is stored beside every score that rests on it. Rules know these protocols and nothing of who
stands behind: an endpoint, a local model, the world's own truth, or a file of earlier answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from mogao.errors import ConfigError
from mogao.sequence import Pixels


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing that a detector found.

    Attributes:
        name: Class name.
        box: Left, top, right, bottom in pixels.
        score: Confidence in [0, 1].
    """

    name: str
    box: tuple[float, float, float, float]
    score: float = 1.0


@runtime_checkable
class Detector(Protocol):
    """Finds things of known classes."""

    name: str

    def detect(self, pixels: Pixels) -> list[Detection]:
        """Return what a picture shows, in any order."""
        ...


@runtime_checkable
class ColourReader(Protocol):
    """Says which of some colours a detected thing has."""

    name: str

    def colour(self, pixels: Pixels, detection: Detection) -> str:
        """Return one of GenEval's ten colour names, or "" where nothing is seen."""
        ...


@dataclass(frozen=True, slots=True)
class YesNoProbabilities:
    """How probable "yes" and "no" are as the first word of an answer, in any case.

    Where only the likeliest tokens are known, a word that is not among them has 0; it is at most
    as probable as the last of them.

    Attributes:
        yes: Probability in [0, 1].
        no: The same; both and all other words together make 1.
    """

    yes: float
    no: float

    @property
    def share(self) -> float:
        """The part of "yes" in both, 0 where both have 0."""
        return self.yes / (self.yes + self.no) if self.yes else 0.0

    @property
    def failures(self) -> tuple[str, ...]:
        """One text where neither word is likely, so that the numbers say next to nothing."""
        return () if self.yes or self.no else ("neither yes nor no is likely",)


@runtime_checkable
class VisualQuestions(Protocol):
    """Answers yes/no questions about one picture.

    A chat model is told to answer with one word, unless the question does so itself.
    """

    name: str

    def answer(self, pixels: Pixels, question: str) -> str:
        """Return the answer as it was given; whether it is a yes is for the rule to say."""
        ...

    def yes_no_probabilities(self, pixels: Pixels, question: str) -> YesNoProbabilities:
        """Return how probable both answers are."""
        ...


@runtime_checkable
class ChatJudge(Protocol):
    """A language model that may look at pictures."""

    name: str

    def ask(self, text: str, *, pictures: Sequence[Pixels] = ()) -> str:
        """Return its reply to one message."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns pictures into vectors whose cosine says how alike they are."""

    name: str

    def embed(self, pictures: Sequence[Pixels]) -> Float32[np.ndarray, "pictures features"]:
        """Return one vector a picture, of any length."""
        ...


@runtime_checkable
class TextReader(Protocol):
    """Reads the text in a picture."""

    name: str

    def read(self, pixels: Pixels) -> list[str]:
        """Return the words or lines, in reading order."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """Who answers the questions of the rules; what is None is not there."""

    detector: Detector | None = None
    colours: ColourReader | None = None
    questions: VisualQuestions | None = None
    judge: ChatJudge | None = None
    embedders: tuple[Embedder, ...] = ()
    text: TextReader | None = None

    def need(self, kind: str) -> Any:
        """Return a tool.

        Raises:
            ConfigError: It is not there.
        """
        found = getattr(self, kind)
        if not found:
            raise ConfigError(
                f"this benchmark needs a tool for {kind!r}; name one with --tool {kind}=..."
            )
        return found

    @property
    def names(self) -> dict[str, Any]:
        """Name of each tool that is there, for the results.

        Where a server says that another model answered than the one asked for (`served`), that
        name is added; so names are complete only after the last question.
        """
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            kind: [_full_name(one) for one in tool] if isinstance(tool, tuple) else _full_name(tool)
            for kind, tool in found.items()
            if tool
        }


def _full_name(tool: Any) -> str:
    served = sorted(getattr(tool, "served", ()))
    return f"{tool.name} (served by {', '.join(served)})" if served else tool.name
