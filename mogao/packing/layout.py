"""From one document to its runs of tokens: what is laid out, where, and what carries loss.

In: an `InterleavedSequence`. Out: `Span`s (the document's tokens before anything is dropped; also
what sampling feeds step by step) and `Layout`s (the runs that Efficient Complete Teacher Forcing
trains on). A picture can appear three times: VIT (understanding), CLEAN (history of later
pictures) and NOISY (being learned); a part is laid out only if a token with loss can see it.
Source: arXiv 2505.05472 (ECTF); boundary and trimming rules in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from itertools import groupby
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Int64

from mogao.config import TransformerConfig
from mogao.errors import DataError
from mogao.packing.positions import Positions, image_advance, image_positions, text_positions
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment


class TokenKind(IntEnum):
    """What a token carries; everything else (branch, mask, losses) derives from it."""

    TEXT = 0
    VIT = 1
    CLEAN = 2
    NOISY = 3


KIND_BY_NAME = {kind.name.lower(): kind for kind in TokenKind}


class Origin(Enum):
    """Where a span comes from; condition dropout and guidance branches select by it."""

    BEGIN = "begin"
    MARKER = "marker"  # role tokens and the end token: they go where text goes
    TEXT = "text"
    OPEN = "open"
    PICTURE = "picture"
    CLOSE = "close"


class Vocabulary(Protocol):
    """What layout needs of a tokenizer: ids of text and of the special tokens."""

    begin: int
    end: int
    image_open: int
    image_close: int
    user: int
    model: int
    system: int

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, none of them special."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive tokens of one origin in the complete document, with their fixed time.

    Attributes:
        origin: What the span is.
        segment: Index of its segment in the document; -1 for the begin token.
        time: Time position of its first token; it stays when other spans are dropped.
        ids: Token ids; empty for a picture.
        image: The picture of a PICTURE span.
        grid: (rows, cols) of a picture in tokens.
        weight: Loss weight of these tokens as targets (text) or of the NOISY tokens; 0 = no loss.
    """

    origin: Origin
    segment: int
    time: int
    ids: tuple[int, ...] = ()
    image: ImageSegment | None = None
    grid: tuple[int, int] = (0, 0)
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Drop:
    """What a context leaves out; the same value describes a guidance branch and its training.

    Attributes:
        text: Leave out all text and role markers.
        images: Leave out every other picture with its open and close tokens.
        vit: Leave out the VIT copies only.
        clean: Leave out the CLEAN copies only.
    """

    text: bool = False
    images: bool = False
    vit: bool = False
    clean: bool = False

    def keeps(self, span: Span, *, drawn: int) -> bool:
        """Return whether a span stays in the context of the picture of segment `drawn`.

        The begin token and the open token of the drawn picture always stay.
        """
        if span.origin is Origin.BEGIN or span.segment == drawn:
            return True
        is_text = span.origin in (Origin.TEXT, Origin.MARKER)
        return not (self.text if is_text else self.images)


KEEP_ALL = Drop()


@dataclass(frozen=True, slots=True)
class SegmentTable:
    """One row per run: consecutive tokens of one kind of one segment of one document.

    Rows of one document that share `ordinal` belong together: the copies of one picture, or one
    stretch of text between pictures. Tokens of a run are contiguous from `start`.
    """

    kind: Int64[np.ndarray, " runs"]
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
        noisy_weights: Loss weights of the NOISY tokens, in order.
    """

    table: SegmentTable
    positions: Positions
    ids: Int64[np.ndarray, " text"]
    targets: Int64[np.ndarray, " text"]
    target_weights: Float32[np.ndarray, " text"]
    images: tuple[ImageSegment | None, ...]
    noisy_weights: Float32[np.ndarray, " noisy"]


def is_pair(sequence: InterleavedSequence) -> bool:
    """Return whether a document is a text-to-picture pair, whose end is rarely supervised."""
    segments = sequence.segments
    return (
        len(segments) == 2
        and isinstance(segments[0], TextSegment)
        and isinstance(segments[1], ImageSegment)
        and not sequence.is_conversation
    )


def spans_of(
    sequence: InterleavedSequence,
    vocabulary: Vocabulary,
    config: TransformerConfig,
    *,
    token_pixels: int = 16,
    end_loss: bool = True,
) -> list[Span]:
    """Return every token of a document as spans: begin, turns with role and end markers, pictures.

    Raises:
        DataError: A picture's sides are not multiples of `token_pixels`.
    """
    writer = SpanWriter(vocabulary, config, token_pixels=token_pixels)
    spans = [writer.begin()]
    speaking = sequence.is_conversation
    numbered = list(enumerate(sequence.segments))
    for role, turn in groupby(numbered, key=lambda item: item[1].role):
        members = list(turn)
        if speaking:
            spans.append(writer.role(role, segment=members[0][0]))
        for index, segment in members:
            spans.extend(writer.segment(segment, index=index))
        if role == "model":
            last_index, last = members[-1]
            weight = last.weight if last.has_loss and end_loss else 0.0
            spans.append(writer.end(segment=last_index, weight=weight))
    return spans


class SpanWriter:
    """Turns segments into spans and keeps the running time; shared by training and sampling."""

    def __init__(
        self, vocabulary: Vocabulary, config: TransformerConfig, *, token_pixels: int = 16
    ) -> None:
        self.vocabulary = vocabulary
        self.config = config
        self.token_pixels = token_pixels
        self.time = 0

    def begin(self) -> Span:
        """Return the begin token."""
        return self._text(Origin.BEGIN, (self.vocabulary.begin,), segment=-1)

    def role(self, role: Role, *, segment: int) -> Span:
        """Return the role token that opens a turn."""
        token = {
            "user": self.vocabulary.user,
            "model": self.vocabulary.model,
            "system": self.vocabulary.system,
        }[role]
        return self._text(Origin.MARKER, (token,), segment=segment)

    def end(self, *, segment: int, weight: float = 0.0) -> Span:
        """Return the end token of a model turn or of a document."""
        return self._text(Origin.MARKER, (self.vocabulary.end,), segment=segment, weight=weight)

    def segment(self, segment: Segment, *, index: int) -> list[Span]:
        """Return the spans of one text or of one picture with its open and close tokens."""
        if isinstance(segment, TextSegment):
            ids = tuple(self.vocabulary.encode(segment.text))
            weight = segment.weight if segment.has_loss else 0.0
            return [self._text(Origin.TEXT, ids, segment=index, weight=weight)] if ids else []
        return [self.open(segment, index=index), *self.picture(segment, index=index)]

    def text_ids(self, ids: Sequence[int], *, index: int) -> Span:
        """Return text that is already token ids (what the model has just written)."""
        return self._text(Origin.TEXT, tuple(ids), segment=index)

    def open(self, image: ImageSegment, *, index: int) -> Span:
        """Return the token that opens a picture; the text before it learns to predict it."""
        weight = image.weight if image.has_loss else 0.0
        return self._text(Origin.OPEN, (self.vocabulary.image_open,), segment=index, weight=weight)

    def picture(self, image: ImageSegment, *, index: int) -> list[Span]:
        """Return the picture itself and the close token, which is never predicted."""
        grid = self.grid(image)
        span = Span(
            Origin.PICTURE,
            index,
            self.time,
            image=image,
            grid=grid,
            weight=image.weight if image.has_loss else 0.0,
        )
        self.time += image_advance(grid, self.config.positions, self.config.layout)
        close = self._text(Origin.CLOSE, (self.vocabulary.image_close,), segment=index)
        return [span, close]

    def grid(self, image: ImageSegment) -> tuple[int, int]:
        """Return (rows, cols) of a picture in tokens."""
        height, width = image.size
        if height % self.token_pixels or width % self.token_pixels or not height or not width:
            raise DataError(
                f"picture of {height} x {width} pixels: both sides must be multiples of "
                f"{self.token_pixels}; run mogao.data.images.fit on it first"
            )
        return height // self.token_pixels, width // self.token_pixels

    def _text(
        self, origin: Origin, ids: tuple[int, ...], *, segment: int, weight: float = 0.0
    ) -> Span:
        span = Span(origin, segment, self.time, ids, weight=weight)
        self.time += len(ids)
        return span


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

    Without `drop.images` the document stays one document. With it, each learned picture becomes
    its own document [begin, text before it unless dropped, open, NOISY]; positions are kept, so
    every result is exactly a guidance branch of sampling. Text of a reduced context has no loss.

    Raises:
        DataError: A picture does not fit the token grid.
    """
    spans = spans_of(
        sequence, vocabulary, config, token_pixels=token_pixels, end_loss=end_loss
    )
    if not drop.images:
        kept = [span for span in spans if drop.keeps(span, drawn=-1)]
        return _nonempty([_Builder(config, drop).build(kept, text_loss=not drop.text)])
    layouts = []
    for index, span in enumerate(spans):
        if span.origin is Origin.PICTURE and span.weight > 0:
            before = [s for s in spans[: index + 1] if drop.keeps(s, drawn=span.segment)]
            layouts.append(_Builder(config, drop).build(before, text_loss=False))
    return _nonempty(layouts)


def _nonempty(layouts: list[Layout | None]) -> list[Layout]:
    return [layout for layout in layouts if layout is not None]


class _Builder:
    """Writes the runs of one document; see `lay_out`."""

    def __init__(self, config: TransformerConfig, drop: Drop) -> None:
        self.config = config
        self.drop = drop
        self.rows: list[tuple[TokenKind, int, int]] = []  # kind, length, ordinal
        self.images: list[ImageSegment | None] = []
        self.positions: list[Positions] = []
        self.noisy_weights: list[Float32[np.ndarray, " noisy"]] = []

    def build(self, spans: list[Span], *, text_loss: bool) -> Layout | None:
        text = [span for span in spans if span.origin is not Origin.PICTURE]
        ids = np.array([i for span in text for i in span.ids], np.int64)
        weights = np.array([span.weight for span in text for _ in span.ids], np.float32)
        # The token before a target predicts it; the last token of a document predicts nothing.
        targets = np.append(ids[1:], 0)
        target_weights = np.append(weights[1:], np.float32(0)) * np.float32(text_loss)
        learned_text = np.flatnonzero(target_weights)
        num_text = int(learned_text[-1]) + 1 if learned_text.size else 0
        pictures = [i for i, s in enumerate(spans) if s.image is not None and s.weight > 0]
        last_picture = pictures[-1] if pictures else -1
        kept_text = 0
        ordinal = 0
        for index, span in enumerate(spans):
            if span.image is not None:
                ordinal += 1
                later_picture = index < last_picture
                sees_vit = later_picture or kept_text < num_text
                self._picture(span, ordinal, vit=sees_vit, clean=later_picture)
                ordinal += 1
                continue
            wanted = len(span.ids) if index < last_picture else max(0, num_text - kept_text)
            count = min(len(span.ids), wanted)
            kept_text += count
            self._text(span, count, ordinal)
        if not self.rows or (not pictures and not num_text):
            return None
        return self._finish(ids[:kept_text], targets[:kept_text], target_weights[:kept_text])

    def _text(self, span: Span, count: int, ordinal: int) -> None:
        if not count:
            return
        self.positions.append(text_positions(span.time, count, self.config.positions))
        if self.rows and self.rows[-1][0] is TokenKind.TEXT and self.rows[-1][2] == ordinal:
            self.rows[-1] = (TokenKind.TEXT, self.rows[-1][1] + count, ordinal)
        else:
            self.rows.append((TokenKind.TEXT, count, ordinal))
            self.images.append(None)

    def _picture(self, span: Span, ordinal: int, *, vit: bool, clean: bool) -> None:
        image = span.image
        assert image is not None
        wanted = {
            "vit": vit and image.vit and not self.drop.vit,
            "clean": clean and image.latents and not self.drop.clean,
            "noisy": span.weight > 0,
        }
        for name in self.config.layout.part_order:
            if not wanted[name]:
                continue
            self.rows.append((KIND_BY_NAME[name], span.grid[0] * span.grid[1], ordinal))
            self.images.append(image)
            self.positions.append(image_positions(span.time, span.grid, self.config.positions))
        if wanted["noisy"]:
            size = span.grid[0] * span.grid[1]
            loss_map = np.ones(size) if image.loss_map is None else image.loss_map.reshape(-1)
            if loss_map.size != size:
                raise DataError(f"loss_map has {loss_map.size} values, the picture {size} tokens")
            self.noisy_weights.append((span.weight * loss_map).astype(np.float32))

    def _finish(
        self,
        ids: Int64[np.ndarray, " text"],
        targets: Int64[np.ndarray, " text"],
        target_weights: Float32[np.ndarray, " text"],
    ) -> Layout:
        kind, length, ordinal = (np.array(column, np.int64) for column in zip(*self.rows))
        table = SegmentTable(
            kind=kind,
            start=np.cumsum(length) - length,
            length=length,
            document=np.zeros_like(kind),
            ordinal=ordinal,
        )
        noisy = self.noisy_weights or [np.zeros(0, np.float32)]
        return Layout(
            table,
            np.concatenate(self.positions),
            ids,
            targets,
            target_weights,
            tuple(self.images),
            np.concatenate(noisy),
        )
