"""The spans of a document: every token it could have, in order, each with its fixed time.

In: an `InterleavedSequence`, or its segments one by one while sampling writes them. Out: `Span`s:
the begin token, turns with role and end markers, texts, pictures between their open and close
tokens. What a context leaves out (`Drop`) selects among spans; their times never move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from typing import Protocol, runtime_checkable

from mogao.config import Drop, Kind, LayoutConfig, TransformerConfig, VitSizeConfig
from mogao.data.images import fit_sides, scaled
from mogao.errors import DataError
from mogao.packing.positions import image_advance
from mogao.sequence import (
    ImageSegment,
    InterleavedSequence,
    Pixels,
    Role,
    Segment,
    TextSegment,
)


class Origin(Enum):
    """Where a span comes from; condition dropout and guidance branches select by it."""

    BEGIN = "begin"
    MARKER = "marker"  # role tokens and the end token: they go where text goes
    TEXT = "text"
    OPEN = "open"
    PICTURE = "picture"
    CLOSE = "close"


@runtime_checkable
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
        tags: Those of its segment.
        vit_grid: (rows, cols) of its VIT copy, which may be scaled otherwise.
    """

    origin: Origin
    segment: int
    time: int
    ids: tuple[int, ...] = ()
    image: ImageSegment | None = None
    grid: tuple[int, int] = (0, 0)
    weight: float = 0.0
    tags: tuple[str, ...] = ()
    vit_grid: tuple[int, int] = (0, 0)

    def part_time(self, kind: Kind, config: LayoutConfig) -> int:
        """Return the time position of a copy of a picture: latents come before the VIT copy."""
        both = self.image is not None and self.image.latents
        return self.time + (config.part_step if both and kind == "vit" else 0)


def keep(spans: Sequence[Span], drop: Drop, *, drawn: int) -> list[Span]:
    """Return the spans that a context keeps when the picture of segment `drawn` is drawn.

    The begin token and the drawn picture with its open token always stay; a role token goes with
    the text, also where the drawn picture opens its turn. Without `drop.keep_positions` what stays
    moves up to where it would be had the rest never been said.

    Args:
        spans: A document, whole or up to the open token of the drawn picture.
        drop: What is left out.
        drawn: -1 where no picture is singled out; `drop.images` then leaves out all of them.
    """
    last = _last_text(spans, drop, drawn=drawn) if drop.last_text else None
    kept, gone = [], 0
    for span, following in zip(spans, [*spans[1:], None], strict=True):
        if _keeps(drop, span, drawn=drawn, last_text=last):
            kept.append(replace(span, time=span.time - gone) if gone else span)
        elif following is not None and not drop.keep_positions:
            gone += following.time - span.time
    return kept


def _keeps(drop: Drop, span: Span, *, drawn: int, last_text: int | None) -> bool:
    if span.origin is Origin.BEGIN:
        return True
    if span.origin is Origin.MARKER:
        return not drop.text and (last_text is None or span.segment < last_text)
    if span.segment == drawn:
        return True
    if not set(drop.tags).isdisjoint(span.tags):
        return False
    if span.origin is Origin.TEXT:
        return not drop.text and span.segment != last_text
    return not drop.images


def _last_text(spans: Sequence[Span], drop: Drop, *, drawn: int) -> int | None:
    """Segment of the last text before a picture; what goes by its tag does not count."""
    before = [
        span.segment
        for span in spans
        if span.origin is Origin.TEXT
        and not 0 <= drawn < span.segment
        and set(drop.tags).isdisjoint(span.tags)
    ]
    return max(before, default=None)


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
    spans = writer.begin()
    framed = config.layout.text_frame
    speaking = sequence.is_conversation and not framed
    numbered = list(enumerate(sequence.segments))
    for role, turn in groupby(numbered, key=lambda item: item[1].role):
        members = list(turn)
        if speaking:
            spans.append(writer.role(role, segment=members[0][0]))
        for index, segment in members:
            spans.extend(writer.segment(segment, index=index))
        if not framed and (role == "model" or (speaking and writer.closes(role))):
            last_index, last = members[-1]
            is_learned = role == "model" and last.has_loss and end_loss
            weight = last.weight if is_learned else 0.0
            spans += writer.end(segment=last_index, weight=weight, in_turn=speaking)
    return spans


def part_boundary(vocabulary: Vocabulary, config: LayoutConfig) -> tuple[int, ...]:
    """Return the ids of the tokens around each copy of a picture; none where copies have none."""
    is_part = config.boundary == "part"
    return (vocabulary.image_open, vocabulary.image_close) if is_part else ()


def vit_sides(size: tuple[int, int], config: VitSizeConfig) -> tuple[int, int]:
    """Return (height, width) in pixels at which the understanding encoder sees a picture."""
    return fit_sides(
        *size,
        longest=config.longest,
        shortest=config.shortest,
        multiple=config.patch_pixels,
    )


def vit_pixels(pixels: Pixels, config: LayoutConfig) -> Pixels:
    """Return a picture as the understanding encoder sees it."""
    if config.vit_size is None:
        return pixels
    height, width = vit_sides(pixels.shape[:2], config.vit_size)
    return scaled(pixels, height=height, width=width)


class SpanWriter:
    """Turns segments into spans and keeps the running time; shared by training and sampling."""

    def __init__(
        self, vocabulary: Vocabulary, config: TransformerConfig, *, token_pixels: int = 16
    ) -> None:
        self.vocabulary = vocabulary
        self.config = config
        self.token_pixels = token_pixels
        self.time = 0

    def begin(self) -> list[Span]:
        """Return the begin token, where documents have one."""
        if not self.config.layout.begin:
            return []
        return [self._text(Origin.BEGIN, (self.vocabulary.begin,), segment=-1)]

    def role(self, role: Role, *, segment: int) -> Span:
        """Return what opens a turn: the role token, or begin token, name and line break."""
        words = self.vocabulary
        if self.config.layout.turns == "chatml":
            name = "assistant" if role == "model" else role
            ids = (words.begin, *words.encode(f"{name}\n"))
        else:
            ids = ({"user": words.user, "model": words.model, "system": words.system}[role],)
        return self._text(Origin.MARKER, ids, segment=segment)

    def closes(self, role: Role) -> bool:
        """Return whether a speaker's turn has an end: the model's, with `chatml` every one."""
        return role == "model" or self.config.layout.turns == "chatml"

    def end(self, *, segment: int, weight: float = 0.0, in_turn: bool) -> list[Span]:
        """Return the end token of a turn or of a document.

        With `chatml` a line break follows a turn: context of the next one, never learned.
        """
        ids = (self.vocabulary.end,)
        spans = [self._text(Origin.MARKER, ids, segment=segment, weight=weight)]
        if in_turn and self.config.layout.turns == "chatml":
            line_break = tuple(self.vocabulary.encode("\n"))
            spans.append(self._text(Origin.MARKER, line_break, segment=segment))
        return spans

    def segment(self, segment: Segment, *, index: int) -> list[Span]:
        """Return the spans of one text or of one picture with its open and close tokens."""
        if isinstance(segment, TextSegment):
            ids = tuple(self.vocabulary.encode(segment.text))
            weight = segment.weight if segment.has_loss else 0.0
            if not ids:
                return []
            tags = segment.tags
            text = self.frame_begin(index=index, tags=tags)
            text.append(self._text(Origin.TEXT, ids, segment=index, weight=weight, tags=tags))
            return text + self.frame_end(index=index, weight=weight, tags=tags)
        return [self.open(segment, index=index), *self.picture(segment, index=index)]

    def frame_begin(self, *, index: int, tags: tuple[str, ...] = ()) -> list[Span]:
        """Return the begin token of a text, where texts are framed."""
        if not self.config.layout.text_frame:
            return []
        ids = (self.vocabulary.begin,)
        return [self._text(Origin.TEXT, ids, segment=index, tags=tags)]

    def frame_end(
        self, *, index: int, weight: float = 0.0, tags: tuple[str, ...] = ()
    ) -> list[Span]:
        """Return the end token of a text, where texts are framed; it is learned with the text."""
        if not self.config.layout.text_frame:
            return []
        ids = (self.vocabulary.end,)
        return [self._text(Origin.TEXT, ids, segment=index, weight=weight, tags=tags)]

    def text_ids(self, ids: Sequence[int], *, index: int, tags: tuple[str, ...] = ()) -> Span:
        """Return text that is already token ids (what the model has just written)."""
        return self._text(Origin.TEXT, tuple(ids), segment=index, tags=tags)

    def open(self, image: ImageSegment, *, index: int) -> Span:
        """Return the token that opens a picture; the text before it learns to predict it.

        Where each copy has boundaries of its own, the span is empty and marks the place only.
        """
        weight = image.weight if image.has_loss else 0.0
        ids = (self.vocabulary.image_open,) if self._around_picture else ()
        return self._text(Origin.OPEN, ids, segment=index, weight=weight, tags=image.tags)

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
            tags=image.tags,
            vit_grid=self._vit_grid(image, grid),
        )
        layout = self.config.layout
        self.time += image_advance(grid, self.config.positions, layout)
        self.time += layout.part_step if image.vit and image.latents else 0
        if not self._around_picture:
            return [span]
        ids = (self.vocabulary.image_close,)
        return [span, self._text(Origin.CLOSE, ids, segment=index, tags=image.tags)]

    def grid(self, image: ImageSegment) -> tuple[int, int]:
        """Return (rows, cols) of a picture in tokens."""
        height, width = image.size
        if height % self.token_pixels or width % self.token_pixels or not height or not width:
            raise DataError(
                f"picture of {height} x {width} pixels: both sides must be multiples of "
                f"{self.token_pixels}; run mogao.data.images.fit on it first"
            )
        grid = height // self.token_pixels, width // self.token_pixels
        tables = self.config.grid_tables
        if tables is not None and max(grid) > tables.latent_side:
            raise DataError(
                f"picture of {height} x {width} pixels: {max(grid)} tokens a side, but the table "
                f"of positions has {tables.latent_side}; make it smaller"
            )
        return grid

    def _vit_grid(self, image: ImageSegment, grid: tuple[int, int]) -> tuple[int, int]:
        size, tables = self.config.layout.vit_size, self.config.grid_tables
        if size is None:
            return grid
        height, width = vit_sides(image.size, size)
        found = height // size.patch_pixels, width // size.patch_pixels
        if tables is not None and image.vit and max(found) > tables.vit_side:
            raise DataError(
                f"picture of {image.size[0]} x {image.size[1]} pixels: {max(found)} patches a "
                f"side, but the table of positions has {tables.vit_side}; make it less narrow"
            )
        return found

    @property
    def _around_picture(self) -> bool:
        """Whether one pair of boundary tokens encloses all copies of a picture."""
        return self.config.layout.boundary == "picture"

    def _text(
        self,
        origin: Origin,
        ids: tuple[int, ...],
        *,
        segment: int,
        weight: float = 0.0,
        tags: tuple[str, ...] = (),
    ) -> Span:
        span = Span(origin, segment, self.time, ids, weight=weight, tags=tags)
        self.time += len(ids)
        return span
