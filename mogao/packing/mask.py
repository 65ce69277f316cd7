"""Who may look at whom: one predicate, from which every mask and every attention plan derives.

In: token metadata (document, ordinal, index, kind) and the visibility tables of the config. Out:
a boolean for each (query, key) pair. The dense mask, the segment plan, the block mask of
FlexAttention and the cache's planes all call `MaskRule`; nothing else decides visibility.
Source: arXiv 2505.05472 (ECTF mask); worked block matrix in docs/model.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor

from mogao.config import Kind, VisibilityConfig
from mogao.packing.layout import KIND_BY_NAME, TokenKind


@dataclass(frozen=True, slots=True)
class TokenMeta:
    """What the mask rule knows of each token; all fields [tokens], any integer type."""

    kind: Int[Tensor, "*shape"]
    document: Int[Tensor, "*shape"]
    ordinal: Int[Tensor, "*shape"]
    index: Int[Tensor, "*shape"]


Columns = tuple[Tensor, Tensor, Tensor, Tensor]


class RunView(IntEnum):
    """How the queries of one run see the keys of another."""

    NONE = 0
    ALL = 1
    CAUSAL = 2


@dataclass(frozen=True, slots=True, eq=False)
class MaskRule:
    """The predicate; `earlier` and `own` are [query kind, key kind] tables of booleans.

    Nobody changes the tables, so that what follows from a rule can be kept.
    """

    earlier: Bool[Tensor, "kinds kinds"]
    own: Bool[Tensor, "kinds kinds"]

    @classmethod
    def from_config(cls, config: VisibilityConfig) -> MaskRule:
        """Build the rule from the config's tables."""
        return cls(_table(config.earlier), _table(config.own))

    def visible(self, query: TokenMeta, key: TokenMeta) -> Bool[Tensor, "..."]:
        """Return whether each query may look at each key; fields of both must broadcast.

        Source: arXiv 2505.05472, ECTF: inside a document, earlier segments by the kind table,
        the own segment by the own table, text causal inside its own stretch.
        """
        tables = self.earlier.to(query.kind.device), self.own.to(query.kind.device)
        return _allowed(tables, _columns(query), _columns(key))

    def dense(self, meta: TokenMeta) -> Bool[Tensor, "tokens tokens"]:
        """Return the whole mask: the slow, obvious reference."""
        return self.visible(_column(meta), meta)

    def mask_mod(self, meta: TokenMeta) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Return the predicate over token indices in the form FlexAttention wants."""
        tables = self.earlier.to(meta.kind.device), self.own.to(meta.kind.device)
        kind, document, ordinal, index = _columns(meta)

        # Spelt out, and a lambda: frozen dataclasses and generators are traced wrongly inside
        # flex_attention, and it counts the arguments of what it is given.
        return lambda batch, head, query, key: _allowed(
            tables,
            (kind[query], document[query], ordinal[query], index[query]),
            (kind[key], document[key], ordinal[key], index[key]),
        )

    def run_views(
        self, kind: Int64[np.ndarray, " runs"], ordinal: Int64[np.ndarray, " runs"]
    ) -> Int64[np.ndarray, "runs runs"]:
        """Return how each run of one document sees each other run, as `RunView` values.

        Exact because inside a run the rule depends on token order only, and only for text.
        """
        pair = (kind[:, None], kind[None, :])
        later = ordinal[:, None] > ordinal[None, :]
        same = ordinal[:, None] == ordinal[None, :]
        causal = (pair[0] == TokenKind.TEXT) & (pair[1] == TokenKind.TEXT)
        inside = np.where(causal, RunView.CAUSAL, RunView.ALL)
        own = np.where(same & self.own.numpy()[pair], inside, RunView.NONE)
        return np.where(later & self.earlier.numpy()[pair], RunView.ALL, own)

    def reads(self, kind: TokenKind) -> tuple[TokenKind, ...]:
        """Return the kinds that a query kind sees in earlier segments: the planes it reads."""
        return tuple(key for key in TokenKind if bool(self.earlier[kind, key]))


def _table(rows: dict[Kind, tuple[Kind, ...]]) -> Bool[Tensor, "kinds kinds"]:
    table = torch.zeros(len(TokenKind), len(TokenKind), dtype=torch.bool)
    for query, keys in rows.items():
        for key in keys:
            table[KIND_BY_NAME[query], KIND_BY_NAME[key]] = True
    return table


def _allowed(tables: tuple[Tensor, Tensor], query: Columns, key: Columns) -> Tensor:
    """The predicate itself, over (kind, document, ordinal, index) of queries and keys."""
    earlier, own = tables
    in_order = (query[0] != int(TokenKind.TEXT)) | (query[3] >= key[3])
    inside = (query[2] == key[2]) & own[query[0], key[0]] & in_order
    before = (query[2] > key[2]) & earlier[query[0], key[0]]
    return (query[1] == key[1]) & (before | inside)


def _columns(meta: TokenMeta) -> Columns:
    return meta.kind, meta.document, meta.ordinal, meta.index


def _column(meta: TokenMeta) -> TokenMeta:
    return TokenMeta(*(column[:, None] for column in _columns(meta)))
