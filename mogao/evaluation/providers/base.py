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
        """Return one of GenEval's ten colour names."""
        ...


@runtime_checkable
class VisualQuestions(Protocol):
    """Answers a question about one picture."""

    name: str

    def answer(self, pixels: Pixels, question: str) -> str:
        """Return a short answer."""
        ...

    def probability_of_yes(self, pixels: Pixels, question: str) -> float:
        """Return the probability of "yes", in [0, 1]."""
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
        """Name of each tool that is there, for the results."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            kind: [one.name for one in tool] if isinstance(tool, tuple) else tool.name
            for kind, tool in found.items()
            if tool
        }
