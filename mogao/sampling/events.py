"""What a session tells while it generates.

In: nothing. Out: frozen values that the CLI, the server and the tests read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mogao.sampling.image import RandomStep
from mogao.sequence import ImageSegment, Pixels

Reason = Literal["end", "stop", "max_tokens", "max_images", "max_context", "max_seconds"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Whole characters that the model has just written, at least one.

    Attributes:
        text: The characters.
        log_probs: Of each token that made them, where the text settings ask for it. Where a stop
            string cut the text, also of tokens behind its first character, which do not stand.
    """

    text: str
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageStarted:
    """A picture was opened.

    Attributes:
        index: Number of the picture in this stream, from 0.
        height: Pixels.
        width: Pixels.
        log_prob: Of the token that opened it, where the model chose it and the text settings ask.
    """

    index: int
    height: int
    width: int
    log_prob: float | None = None


@dataclass(frozen=True, slots=True)
class ImageStep:
    """One interval of the schedule is done.

    Attributes:
        index: Number of the picture in this stream, from 0.
        step: The interval, from 0.
        num_steps: Intervals of the schedule.
        preview: What the picture will roughly be, where previews are on and it is their turn.
        draw: How the stochastic sampler came to these latents: mean, deviation, log-probability.
            Its tensors are of inference mode: clone them before a gradient is to flow.
    """

    index: int
    step: int
    num_steps: int
    preview: Pixels | None = field(default=None, compare=False)
    draw: RandomStep | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class ImageFinished:
    """A picture is decoded and belongs to the document.

    Attributes:
        index: Number of the picture in this stream, from 0.
        image: The picture.
        evaluations: Network evaluations that it took, every guidance branch counted.
        seconds: Duration from its first denoise step to its pixels.
    """

    index: int
    image: ImageSegment
    evaluations: int
    seconds: float

    @property
    def pixels(self) -> Pixels:
        """RGB bytes of the picture."""
        return self.image.pixels


@dataclass(frozen=True, slots=True)
class Finished:
    """The stream is over; always the last event.

    Attributes:
        reason: `end`: the model closed its turn; `stop`: it wrote a stop string; the others name
            the limit that was met.
        text_tokens: Text tokens written by the model.
        images: Pictures drawn.
        log_prob: Of the token that ended the turn, where the text settings ask for it.
    """

    reason: Reason
    text_tokens: int
    images: int
    log_prob: float | None = None


Event = TextDelta | ImageStarted | ImageStep | ImageFinished | Finished
