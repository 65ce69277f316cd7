"""What a finished document holds in the cache, guidance branches included.

In: a document, a model config, the guidance of its pictures. Out: rows of both planes and bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mogao.bench.ectf import CountingVocabulary
from mogao.config import Drop, ImageSamplingConfig, ModelConfig
from mogao.packing.spans import Span, keep, part_boundary, spans_of
from mogao.plan.work import Document
from mogao.sampling.slabs import row_bytes, slab_rows
from mogao.sampling.state import MIN_SHARED_TOKENS


@dataclass(frozen=True, slots=True)
class Context:
    """Tokens that a context has read: text and VIT in one plane, CLEAN in the other."""

    text: int
    clean: int

    def bytes(self, model: ModelConfig, dtype: torch.dtype) -> int:
        """Return the memory of its slabs, which double in size."""
        rows = sum(slab_rows(count) for count in (self.text, self.clean) if count)
        return rows * row_bytes(model.transformer, dtype)


def picture_context(model: ModelConfig, document: Document) -> Context:
    """Return what one picture of a document adds, its boundary tokens included."""
    spans = _spans(model, document)
    return _rows([span for span in spans if span.segment == 1], model)


def contexts(
    model: ModelConfig, document: Document, image: ImageSamplingConfig
) -> dict[str, Context]:
    """Return what the full context and each other branch of guidance hold at the end.

    The others have read up to the last picture; what they share with the full context at the front
    they read from there.
    """
    spans = _spans(model, document)
    named = {branch.name: branch.drop for branch in image.branches} or image.preset.drops
    (full, _), *others = named.items()
    found = {name: _rows(_own(spans, drop, model), model) for name, drop in others}
    return {full: _rows(spans, model)} | found


def _own(spans: Sequence[Span], drop: Drop, model: ModelConfig) -> list[Span]:
    """The spans of a branch behind the front that it shares with the full context."""
    last = max(index for index, span in enumerate(spans) if span.image is not None)
    kept = keep(spans[:last], drop, drawn=spans[last].segment)
    pairs = zip(kept, spans, strict=False)
    shared = next((i for i, (own, full) in enumerate(pairs) if own != full), len(kept))
    front = _rows(kept[:shared], model)
    return kept[shared:] if front.text + front.clean >= MIN_SHARED_TOKENS else kept


def _rows(spans: Sequence[Span], model: ModelConfig) -> Context:
    config = model.transformer
    around = len(part_boundary(CountingVocabulary(), config.layout))
    text = clean = 0
    for span in spans:
        text += len(span.ids)
        if span.image is not None:
            text += span.vit_grid[0] * span.vit_grid[1] + around
            clean += span.grid[0] * span.grid[1] + around
    return Context(text, clean if config.history else 0)


def _spans(model: ModelConfig, document: Document) -> list[Span]:
    return spans_of(
        document.sequence(),
        CountingVocabulary(),
        model.transformer,
        token_pixels=model.token_pixels,
    )
