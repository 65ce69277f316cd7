"""The one type that crosses every border: an interleaved sequence of text and image segments.

In: nothing of this package. Out: frozen values that data produces, packing lays out, sampling
extends and serving sends. It knows no tensors, no tokens and no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["user", "model", "system"]
Pixels = NDArray[np.uint8]  # [height, width, 3], RGB


@dataclass(frozen=True, slots=True)
class TextSegment:
    """A run of text in a document.

    Attributes:
        text: Any Unicode text; it never becomes a special token.
        role: Who speaks. A sequence in which every segment is from the model is a plain document.
        loss: Whether its tokens are learned; None means "learned where the role is model".
        weight: Factor on the loss of its tokens, at least 0.
        tags: Names by which guidance and condition dropout can select the segment.
    """

    text: str
    role: Role = "model"
    loss: bool | None = None
    weight: float = 1.0
    tags: tuple[str, ...] = ()

    @property
    def has_loss(self) -> bool:
        """Whether the tokens of this segment carry loss."""
        return self.role == "model" if self.loss is None else self.loss


@dataclass(frozen=True, slots=True, eq=False)
class ImageSegment:
    """A picture in a document.

    Attributes:
        pixels: RGB bytes, rows first; both sides are multiples of the token size in pixels once
            `mogao.data.images.fit` has run.
        role: Who shows the picture.
        loss: Whether the picture is drawn, that is, laid out as NOISY tokens too; None means
            "where the role is model".
        weight: Factor on the loss of its tokens, at least 0.
        tags: Names by which guidance and condition dropout can select the segment.
        vit: False forbids the VIT copy (understanding tokens).
        latents: False forbids the CLEAN copy (generation tokens that later pictures can see).
        loss_map: Optional float weights [rows, cols] of the NOISY tokens, on the token grid.
    """

    pixels: Pixels
    role: Role = "model"
    loss: bool | None = None
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    vit: bool = True
    latents: bool = True
    loss_map: NDArray[np.float32] | None = None

    @property
    def has_loss(self) -> bool:
        """Whether the picture is to be drawn, that is, gets NOISY tokens."""
        return self.role == "model" if self.loss is None else self.loss

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


Segment = TextSegment | ImageSegment


@dataclass(frozen=True, slots=True, eq=False)
class InterleavedSequence:
    """One document: an ordered list of segments plus free metadata.

    Attributes:
        segments: Text and pictures in reading order.
        id: Name of the record, used in messages and traces.
        meta: Anything the source knows (recipe, truth, licence); never read by the model.
    """

    segments: tuple[Segment, ...]
    id: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def is_conversation(self) -> bool:
        """Whether somebody other than the model speaks, so that turns open with a role token."""
        return any(segment.role != "model" for segment in self.segments)

    @property
    def images(self) -> tuple[ImageSegment, ...]:
        """The pictures in reading order."""
        return tuple(s for s in self.segments if isinstance(s, ImageSegment))

    @property
    def text(self) -> str:
        """All text joined by newlines, for messages and search."""
        return "\n".join(s.text for s in self.segments if isinstance(s, TextSegment))

    def with_segments(self, segments: Sequence[Segment]) -> InterleavedSequence:
        """Return the same document with other segments."""
        return replace(self, segments=tuple(segments))
