"""Keys and values of what a context has read, preallocated, in two planes.

In: keys and values of committed runs, layer by layer. Out: views of them. Noisy tokens never enter.
A fork shares what was committed, without a copy. Plane TEXT holds text and understanding tokens,
plane CLEAN the latents of finished pictures, so that text decoding never touches latents; the mask
rule says which planes a query kind reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
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


class Slab:
    """Rows of one plane in one piece of memory; one cache writes it, its forks read it.

    Attributes:
        rows: Keys and values [2, layers, kv_heads, capacity, head_dim].
        shared: Rows at the front that a fork may read: they never change again.
    """

    __slots__ = ("__weakref__", "rows", "shared")

    def __init__(self, rows: Float[Tensor, "2 layers kv_heads rows head_dim"]) -> None:
        self.rows = rows
        self.shared = 0

    @property
    def bytes(self) -> int:
        """Memory held, free room included."""
        return self.rows.numel() * self.rows.element_size()

    def grow(self, needed: int, *, used: int) -> None:
        """Make room for `needed` rows; the first `used` keep what they hold."""
        capacity = self.rows.shape[3]
        if needed <= capacity:
            return
        blocks = -(-max(needed, 2 * capacity) // BLOCK_TOKENS)
        shape = self.rows.shape
        new = self.rows.new_empty((*shape[:3], blocks * BLOCK_TOKENS, shape[4]))
        new[:, :, :, :used] = self.rows[:, :, :, :used]
        self.rows = new


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of a plane: rows [0, count) of a slab, from token `first` on."""

    slab: Slab
    first: int
    count: int


class KVCache:
    """Keys and values of one context: per plane a few slabs, of which the last one grows.

    Rows are written behind `lengths` and count only after `advance`, so an interrupted step leaves
    no trace. A fork reads the slabs of its parent and writes its own; either may then write, cut
    and write again without the other noticing.

    Attributes:
        lengths: Committed tokens of each plane.
        parts: Of each plane, in order.
        own: The slab of each plane that this cache writes, its last part; None before it has one.
    """

    def __init__(
        self, config: TransformerConfig, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.lengths = [0 for _ in Plane]
        self._shape = (2, config.num_layers, config.num_kv_heads, BLOCK_TOKENS, config.head_dim)
        self._empty = torch.empty(0, dtype=dtype, device=device)
        self.parts: list[list[Part]] = [[] for _ in Plane]
        self.own: list[Slab | None] = [None for _ in Plane]

    @property
    def slabs(self) -> list[Slab]:
        """All memory that is held, what forks share included."""
        held = [part.slab for parts in self.parts for part in parts]
        return list({id(slab): slab for slab in [*held, *filter(None, self.own)]}.values())

    @property
    def bytes(self) -> int:
        """Memory of all slabs."""
        return sum(slab.bytes for slab in self.slabs)

    @property
    def dtype(self) -> torch.dtype:
        """Type of keys and values."""
        return self._empty.dtype

    def reserve(self, plane: Plane, num_tokens: int) -> None:
        """Make room for `num_tokens` more rows."""
        length, slab = self.lengths[plane], self.own[plane]
        first = self._first_own(plane)
        if slab is None or length - first < slab.shared:
            slab, first = Slab(self._empty.new_empty(self._shape)), length
            self.own[plane] = slab
            self.parts[plane].append(Part(slab, first, 0))
        slab.grow(length - first + num_tokens, used=length - first)

    def write(self, layer: int, plane: Plane, *, keys: NewKeys, values: NewKeys) -> None:
        """Write rows of one layer behind the committed ones; room must be reserved."""
        slab = self.own[plane]
        assert slab is not None, "reserve room first"
        start = self.lengths[plane] - self._first_own(plane)
        rows = slab.rows[:, layer, :, start : start + keys.shape[0]]
        rows[0].copy_(keys.transpose(0, 1))
        rows[1].copy_(values.transpose(0, 1))

    def advance(self, plane: Plane, num_tokens: int) -> None:
        """Commit the rows that all layers have written."""
        last = self.parts[plane][-1]
        self.parts[plane][-1] = replace(last, count=last.count + num_tokens)
        self.lengths[plane] += num_tokens

    def read(
        self, layer: int, plane: Plane, *, start: int, stop: int
    ) -> list[Float[Tensor, "2 kv_heads rows head_dim"]]:
        """Return keys and values of a range of rows as views, one per slab that holds some.

        Rows behind the committed ones, written but not yet counted, may be asked for too.
        """
        parts = self.parts[plane]
        ends = [*(part.first for part in parts[1:]), stop]
        pieces = []
        for part, behind in zip(parts, ends, strict=False):
            end = min(stop, behind)
            if end > max(start, part.first):
                rows = slice(max(start, part.first) - part.first, end - part.first)
                pieces.append(part.slab.rows[:, layer, :, rows])
        return pieces

    def committed(self, plane: Plane) -> Float[Tensor, "2 layers kv_heads rows head_dim"]:
        """Return all committed keys and values of a plane; a view where one slab holds them."""
        parts = [part for part in self.parts[plane] if part.count]
        if not parts:
            return self._empty.new_empty((*self._shape[:3], 0, self._shape[4]))
        pieces = [part.slab.rows[:, :, :, : part.count] for part in parts]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=3)

    def truncate(self, lengths: Sequence[int]) -> None:
        """Forget what lies behind `lengths`.

        Raises:
            ValueError: A length is negative or beyond what is committed.
        """
        if any(not 0 <= new <= old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot cut a cache of {self.lengths} tokens to {list(lengths)}")
        for plane, length in zip(Plane, lengths, strict=True):
            kept = _cut(self.parts[plane], length)
            if self.own[plane] is not None and (not kept or kept[-1].slab is not self.own[plane]):
                self.own[plane] = None
            self.parts[plane] = kept
        self.lengths = list(lengths)

    def fork(self, lengths: Sequence[int] | None = None) -> KVCache:
        """Return a cache that begins with the first `lengths` tokens of this one, without a copy.

        Raises:
            ValueError: A length is negative or beyond what is committed.
        """
        other = copy(self)
        other.lengths = list(self.lengths)
        other.parts = [list(parts) for parts in self.parts]
        other.own = [None for _ in Plane]
        other.truncate(self.lengths if lengths is None else lengths)
        for part in (part for parts in other.parts for part in parts):
            part.slab.shared = max(part.slab.shared, part.count)
        return other

    def _first_own(self, plane: Plane) -> int:
        """Token of the first row of the slab that is written."""
        parts = self.parts[plane]
        return parts[-1].first if parts and parts[-1].slab is self.own[plane] else 0


def _cut(parts: Sequence[Part], length: int) -> list[Part]:
    """The parts of the first `length` tokens."""
    return [
        replace(part, count=min(part.count, length - part.first))
        for part in parts
        if part.first < length
    ]


def held_bytes(caches: Iterable[KVCache]) -> int:
    """Return the memory of several caches; what they share counts once."""
    slabs = {id(slab): slab for cache in caches for slab in cache.slabs}
    return sum(slab.bytes for slab in slabs.values())
