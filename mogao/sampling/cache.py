"""Keys and values of what a context has read, preallocated, in two planes.

In: keys and values of committed runs, layer by layer. Out: views of them. Noisy tokens never enter.
Plane TEXT holds text and understanding tokens, plane CLEAN the latents of finished pictures, so
that text decoding never touches latents; the mask rule says which planes a query kind reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from jaxtyping import Float
from torch import Tensor

from mogao.config import TransformerConfig
from mogao.errors import ConfigError
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule

BLOCK_TOKENS = 256
NewKeys = Float[Tensor, "tokens kv_heads head_dim"]


class Plane(IntEnum):
    """A part of the cache that is read as a whole or not at all."""

    TEXT = 0
    CLEAN = 1


PLANE_OF_KIND = {
    TokenKind.TEXT: Plane.TEXT,
    TokenKind.VIT: Plane.TEXT,
    TokenKind.CLEAN: Plane.CLEAN,
}


def planes_read(rule: MaskRule, kind: TokenKind) -> frozenset[Plane]:
    """Return the planes that hold what a query kind sees of earlier segments.

    Raises:
        ConfigError: The rule lets the kind see only a part of a plane, or noisy tokens.
    """
    seen = set(rule.reads(kind))
    planes = {PLANE_OF_KIND[key] for key in seen if key in PLANE_OF_KIND}
    if seen != {key for key, plane in PLANE_OF_KIND.items() if plane in planes}:
        names = sorted(key.name.lower() for key in seen)
        raise ConfigError(
            f"visibility.earlier.{kind.name.lower()} is {names}; a cache needs text and vit "
            "together, clean apart, and never noisy"
        )
    return frozenset(planes)


class KVCache:
    """Keys and values of one context; grows by doubling.

    Rows are written behind `lengths` and count only after `advance`, so an interrupted step leaves
    no trace.

    Attributes:
        lengths: Committed tokens of each plane.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        dtype: torch.dtype,
        device: torch.device,
        capacity: int = BLOCK_TOKENS,
    ) -> None:
        self.lengths = [0 for _ in Plane]
        shape = (2, config.num_layers, config.num_kv_heads, capacity, config.head_dim)
        first = torch.empty(shape, dtype=dtype, device=device)
        # Latents are often never needed: their plane gets memory with its first picture.
        self._planes = [first, first.new_empty((*shape[:3], 0, shape[4]))]

    @property
    def bytes(self) -> int:
        """Memory held, free room included."""
        return sum(plane.numel() * plane.element_size() for plane in self._planes)

    def reserve(self, plane: Plane, num_tokens: int) -> None:
        """Make room for `num_tokens` more rows."""
        old = self._planes[plane]
        needed, capacity = self.lengths[plane] + num_tokens, old.shape[3]
        if needed > capacity:
            blocks = -(-max(needed, 2 * capacity) // BLOCK_TOKENS)
            new = old.new_empty((*old.shape[:3], blocks * BLOCK_TOKENS, old.shape[4]))
            used = self.lengths[plane]
            new[:, :, :, :used] = old[:, :, :, :used]
            self._planes[plane] = new

    def write(self, layer: int, plane: Plane, *, keys: NewKeys, values: NewKeys) -> None:
        """Write rows of one layer behind the committed ones; room must be reserved."""
        start = self.lengths[plane]
        rows = self._planes[plane][:, layer, :, start : start + keys.shape[0]]
        rows[0].copy_(keys.transpose(0, 1))
        rows[1].copy_(values.transpose(0, 1))

    def advance(self, plane: Plane, num_tokens: int) -> None:
        """Commit the rows that all layers have written."""
        self.lengths[plane] += num_tokens

    def read(
        self, layer: int, plane: Plane, *, start: int, stop: int
    ) -> Float[Tensor, "2 kv_heads rows head_dim"]:
        """Return keys and values of a range of rows, written ones included, as a view."""
        return self._planes[plane][:, layer, :, start:stop]

    def committed(self, plane: Plane) -> Float[Tensor, "2 layers kv_heads rows head_dim"]:
        """Return all committed keys and values of a plane, as a view."""
        return self._planes[plane][:, :, :, : self.lengths[plane]]

    def truncate(self, lengths: Sequence[int]) -> None:
        """Forget what lies behind `lengths`.

        Raises:
            ValueError: A length is negative or beyond what is committed.
        """
        if any(not 0 <= new <= old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot cut a cache of {self.lengths} tokens to {list(lengths)}")
        self.lengths = list(lengths)

    def clone(self) -> KVCache:
        """Return an independent copy."""
        copy = object.__new__(KVCache)
        copy.lengths = list(self.lengths)
        copy._planes = [plane.clone() for plane in self._planes]
        return copy
