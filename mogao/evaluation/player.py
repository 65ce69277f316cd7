"""Who takes a suite: something that draws, answers and tells when it is given items.

In: items. Out: pictures and texts. `SessionPlayer` is a Mogao, one session per item; whatever else
offers these three methods can be scored too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Protocol, TypeVar, runtime_checkable

import torch

from mogao.config import GenerationConfig
from mogao.data.world.scene import CANVAS, render
from mogao.evaluation.prompts import Item
from mogao.model.vae import Autoencoder, pixels_to_tensor, tensor_to_pixels
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.events import ImageFinished
from mogao.sampling.session import Session
from mogao.sequence import Pixels

MAX_STORY_IMAGES = 6
_SIZE = (CANVAS, CANVAS)
_BATCH = 16  # pictures that pass the autoencoder together
_ANSWER_TOKENS = 32
_STORY_TOKENS = 256

T = TypeVar("T")


@runtime_checkable
class Player(Protocol):
    """Takes items in batches; results come in the order of the items."""

    def draw(self, items: Sequence[Item]) -> Iterator[Pixels]:
        """One picture per prompt, or per source picture and instruction."""

    def answer(self, items: Sequence[Item]) -> Iterator[str]:
        """One short text per question about a source picture."""

    def tell(self, items: Sequence[Item]) -> Iterator[list[Pixels]]:
        """The pictures of a story per request, opened by the player itself."""


class SessionPlayer:
    """A Mogao as a player; the items of a call share its steps.

    Args:
        model: The model.
        generation: Settings; None takes the model's own.
        seed: Item number i of a call draws with seed + i.
    """

    def __init__(
        self, model: Mogao, *, generation: GenerationConfig | None = None, seed: int = 0
    ) -> None:
        self._model = model
        self._generation = generation
        self._seed = seed

    def draw(self, items: Sequence[Item]) -> Iterator[Pixels]:
        """Draw right behind the prompt, whether or not the model would open a picture there."""
        return self._play(items, lambda session: session.generate_image(size=_SIZE).pixels)

    def answer(self, items: Sequence[Item]) -> Iterator[str]:
        """Answer in text."""
        return self._play(items, lambda session: session.generate_text(max_tokens=_ANSWER_TOKENS))

    def tell(self, items: Sequence[Item]) -> Iterator[list[Pixels]]:
        """Let the model write and draw until it ends its turn."""
        return self._play(items, _story)

    def _play(self, items: Sequence[Item], take: Callable[[Session], T]) -> Iterator[T]:
        """Each item in a session of its own, all of them together."""
        generation = self._generation or self._model.generation
        with Engine(self._model.parts, generation=generation) as engine:
            jobs = (partial(_take, item, take) for item in items)
            yield from engine.map(jobs, seeds=count(self._seed))


def _take(item: Item, take: Callable[[Session], T], session: Session) -> T:
    """Give a session what the user gives, and take the result; picture prompts are documents."""
    if item.source is not None:
        session.extend(render(item.source), role="user")
    is_document = item.source is None and item.target is not None
    session.extend(item.prompt, role="model" if is_document else "user")
    return take(session)


def _story(session: Session) -> list[Pixels]:
    events = session.stream(max_images=MAX_STORY_IMAGES, max_tokens=_STORY_TOKENS, image_size=_SIZE)
    return [event.pixels for event in events if isinstance(event, ImageFinished)]


@torch.inference_mode()
def round_trip(autoencoder: Autoencoder, pictures: Sequence[Pixels]) -> list[Pixels]:
    """What is left of equally large pictures after encoding and decoding."""
    result: list[Pixels] = []
    for start in range(0, len(pictures), _BATCH):
        batch = pixels_to_tensor(pictures[start : start + _BATCH])
        batch = batch.to(next(autoencoder.parameters()).device)
        result += tensor_to_pixels(autoencoder.decode(autoencoder.encode(batch)))
    return result
