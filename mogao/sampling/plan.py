"""One run of the interleaved loop: what it may make, what it has made, and when it must stop.

In: the options of a call, checked against the limits. Out: limits that the next step would exceed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from mogao.config import GenerationConfig
from mogao.errors import RequestError
from mogao.sampling.events import Reason
from mogao.sampling.inputs import Size, check_size
from mogao.sampling.text import Grammar

# Why writing stopped: the model's end, a limit, or because a picture comes.
Stop = Reason | Literal["image"]


@dataclass(slots=True)
class Plan:
    """Options of one call, and its progress.

    Attributes:
        generation: Settings and limits.
        max_images: Most pictures; None takes the limit.
        max_tokens: Most text tokens; None takes the text settings.
        image_size: Size of every picture; None takes that of the last picture, else the default.
        force_image: The first thing is a picture.
        forbid_images: The model cannot open a picture.
        only_image: One picture and nothing else.
        grammar: Rule on the tokens of all texts.
        tags: Of the texts that are written; guidance can leave them out by tag.
        whole_texts: Nobody reads a text while it is written: it comes as one event.
        images: Pictures drawn.
        text_tokens: Text tokens written.
        end: When the call must end, on the monotonic clock.
    """

    generation: GenerationConfig
    max_images: int | None = None
    max_tokens: int | None = None
    image_size: Size | None = None
    force_image: bool = False
    forbid_images: bool = False
    only_image: bool = False
    grammar: Grammar | None = None
    tags: tuple[str, ...] = ()
    whole_texts: bool = False
    images: int = 0
    text_tokens: int = 0
    end: float | None = None

    def check(self, *, token_pixels: int, most_tokens: int | None = None) -> None:
        """Refuse options that cannot be served.

        Raises:
            RequestError: A limit or the size is not valid, the size exceeds
                `limits.max_output_pixels`, or a picture is forced and forbidden.
        """
        limit = self.generation.limits.max_images
        if self.force_image and self.forbid_images:
            raise RequestError("force_image and forbid_images exclude each other")
        if self.max_images is not None and not 0 <= self.max_images <= limit:
            raise RequestError(
                f"max_images is {self.max_images}; limits.max_images allows 0 to {limit}"
            )
        if self.max_tokens is not None and self.max_tokens < 0:
            raise RequestError(f"max_tokens is {self.max_tokens}; it must not be negative")
        default = (self.generation.image.height, self.generation.image.width)
        size = self.image_size or default
        check_size(size, token_pixels=token_pixels, most_tokens=most_tokens)
        if self.image_size is not None:
            self.size(None)

    def facts(self, defaults: GenerationConfig) -> dict[str, Any]:
        """Return what was asked for beside the defaults, as JSON values."""
        options: dict[str, Any] = {
            "max_images": self.max_images,
            "max_tokens": self.max_tokens,
            "image_size": None if self.image_size is None else list(self.image_size),
            "force_image": self.force_image or None,
            "forbid_images": self.forbid_images or None,
            "only_image": self.only_image or None,
            "tags": list(self.tags) or None,
            "grammar": None if self.grammar is None else type(self.grammar).__name__,
        }
        if self.generation != defaults:
            options["generation"] = self.generation.model_dump(mode="json")
        return {name: value for name, value in options.items() if value is not None}

    def start(self) -> None:
        """Start the clock of `limits.max_seconds`."""
        seconds = self.generation.limits.max_seconds
        self.end = None if seconds is None else time.monotonic() + seconds

    @property
    def is_late(self) -> bool:
        """Whether the time of the call is over."""
        return self.end is not None and time.monotonic() > self.end

    def size(self, last: Size | None) -> Size:
        """Return the size of the next picture, `last` being that of the picture before.

        Raises:
            RequestError: It exceeds `limits.max_output_pixels`.
        """
        default = (self.generation.image.height, self.generation.image.width)
        height, width = self.image_size or last or default
        most = self.generation.limits.max_output_pixels
        if height * width > most:
            raise RequestError(
                f"a picture of {height} x {width} pixels exceeds limits.max_output_pixels = {most}"
            )
        return height, width

    def text_limit(self, context_tokens: int) -> Stop | None:
        """Return the limit that one more text token would exceed."""
        settings = self.generation.text
        if self.text_tokens >= (
            settings.max_tokens if self.max_tokens is None else self.max_tokens
        ):
            return "max_tokens"
        if self.is_late:
            return "max_seconds"
        is_full = context_tokens >= self.generation.limits.max_context_tokens
        return "max_context" if is_full else None

    def picture_limit(self, context_tokens: int, *, picture_tokens: int) -> Stop:
        """Return the limit that a picture would exceed, "image" where there is none.

        Args:
            context_tokens: Tokens read so far.
            picture_tokens: Tokens that the picture adds, both copies and their boundaries.
        """
        limits = self.generation.limits
        if self.images >= (limits.max_images if self.max_images is None else self.max_images):
            return "max_images"
        if self.is_late:
            return "max_seconds"
        is_full = context_tokens + picture_tokens > limits.max_context_tokens
        return "max_context" if is_full else "image"
