"""From one document to its runs of tokens: what is laid out, where, and what carries loss.

In: an `InterleavedSequence`. Out: `Layout`s, the runs that Efficient Complete Teacher Forcing
trains on. A picture can appear three times: VIT (understanding), CLEAN (history of later
pictures) and NOISY (being learned); a part is laid out only if a token with loss can see it. With
a noised history, the rival of ECTF, there is no CLEAN and later pictures see NOISY parts.
Source: arXiv 2505.05472 (ECTF); boundary and trimming rules in docs/decisions.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, Int64

from mogao.config import KEEP_ALL, Drop, TransformerConfig
from mogao.errors import DataError
from mogao.packing.positions import (
    Positions,
    boundary_positions,
    image_positions,
    text_positions,
)
from mogao.packing.spans import Origin, Span, Vocabulary, keep, part_boundary, spans_of
from mogao.sequence import ImageSegment, InterleavedSequence


class TokenKind(IntEnum):
    """What a token carries; everything else (branch, mask, losses) derives from it."""

    TEXT = 0
    VIT = 1
    CLEAN = 2
    NOISY = 3


KIND_BY_NAME = {kind.name.lower(): kind for kind in TokenKind}


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """One row per run: consecutive tokens of one kind of one segment of one document.

    Rows of one document that share `ordinal` belong together: the copies of one picture, or one
    stretch of text between pictures. Tokens of a run are contiguous from `start`. The mask follows
    `kind`; what a token is made of and which branch it takes follow `source`. They differ only
    where each copy of a picture has boundary tokens of its own: those are text that sees and is
    seen as the copy.
    """

    kind: Int64[np.ndarray, " runs"]
    source: Int64[np.ndarray, " runs"]
    start: Int64[np.ndarray, " runs"]
    length: Int64[np.ndarray, " runs"]
    document: Int64[np.ndarray, " runs"]
    ordinal: Int64[np.ndarray, " runs"]

    @property
    def num_tokens(self) -> int:
        """Tokens of all runs."""
        return int(self.length.sum())

    def per_token(self, values: Int64[np.ndarray, " runs"]) -> Int64[np.ndarray, " tokens"]:
        """Repeat a value of each run over its tokens, in table order."""
        return np.repeat(values, self.length)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One document ready to be packed; token arrays follow the rows of `table`.

    Attributes:
        table: The runs, in document order.
        positions: (time, row, column) of every token.
        ids: Token ids of the TEXT tokens, in order.
        targets: Id that each TEXT token has to predict, where its weight is above 0.
        target_weights: Loss weight of that prediction.
        images: Picture of every run; None for text.
        noisy_weights: Loss weights of the NOISY tokens, in order; 0 where they are history alone.
    """

    table: SegmentTable
    positions: Positions
    ids: Int64[np.ndarray, " text"]
    targets: Int64[np.ndarray, " text"]
    target_weights: Float32[np.ndarray, " text"]
    images: tuple[ImageSegment | None, ...]
    noisy_weights: Float32[np.ndarray, " noisy"]


def lay_out(
    sequence: InterleavedSequence,
    vocabulary: Vocabulary,
    config: TransformerConfig,
    *,
    token_pixels: int = 16,
    end_loss: bool = True,
    drop: Drop = KEEP_ALL,
) -> list[Layout]:
    """Lay out a document for training; an empty list means that nothing in it carries loss.

    Where all pictures may see one another's reduced context, the document stays one document.
    Where what is left out depends on the picture (`images`, `last_text`, `tags`; with a noised
    history also the latents of a learned picture), each learned picture becomes its own document,
    such as [begin, text before it, open, NOISY]; either way every result is exactly a guidance
    branch of sampling. Text of a reduced context has no loss.

    Raises:
        DataError: A picture does not fit the token grid.
    """
    spans = spans_of(sequence, vocabulary, config, token_pixels=token_pixels, end_loss=end_loss)
    boundary = part_boundary(vocabulary, config.layout)
    if not (drop.images or drop.last_text or drop.tags or _hides_noisy(spans, drop, config)):
        kept = keep(spans, drop, drawn=-1)
        return _nonempty([_Builder(config, drop, boundary).build(kept, text_loss=not drop.text)])
    layouts = []
    for index, span in enumerate(spans):
        if span.origin is Origin.PICTURE and span.weight > 0:
            before = keep(spans[: index + 1], drop, drawn=span.segment)
            history = [replace(s, weight=0.0) for s in before[:-1]]
            builder = _Builder(config, drop, boundary)
            layouts.append(builder.build([*history, before[-1]], text_loss=False))
    return _nonempty(layouts)


def _hides_noisy(spans: list[Span], drop: Drop, config: TransformerConfig) -> bool:
    """Whether a NOISY part that is learned must not be seen by a later picture."""
    learned = [span.image for span in spans if span.image is not None and span.weight > 0]
    hidden = any(drop.clean or not image.latents for image in learned[:-1])
    return config.history == "noisy" and hidden


def _nonempty(layouts: list[Layout | None]) -> list[Layout]:
    return [layout for layout in layouts if layout is not None]


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """Token ids, what each has to predict, and the loss weight of that prediction."""

    ids: Int64[np.ndarray, " text"]
    targets: Int64[np.ndarray, " text"]
    target_weights: Float32[np.ndarray, " text"]

    @classmethod
    def of(cls, spans: list[Span], *, loss: bool) -> _Text:
        """Return all text of a document; boundaries of copies are not part of it."""
        text = [span for span in spans if span.origin is not Origin.PICTURE]
        ids = np.array([i for span in text for i in span.ids], np.int64)
        weights = np.array([span.weight for span in text for _ in span.ids], np.float32)
        # The token before a target predicts it; the last token of a document predicts nothing.
        shifted = np.append(weights[1:], np.float32(0)) * np.float32(loss)
        return cls(ids, np.append(ids[1:], 0), shifted) if ids.size else cls.without_loss(())

    @classmethod
    def without_loss(cls, ids: tuple[int, ...]) -> _Text:
        """Return tokens that predict nothing."""
        found = np.array(ids, np.int64)
        return cls(found, np.zeros_like(found), np.zeros(len(ids), np.float32))

    def slice(self, start: int, stop: int) -> _Text:
        """Return a range of the tokens."""
        return _Text(
            self.ids[start:stop], self.targets[start:stop], self.target_weights[start:stop]
        )


class _Builder:
    """Writes the runs of one document; see `lay_out`."""

    def __init__(self, config: TransformerConfig, drop: Drop, boundary: tuple[int, ...]) -> None:
        self.config = config
        self.drop = drop
        self.boundary = boundary
        self.rows: list[tuple[TokenKind, TokenKind, int, int]] = []  # kind, source, length, ordinal
        self.images: list[ImageSegment | None] = []
        self.positions: list[Positions] = []
        self.noisy_weights: list[Float32[np.ndarray, " noisy"]] = []
        self.text: list[_Text] = []

    def build(self, spans: list[Span], *, text_loss: bool) -> Layout | None:
        written = _Text.of(spans, loss=text_loss)
        learned_text = np.flatnonzero(written.target_weights)
        num_text = int(learned_text[-1]) + 1 if learned_text.size else 0
        pictures = [i for i, s in enumerate(spans) if s.image is not None and s.weight > 0]
        last_picture = pictures[-1] if pictures else -1
        text_sees_latents = self.config.history in self.config.visibility.earlier["text"]
        kept_text = 0
        ordinal = 0
        for index, span in enumerate(spans):
            later_picture, later_text = index < last_picture, kept_text < num_text
            if span.image is not None:
                ordinal += 1
                history = later_picture or (text_sees_latents and later_text)
                self._picture(span, ordinal, vit=later_picture or later_text, history=history)
                ordinal += 1
                continue
            wanted = len(span.ids) if later_picture else max(0, num_text - kept_text)
            count = min(len(span.ids), wanted)
            self._text(span, written.slice(kept_text, kept_text + count), ordinal)
            kept_text += count
        if not self.rows or (not pictures and not num_text):
            return None
        return self._finish()

    def _text(self, span: Span, text: _Text, ordinal: int) -> None:
        count = len(text.ids)
        if not count:
            return
        self.positions.append(text_positions(span.time, count, self.config.positions))
        self.text.append(text)
        if self.rows and self.rows[-1][0] is TokenKind.TEXT and self.rows[-1][3] == ordinal:
            count += self.rows[-1][2]
            self.rows[-1] = (TokenKind.TEXT, TokenKind.TEXT, count, ordinal)
        else:
            self.rows.append((TokenKind.TEXT, TokenKind.TEXT, count, ordinal))
            self.images.append(None)

    def _picture(self, span: Span, ordinal: int, *, vit: bool, history: bool) -> None:
        image = span.image
        assert image is not None
        kept = self.config.history if history and image.latents and not self.drop.clean else None
        wanted = {
            "vit": vit and image.vit and not self.drop.vit,
            "clean": kept == "clean",
            "noisy": kept == "noisy" or span.weight > 0,
        }
        for name in self.config.layout.part_order:
            if not wanted[name]:
                continue
            kind, time = KIND_BY_NAME[name], span.part_time(name, self.config.layout)
            if self.boundary:
                self.rows.append((kind, TokenKind.TEXT, len(self.boundary), ordinal))
                self.images.append(None)
                self.text.append(_Text.without_loss(self.boundary))
                self.positions.append(boundary_positions(time))
            grid = span.vit_grid if kind is TokenKind.VIT else span.grid
            self.rows.append((kind, kind, grid[0] * grid[1], ordinal))
            self.images.append(image)
            self.positions.append(image_positions(time, grid, self.config.positions))
        if wanted["noisy"]:
            loss_map = np.ones(span.grid) if image.loss_map is None else image.loss_map
            if loss_map.shape != span.grid:
                raise DataError(
                    f"loss_map has rows and columns {loss_map.shape}, the picture {span.grid}"
                )
            self.noisy_weights.append((span.weight * loss_map.reshape(-1)).astype(np.float32))

    def _finish(self) -> Layout:
        kind, source, length, ordinal = (
            np.array(column, np.int64) for column in zip(*self.rows, strict=True)
        )
        table = SegmentTable(
            kind=kind,
            source=source,
            start=np.cumsum(length) - length,
            length=length,
            document=np.zeros_like(kind),
            ordinal=ordinal,
        )
        noisy = self.noisy_weights or [np.zeros(0, np.float32)]
        text = self.text or [_Text.without_loss(())]
        return Layout(
            table,
            np.concatenate(self.positions),
            np.concatenate([part.ids for part in text]),
            np.concatenate([part.targets for part in text]),
            np.concatenate([part.target_weights for part in text]),
            tuple(self.images),
            np.concatenate(noisy),
        )
