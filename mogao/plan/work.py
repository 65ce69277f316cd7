"""What passes through a network: a document to reckon with, and its tokens as plain counts.

In: a model config and the size of a document, or any pack. Out: `Work`, which every formula of
`mogao.plan` reads; a budget of tokens is some number of such documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mogao.bench.ectf import CountingVocabulary
from mogao.config import InputTime, ModelConfig, TransformerConfig
from mogao.errors import ConfigError
from mogao.model.attention import group_items, plan_items
from mogao.packing.cost import allowed_pairs
from mogao.packing.layout import TokenKind, lay_out
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch, pack
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment


@dataclass(frozen=True, slots=True)
class Document:
    """A document of equal texts and equal pictures in turn; all of them are learned.

    Attributes:
        height: Pixels of each picture.
        width: Likewise.
        pictures: How many.
        text_tokens: Tokens of the text before each.
    """

    height: int
    width: int
    pictures: int = 4
    text_tokens: int = 128

    def sequence(self) -> InterleavedSequence:
        """Return the document; its pictures are black."""
        pixels = np.zeros((self.height, self.width, 3), np.uint8)
        pair = (TextSegment("x" * self.text_tokens), ImageSegment(pixels))
        return InterleavedSequence(pair * self.pictures)

    def packed(self, model: ModelConfig) -> PackedBatch:
        """Return the document alone in a pack, as training sees it.

        Raises:
            ConfigError: Its pictures do not fit the token grid of the model.
        """
        side = model.token_pixels
        if self.height % side or self.width % side:
            raise ConfigError(
                f"pictures of {self.width} x {self.height} pixels do not fit {model.name}: both "
                f"sides must be multiples of {side}"
            )
        layouts = lay_out(
            self.sequence(), CountingVocabulary(), model.transformer, token_pixels=side
        )
        cells = self.height * self.width // side**2

        def latents(images: Sequence[ImageSegment]) -> list[Tensor]:
            return [torch.zeros(cells, model.transformer.latent_dim) for _ in images]

        return pack(layouts, model.transformer, latents=latents)


@dataclass(frozen=True, slots=True)
class Work:
    """Counts of what a pack makes the network do; not whole numbers where a budget is divided.

    Attributes:
        tokens: Tokens by what they are made of.
        branches: Tokens of the text branch and of the visual branch.
        time_groups: Rows of time modulation in each branch; 0 where nothing is modulated.
        predictions: Text tokens whose next token is learned.
        pairs: (query, key) pairs that the mask allows.
        padded: Queries, keys and pairs that the `segments` back-end computes, padding included.
    """

    tokens: dict[TokenKind, float]
    branches: tuple[float, float]
    time_groups: tuple[float, float]
    predictions: float
    pairs: float
    padded: tuple[float, float, float]

    @property
    def total(self) -> float:
        """Tokens of all kinds."""
        return sum(self.branches)

    def times(self, copies: float) -> Work:
        """Return the work of several such packs."""
        return Work(
            tokens={kind: copies * count for kind, count in self.tokens.items()},
            branches=(copies * self.branches[0], copies * self.branches[1]),
            time_groups=(copies * self.time_groups[0], copies * self.time_groups[1]),
            predictions=copies * self.predictions,
            pairs=copies * self.pairs,
            padded=(copies * self.padded[0], copies * self.padded[1], copies * self.padded[2]),
        )


def measure(batch: PackedBatch, config: TransformerConfig) -> Work:
    """Count what a pack makes the network do."""
    table, rule = batch.table, MaskRule.from_config(config.visibility)
    queries = keys = area = 0
    for group in group_items(plan_items(rule, table)):
        widest = max(item.num_queries for item in group)
        most = max(item.num_keys for item in group)
        queries += len(group) * widest
        keys += len(group) * most
        area += len(group) * widest * most
    return Work(
        tokens={kind: float(table.length[table.source == kind].sum()) for kind in TokenKind},
        branches=(float(batch.num_text_branch), float(batch.num_tokens - batch.num_text_branch)),
        time_groups=_time_groups(batch, config),
        predictions=float(len(batch.predict_index)),
        pairs=float(allowed_pairs(batch, rule)),
        padded=(float(queries), float(keys), float(area)),
    )


def _time_groups(batch: PackedBatch, config: TransformerConfig) -> tuple[float, float]:
    """Rows of modulation that each branch gathers: one a run where all runs are equally long."""
    table = batch.table
    is_text = table.start < batch.num_text_branch
    found = []
    for chosen in (is_text, ~is_text):
        length, source = table.length[chosen], table.source[chosen]
        timed = bool(np.isin(source, (TokenKind.CLEAN, TokenKind.NOISY)).any())
        rows = len(length) if len(set(length.tolist())) == 1 else int(length.sum())
        found.append(float(rows) if timed and not isinstance(config.time, InputTime) else 0.0)
    return found[0], found[1]
