"""What training draws from data: the source of a rank, and pictures of any source in batches.

In: a data config, any source of documents. Out: the pictures in them, alone or each with the text
of its document.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from mogao.config import AutoencoderTask, DataConfig
from mogao.data.mixture import Source, build_source
from mogao.errors import DataError
from mogao.model.vae import pixels_to_tensor
from mogao.sequence import InterleavedSequence, Pixels
from mogao.training import parallel

PictureBatch = list[Float32[Tensor, "_ 3 _ _"]]
"""Pictures of one micro-batch, one tensor per picture size."""

UNSEEN_SEED = 1_000_003  # added to the data seed: pictures that training does not draw
MAX_EMPTY_DOCUMENTS = 10_000


def own_source(config: DataConfig) -> Source:
    """Open the data for training: each rank gets documents that no other rank gets.

    Raises:
        DataError: The data cannot be read.
    """
    return build_source(config, rank=parallel.rank(), num_ranks=parallel.num_ranks())


@dataclass(frozen=True, slots=True)
class CaptionedPictures:
    """One micro-batch: pictures, and for each the text of its document."""

    pictures: list[Pixels]
    texts: list[str]


class PictureFeed:
    """Batches of pictures in which each picture returns `reuse` times, mirrored at random.

    Painting scenes costs as much as a fifth of a training step, so a batch holds one share of new
    pictures and the rest from earlier batches, `pool_images / reuse` pictures apart. The pool is a
    function of the source's position, so the state is a few integers and resuming is exact.
    """

    def __init__(self, source: Source, task: AutoencoderTask, *, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._reuse = min(task.reuse, task.batch_images)
        self._size = task.batch_images
        self._new = math.ceil(task.batch_images / self._reuse)
        # Batches between two uses of a picture.
        self._lag = max(1, task.pool_images // (self._reuse * self._new))
        self._step = 0
        self._pool: deque[tuple[dict[str, Any], list[Pixels]]] = deque(
            maxlen=self._lag * (self._reuse - 1) + 1
        )

    def next(self) -> PictureBatch:
        """Return the next batch.

        Raises:
            DataError: The source has no pictures.
        """
        self._draw()
        rng = np.random.default_rng([self._seed, self._step, parallel.rank()])
        found: list[Pixels] = []
        # Early on the lag is shorter, so that a young pool is used evenly too.
        newest = len(self._pool) - 1
        lag = min(self._lag, newest // max(1, self._reuse - 1))
        for use in range(self._reuse):
            found += self._pool[newest - use * lag][1]
        mirrored = rng.random(len(found)) < 0.5
        by_size: dict[tuple[int, ...], list[Pixels]] = {}
        for pixels, flip in list(zip(found, mirrored, strict=True))[: self._size]:
            by_size.setdefault(pixels.shape, []).append(pixels[:, ::-1] if flip else pixels)
        return [pixels_to_tensor(group) for group in by_size.values()]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches handed out and the source's position at the pool's start."""
        source = self._pool[0][0] if self._pool else self._source.state_dict()
        return {"step": self._step, "drawn": len(self._pool), "source": source}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly: draw the pool again.

        Raises:
            CheckpointError: The source refuses its state.
        """
        self._source.load_state_dict(state["source"])
        self._pool.clear()
        for _ in range(int(state["drawn"])):
            self._draw()
        self._step = int(state["step"])

    def _draw(self) -> None:
        before = self._source.state_dict()
        self._pool.append((before, draw_pictures(self._source, self._new)))
        self._step += 1


def draw_pictures(source: Source, count: int) -> list[Pixels]:
    """Return pictures of the next documents; what the last document has beyond `count` is lost.

    Raises:
        DataError: Thousands of documents in a row have no picture.
    """
    found: list[Pixels] = []
    empty = 0
    while len(found) < count:
        images = source.next().images
        empty = 0 if images else empty + 1
        if empty > MAX_EMPTY_DOCUMENTS:
            raise DataError(f"{empty} documents in a row have no picture, but pictures are needed")
        found += [image.pixels for image in images]
    return found[:count]


def draw_captioned(source: Source, count: int) -> CaptionedPictures:
    """Return the next documents that have exactly one picture and some text.

    Raises:
        DataError: Thousands of documents in a row do not.
    """
    chosen = list(zip(range(count), _captioned(source), strict=False))
    pictures = [document.images[0].pixels for _, document in chosen]
    return CaptionedPictures(pictures, [document.text for _, document in chosen])


def _captioned(source: Source) -> Iterator[InterleavedSequence]:
    passed = 0
    while True:
        document = source.next()
        if len(document.images) == 1 and document.text.strip():
            passed = 0
            yield document
        elif (passed := passed + 1) > MAX_EMPTY_DOCUMENTS:
            raise DataError(
                f"{passed} documents in a row have no single picture with text; the vision encoder "
                "learns from such pairs"
            )


def places_by_size(pictures: list[Pixels]) -> list[list[int]]:
    """Return the places of pictures of one size, for every size."""
    places: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        places.setdefault(picture.shape, []).append(index)
    return list(places.values())
