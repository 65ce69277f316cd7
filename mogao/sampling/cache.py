"""Keys and values of what a context has read, preallocated, in two planes.

In: keys and values of committed runs, layer by layer. Out: views of them. Tokens of a picture that
is being drawn never enter. A fork shares what was committed, without a copy. Plane TEXT holds text
and understanding tokens, plane CLEAN the latents of finished pictures (CLEAN tokens, or with a
noised history NOISY ones), so that text decoding never touches latents; the mask rule says which
planes a query kind reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from mogao.config import TransformerConfig
from mogao.errors import ConfigError
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.sampling.slabs import Slab, SlabPool

NewKeys = Float[Tensor, "tokens kv_heads head_dim"]


class Plane(IntEnum):
    """A part of the cache that is read as a whole or not at all."""

    TEXT = 0
    CLEAN = 1


PLANE_OF_KIND = {
    TokenKind.TEXT: Plane.TEXT,
    TokenKind.VIT: Plane.TEXT,
    TokenKind.CLEAN: Plane.CLEAN,
    TokenKind.NOISY: Plane.CLEAN,
}


@lru_cache(maxsize=64)
def planes_read(rule: MaskRule, kind: TokenKind) -> frozenset[Plane]:
    """Return the planes that hold what a query kind sees of earlier segments.

    Raises:
        ConfigError: The rule lets the kind see only one of text and vit, or clean and noisy tokens.
    """
    seen = set(rule.reads(kind))
    is_split = len(seen & {TokenKind.TEXT, TokenKind.VIT}) == 1
    if is_split or {TokenKind.CLEAN, TokenKind.NOISY} <= seen:
        names = sorted(key.name.lower() for key in seen)
        raise ConfigError(
            f"visibility.earlier.{kind.name.lower()} is {names}; a cache needs text and vit "
            "together, and of clean and noisy only one"
        )
    return frozenset(PLANE_OF_KIND[key] for key in seen)


def check_history(config: TransformerConfig) -> None:
    """Refuse tables by which training shows another copy of finished pictures than a cache holds.

    Raises:
        ConfigError: Something sees noisy tokens where the history is clean, or the other way round.
    """
    other = {"clean": "noisy", "noisy": "clean"}.get(config.history or "")
    for query in ("text", *config.layout.part_order):
        if other in config.visibility.earlier[query]:
            raise ConfigError(
                f"visibility.earlier.{query} names {other}, but with layout.part_order "
                f"{list(config.layout.part_order)} a finished picture is {config.history} to others"
            )


@dataclass(frozen=True, slots=True)
class Part:
    """A slab whose rows hold the tokens of a plane from `first` on, up to the next part."""

    slab: Slab
    first: int


class KVCache:
    """Keys and values of one context: per plane a few slabs, of which the last one grows.

    Rows are written behind `lengths` and count only after `advance`, so an interrupted step leaves
    no trace. A fork reads the slabs of its parent and writes its own; either may then write, cut
    and write again without the other noticing.

    Attributes:
        lengths: Committed tokens of each plane.
        parts: Of each plane, in order.
        owns_last: Whether the last part of each plane is this cache's to write.
    """

    def __init__(self, pool: SlabPool) -> None:
        self.lengths = [0 for _ in Plane]
        self.parts: list[list[Part]] = [[] for _ in Plane]
        self.owns_last = [False for _ in Plane]
        self._pool = pool

    @property
    def slabs(self) -> list[Slab]:
        """All memory that is held, what forks share included."""
        return [part.slab for parts in self.parts for part in parts]

    @property
    def bytes(self) -> int:
        """Memory of all slabs."""
        return sum(slab.bytes for slab in self.slabs)

    @property
    def dtype(self) -> torch.dtype:
        """Type of keys and values."""
        return self._pool.empty.dtype

    def reserve(self, plane: Plane, num_tokens: int) -> None:
        """Make room for `num_tokens` more rows."""
        length, parts = self.lengths[plane], self.parts[plane]
        if not self.owns_last[plane] or length - parts[-1].first < parts[-1].slab.shared:
            parts.append(Part(Slab(self._pool, num_tokens), length))
            self.owns_last[plane] = True
        used = length - parts[-1].first
        parts[-1].slab.grow(used + num_tokens, used=used)

    def write(self, layer: int, plane: Plane, *, keys: NewKeys, values: NewKeys) -> None:
        """Write rows of one layer behind the committed ones; room must be reserved."""
        last = self.parts[plane][-1]
        start = self.lengths[plane] - last.first
        rows = last.slab.rows[:, layer, :, start : start + keys.shape[0]]
        rows[0].copy_(keys.transpose(0, 1))
        rows[1].copy_(values.transpose(0, 1))

    def advance(self, plane: Plane, num_tokens: int) -> None:
        """Commit the rows that all layers have written."""
        self.lengths[plane] += num_tokens

    def read(
        self, layer: int, plane: Plane, *, start: int, stop: int
    ) -> list[Float[Tensor, "2 kv_heads rows head_dim"]]:
        """Return keys and values of a range of rows as views, one per slab that holds some.

        Rows behind the committed ones, written but not yet counted, may be asked for too.
        """
        return [
            slab.rows[:, layer, :, rows] for slab, rows in self.held(plane, start=start, stop=stop)
        ]

    def committed(self, plane: Plane) -> Float[Tensor, "2 layers kv_heads rows head_dim"]:
        """Return all committed keys and values of a plane; a view where one slab holds them."""
        held = self.held(plane, start=0, stop=self.lengths[plane])
        pieces = [slab.rows[:, :, :, rows] for slab, rows in held]
        if not pieces:
            return self._pool.no_rows()
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=3)

    def truncate(self, lengths: Sequence[int]) -> None:
        """Forget what lies behind `lengths`.

        Raises:
            ValueError: A length is negative or beyond what is committed.
        """
        if any(not 0 <= new <= old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot cut a cache of {self.lengths} tokens to {list(lengths)}")
        for plane, length in zip(Plane, lengths, strict=True):
            kept = [part for part in self.parts[plane] if part.first < length]
            self.owns_last[plane] &= len(kept) == len(self.parts[plane]) > 0
            self.parts[plane] = kept
        self.lengths = list(lengths)

    def fork(self, lengths: Sequence[int] | None = None) -> KVCache:
        """Return a cache that begins with the first `lengths` tokens of this one, without a copy.

        Raises:
            ValueError: A length is negative or beyond what is committed.
        """
        other = copy(self)
        other.parts = [list(parts) for parts in self.parts]
        other.owns_last = [False for _ in Plane]
        other.truncate(self.lengths if lengths is None else lengths)
        for plane in Plane:
            for slab, rows in other.held(plane, start=0, stop=other.lengths[plane]):
                slab.shared = max(slab.shared, rows.stop)
        return other

    def held(self, plane: Plane, *, start: int, stop: int) -> Iterator[tuple[Slab, slice]]:
        """Yield the slabs that hold a range of tokens, and where each holds them."""
        parts = self.parts[plane]
        behind = [*(part.first for part in parts[1:]), stop]
        for part, end in zip(parts, behind, strict=False):
            low, high = max(start, part.first), min(stop, end)
            if low < high:
                yield part.slab, slice(low - part.first, high - part.first)


def held_bytes(caches: Iterable[KVCache]) -> int:
    """Return the memory of several caches; what they share counts once."""
    slabs = {id(slab): slab for cache in caches for slab in cache.slabs}
    return sum(slab.bytes for slab in slabs.values())
