"""Clean latents of pictures, kept by content.

In: pictures and an encoder of fixed-size batches. Out: latent patches of each picture.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from mogao.sequence import ImageSegment, Pixels

Encode = Callable[[UInt8[Tensor, "images 3 height width"]], Float32[Tensor, "images tokens dim"]]

ENCODE_BATCH = 16
"""Pictures encoded at once; always this many, so that a latent never depends on its company."""


class LatentCache:
    """Encodes pictures once while memory lasts; the least recently used go first.

    Attributes:
        num_hits: Pictures answered from memory.
        num_misses: Pictures encoded.
    """

    def __init__(self, encode: Encode, *, max_bytes: int) -> None:
        self.num_hits = self.num_misses = 0
        self._encode = encode
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(self, images: Sequence[ImageSegment]) -> list[Float32[Tensor, "tokens dim"]]:
        """Return the latent patches of each picture, on the host."""
        if not self._max_bytes:
            return self._encode_all([image.pixels for image in images])
        keys = [_digest(image.pixels) for image in images]
        missing = {
            key: image.pixels
            for key, image in zip(keys, images, strict=True)
            if key not in self._known
        }
        self.num_hits += len(images) - len(missing)
        new = dict(zip(missing, self._encode_all(list(missing.values())), strict=True))
        found = [new[key] if key in new else self._known[key] for key in keys]
        for key, latent in new.items():
            self._known[key] = latent
            self._bytes += latent.numel() * latent.element_size()
        for key in keys:
            self._known.move_to_end(key)
        while self._bytes > self._max_bytes:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= oldest.numel() * oldest.element_size()
        return found

    def _encode_all(self, pictures: Sequence[Pixels]) -> list[Tensor]:
        self.num_misses += len(pictures)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, pixels in enumerate(pictures):
            by_size.setdefault(pixels.shape, []).append(index)
        latents: dict[int, Tensor] = {}
        for indices in by_size.values():
            for first in range(0, len(indices), ENCODE_BATCH):
                chunk = indices[first : first + ENCODE_BATCH]
                full = [*chunk, *[chunk[0]] * (ENCODE_BATCH - len(chunk))]
                stacked = np.stack([pictures[index] for index in full]).transpose(0, 3, 1, 2)
                encoded = self._encode(torch.from_numpy(np.ascontiguousarray(stacked)))
                for index, latent in zip(chunk, encoded.cpu(), strict=False):
                    latents[index] = latent.clone()
        return [latents[index] for index in range(len(pictures))]


def _digest(pixels: Pixels) -> bytes:
    data = np.ascontiguousarray(pixels)
    return hashlib.blake2b(data.data, digest_size=16, salt=str(pixels.shape[1]).encode()).digest()
