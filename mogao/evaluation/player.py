"""Who takes a benchmark: something that writes and draws when it is given items.

In: items, each with the number of an output. Out: texts and pictures. `SessionPlayer` is a Mogao,
one session per output, all of them together in one engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch

from mogao.config import EngineConfig, GenerationConfig, override, parse
from mogao.evaluation.benchmark import LIKELIHOODS, Item, Want
from mogao.evaluation.likelihood import likelihoods_of
from mogao.files import to_json
from mogao.model.vae import Autoencoder, pixels_to_tensor, tensor_to_pixels
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.events import ImageFinished, TextDelta
from mogao.sampling.inputs import Size
from mogao.sampling.session import Session
from mogao.sequence import InterleavedSequence, Pixels

Job = tuple[Item, int]
Made = tuple[str | Pixels, ...]
MAX_IMAGES = 6
"""Most pictures of one answer that is text and pictures."""
TEXT_TOKENS = 128
DOCUMENT_TOKENS = 256
_BATCH = 16  # pictures that pass the autoencoder together


@runtime_checkable
class Player(Protocol):
    """Makes outputs."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """Return what was made for each job, texts and pictures in reading order."""
        ...


class SessionPlayer:
    """A Mogao as a player; jobs share its steps, and no result depends on the others."""

    def __init__(
        self, model: Mogao, *, generation: GenerationConfig | None = None, seed: int = 0
    ) -> None:
        """Make a player.

        Args:
            model: The model.
            generation: Settings; None takes the model's own.
            seed: Of all draws: the seed of a session follows from it, the item and its number.
        """
        self._model = model
        self._generation = generation or model.generation
        self._seed = seed

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """Return what the model makes; see `Player`.

        Raises:
            ConfigError: A setting of an item is unknown or out of bounds.
        """
        steady = EngineConfig(steady=True)  # the same run twice gives the same files
        with Engine(self._model.parts, generation=self._generation, config=steady) as engine:
            work = (partial(_take, item, self._settings(item)) for item, _ in jobs)
            yield from engine.map(work, seeds=(seed_of(item, k, self._seed) for item, k in jobs))

    def _settings(self, item: Item) -> GenerationConfig:
        if not item.settings:
            return self._generation
        changes = [f"{key}={value}" for key, value in item.settings.items()]
        data = override(self._generation.model_dump(mode="json"), changes)
        return parse(GenerationConfig, data, where=f"settings of item {item.id}")


def seed_of(item: Item, k: int, seed: int) -> int:
    """Return the seed of output k of an item, whatever else is made."""
    digest = hashlib.blake2b(f"{seed}/{item.id}/{k}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def _take(item: Item, generation: GenerationConfig, session: Session) -> Made:
    """Go through the turns of an item."""
    session.generation = generation
    made = _answer(session, item.given(), want=item.want, size=item.size)
    for turn in item.turns:
        if turn.is_fresh:
            session.rewind(0)
        given = turn.given(made)
        if turn.want == LIKELIHOODS:
            made = (*made, _likelihoods(session, given, turn.choices))
        else:
            made += _answer(session, given, want=turn.want, size=item.size)
    return made


def _likelihoods(session: Session, given: InterleavedSequence, choices: Sequence[str]) -> str:
    session.extend(given)
    found = likelihoods_of(choices, session)
    return to_json([{"nats": -sum(one.log_probs), "tokens": len(one.log_probs)} for one in found])


def _answer(session: Session, given: InterleavedSequence, *, want: Want, size: Size | None) -> Made:
    session.extend(given)
    if want == "text":
        return (session.generate_text(max_tokens=TEXT_TOKENS),)
    if want == "picture":
        return (session.generate_image(size=size).pixels,)
    made: list[str | Pixels] = []
    for event in session.stream(max_images=MAX_IMAGES, max_tokens=DOCUMENT_TOKENS, image_size=size):
        if isinstance(event, ImageFinished):
            made.append(event.pixels)
        elif isinstance(event, TextDelta):
            if made and isinstance(made[-1], str):
                made[-1] += event.text
            else:
                made.append(event.text)
    return tuple(made)


@torch.inference_mode()
def round_trip(autoencoder: Autoencoder, pictures: Sequence[Pixels]) -> list[Pixels]:
    """What is left of equally large pictures after encoding and decoding."""
    result: list[Pixels] = []
    for start in range(0, len(pictures), _BATCH):
        batch = pixels_to_tensor(pictures[start : start + _BATCH])
        batch = batch.to(next(autoencoder.parameters()).device)
        result += tensor_to_pixels(autoencoder.decode(autoencoder.encode(batch)))
    return result
