"""Random documents of text and pictures, and latents by which a picture is known again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from mogao.config import LayoutConfig, RoutingConfig, TransformerConfig
from mogao.packing.layout import Layout, lay_out
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment
from tests.packs import VOCABULARY
from tests.tiny import tiny_config


class Plain(NamedTuple):
    """What a segment is made of; a text where `grid` is empty."""

    text: str
    grid: tuple[int, int]
    role: Role
    loss: bool | None
    vit: bool
    latents: bool


GRIDS = st.tuples(st.integers(1, 2), st.integers(1, 3))
SEGMENTS = st.builds(
    Plain,
    text=st.text("abc", min_size=1, max_size=4),
    grid=st.one_of(st.just((0, 0)), GRIDS),
    role=st.sampled_from(["model", "model", "user"]),
    loss=st.sampled_from([None, None, True, False]),
    vit=st.sampled_from([True, True, False]),
    latents=st.sampled_from([True, True, False]),
)
# Segments are built inside the tests: type-checked dataclasses must not be made in a strategy.
DOCUMENTS = st.lists(st.lists(SEGMENTS, min_size=1, max_size=6), min_size=1, max_size=3)


def settings_of(**changes: Any) -> TransformerConfig:
    """The tiny transformer with another layout, routing or other positions."""
    return tiny_config(vocab_size=160, **changes).transformer


ROUTINGS = st.sampled_from(
    [
        RoutingConfig(),
        RoutingConfig(vit="visual"),
        RoutingConfig(clean="text", noisy="text"),
        RoutingConfig(text="visual", vit="visual", clean="text", noisy="text"),
    ]
)
LAYOUTS = st.sampled_from(
    [LayoutConfig(), LayoutConfig(part_order=("noisy", "clean", "vit"), position_step=3)]
)


def image(number: int, grid: tuple[int, int] = (1, 2), **settings: Any) -> ImageSegment:
    """A picture of one grey, by which its tokens are known again."""
    pixels = np.full((16 * grid[0], 16 * grid[1], 3), number, np.uint8)
    return ImageSegment(pixels, **settings)


def number_of(picture: ImageSegment) -> int:
    return int(picture.pixels[0, 0, 0])


def latents_of(pictures: Sequence[ImageSegment]) -> list[Tensor]:
    """Latents that hold the grey of their picture."""
    return [
        torch.full((picture.pixels[..., 0].size // 256, 16), float(number_of(picture)))
        for picture in pictures
    ]


def built(plain: Sequence[Plain], *, first: int = 1) -> InterleavedSequence:
    """The document; picture i has grey `first` + i and, times ten, that weight."""
    segments: list[Segment] = []
    for index, part in enumerate(plain):
        if not any(part.grid):
            segments.append(TextSegment(part.text, role=part.role, loss=part.loss))
            continue
        segments.append(
            image(
                first + index,
                part.grid,
                role=part.role,
                loss=part.loss,
                weight=(first + index) / 10,
                vit=part.vit,
                latents=part.latents,
            )
        )
    return InterleavedSequence(tuple(segments))


def laid_out(drawn: Sequence[Sequence[Plain]], settings: TransformerConfig) -> list[Layout]:
    """Layouts of all documents in which something is learned."""
    documents = [built(plain, first=1 + 10 * index) for index, plain in enumerate(drawn)]
    return [layout for document in documents for layout in lay_out(document, VOCABULARY, settings)]
