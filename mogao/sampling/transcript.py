"""What was said and shown, as segments and as the spans of tokens that training would lay out.

In: segments of the user and of the model. Out: spans with fixed times; they equal those of
`mogao.packing.layout.spans_of` for the same document, but that text written by the model keeps the
ids it was written with, and that the last turn is still open. It knows no tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from mogao.config import LayoutConfig, TransformerConfig
from mogao.packing.spans import Origin, Span, SpanWriter, Vocabulary, vit_sides
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment


@dataclass(frozen=True, slots=True)
class Mark:
    """A place to which a transcript can go back."""

    num_segments: int
    num_spans: int
    num_tokens: int
    time: int
    role: Role | None


class Transcript:
    """The document so far; its last turn is open.

    Attributes:
        segments: Everything that is complete.
        spans: All tokens, those of an unfinished segment included.
        num_tokens: Tokens that a context without drops keeps in its cache.
        ids: Of each segment that the model wrote, the tokens it was written with; else None.
        writer: Makes the next spans.
    """

    def __init__(
        self, vocabulary: Vocabulary, config: TransformerConfig, *, token_pixels: int
    ) -> None:
        self._vocabulary, self._config, self._token_pixels = vocabulary, config, token_pixels
        self.segments: list[Segment] = []
        self.ids: list[tuple[int, ...] | None] = []
        self._role: Role | None = None
        self._restart()

    @property
    def sequence(self) -> InterleavedSequence:
        """The document as every other part of the package takes it."""
        return InterleavedSequence(tuple(self.segments))

    @property
    def is_conversation(self) -> bool:
        """Whether turns have role tokens: somebody other than the model has spoken."""
        return any(segment.role != "model" for segment in self.segments)

    @property
    def text_ids(self) -> list[int]:
        """Ids of all text, in order, without markers."""
        return [i for span in self.spans if span.origin is Origin.TEXT for i in span.ids]

    @property
    def index(self) -> int:
        """Number of the segment that is being written."""
        return len(self.segments)

    @property
    def time(self) -> int:
        """Time position of the next token."""
        return self.writer.time

    def copy(self) -> Transcript:
        """Return an independent transcript with the same content."""
        other = copy(self)
        other.segments, other.spans = list(self.segments), list(self.spans)
        other.ids, other.writer = list(self.ids), copy(self.writer)
        return other

    def add(self, segment: Segment) -> None:
        """Append a complete segment; the first one of another speaker opens turns from the start.

        Raises:
            DataError: A picture does not fit the token grid.
        """
        was_conversation = self.is_conversation or not self.segments
        self.segments.append(segment)
        self.ids.append(None)
        if was_conversation or not self.is_conversation:
            self._lay_out(len(self.segments) - 1)
            return
        self.cut(len(self.segments))

    def open_turn(self, role: Role) -> None:
        """Open a turn with its role token where the document is a conversation."""
        if self.is_conversation or role != "model":
            self._turn(role, index=self.index)

    def open_text(self, *, tags: tuple[str, ...] = ()) -> None:
        """Append what opens a text, where texts are framed."""
        self._append(self.writer.frame_begin(index=self.index, tags=tags))

    def write_token(self, token: int, *, tags: tuple[str, ...] = ()) -> Span:
        """Append a token of the text that is being written."""
        span = self.writer.text_ids((token,), index=self.index, tags=tags)
        self._append([span])
        return span

    def finish_text(self, segment: TextSegment, ids: Sequence[int]) -> None:
        """Complete the text whose tokens were written one by one."""
        self._append(self.writer.frame_end(index=self.index, tags=segment.tags))
        self.segments.append(segment)
        self.ids.append(tuple(ids))

    def open_picture(self, image: ImageSegment) -> int:
        """Append the token that opens a picture and return the picture's time position."""
        self._append([self.writer.open(image, index=self.index)])
        return self.writer.time

    def finish_picture(self, image: ImageSegment) -> None:
        """Complete the opened picture and close it."""
        self._append(self.writer.picture(image, index=self.index))
        self.segments.append(image)
        self.ids.append(None)

    def mark(self) -> Mark:
        """Return where the transcript is."""
        return Mark(self.index, len(self.spans), self.num_tokens, self.time, self._role)

    def rewind(self, mark: Mark) -> None:
        """Forget everything behind a mark."""
        del self.segments[mark.num_segments :], self.ids[mark.num_segments :]
        del self.spans[mark.num_spans :]
        self.num_tokens, self.writer.time, self._role = mark.num_tokens, mark.time, mark.role

    def cut(self, num_segments: int) -> None:
        """Forget all but the first segments; the way back over a change to a conversation."""
        del self.segments[num_segments:], self.ids[num_segments:]
        self._restart()
        for index in range(num_segments):
            self._lay_out(index)

    def _restart(self) -> None:
        self.writer = SpanWriter(self._vocabulary, self._config, token_pixels=self._token_pixels)
        self._role = None
        self.spans: list[Span] = []
        self.num_tokens = 0
        self._append(self.writer.begin())

    def _turn(self, role: Role, *, index: int) -> None:
        if self._role == role or self._config.layout.text_frame:
            return
        if self._role is not None and self.writer.closes(self._role):
            self._append(self.writer.end(segment=index - 1, in_turn=True))
        self._append([self.writer.role(role, segment=index)])
        self._role = role

    def _lay_out(self, index: int) -> None:
        """Append the spans of a complete segment, its turn's opening included."""
        segment, ids = self.segments[index], self.ids[index]
        if self.is_conversation:
            self._turn(segment.role, index=index)
        if ids is not None:
            tags = segment.tags
            self._append(self.writer.frame_begin(index=index, tags=tags))
            self._append([self.writer.text_ids((i,), index=index, tags=tags) for i in ids])
            self._append(self.writer.frame_end(index=index, tags=tags))
        else:
            self._append(self.writer.segment(segment, index=index))

    def _append(self, spans: Sequence[Span]) -> None:
        self.spans.extend(spans)
        self.num_tokens += sum(num_cached_tokens(span, self._config.layout) for span in spans)


def num_picture_tokens(size: tuple[int, int], layout: LayoutConfig, *, token_pixels: int) -> int:
    """Return how many tokens a drawn picture of (height, width) pixels adds to a full context.

    Those are its two copies, of which that for understanding may have a size of its own, and the
    boundary tokens around each copy or around both.
    """
    scaled, side = size, token_pixels
    if layout.vit_size is not None:
        scaled, side = vit_sides(size, layout.vit_size), layout.vit_size.patch_pixels
    copies = size[0] * size[1] // token_pixels**2 + scaled[0] * scaled[1] // side**2
    return copies + (4 if layout.boundary == "part" else 2)


def num_cached_tokens(span: Span, layout: LayoutConfig) -> int:
    """Return how many tokens of a span a context without drops keeps."""
    if span.origin is not Origin.PICTURE or span.image is None:
        return len(span.ids)
    around = 2 if layout.boundary == "part" else 0
    copies = ((span.image.vit, span.vit_grid), (span.image.latents, span.grid))
    return sum(rows * cols + around for is_kept, (rows, cols) in copies if is_kept)
