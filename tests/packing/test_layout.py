"""What is laid out of a document, where it stands, and what carries loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.config import LayoutConfig, MRopeConfig, VisibilityConfig
from mogao.errors import DataError
from mogao.packing.layout import Layout, TokenKind, lay_out
from mogao.packing.mask import MaskRule
from mogao.packing.pack import pack
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment
from tests.packing.documents import (
    SEGMENTS,
    Plain,
    built,
    image,
    latents_of,
    number_of,
    settings_of,
)
from tests.packs import VOCABULARY

BEGIN, END, OPEN, CLOSE = (
    VOCABULARY.begin,
    VOCABULARY.end,
    VOCABULARY.image_open,
    VOCABULARY.image_close,
)
A, B, C = VOCABULARY.encode("abc")
RULE = MaskRule.from_config(VisibilityConfig())


def text(words: str = "a", **changes: Any) -> TextSegment:
    return TextSegment(words, **changes)


def seen(number: int = 9, **changes: Any) -> ImageSegment:
    """A picture that nobody learns to draw."""
    return image(number, loss=False, **changes)


def layouts_of(*segments: Segment, end_loss: bool = False, **changes: Any) -> list[Layout]:
    document = InterleavedSequence(segments)
    return lay_out(document, VOCABULARY, settings_of(**changes), end_loss=end_loss)


def layout_of(*segments: Segment, end_loss: bool = False, **changes: Any) -> Layout:
    (layout,) = layouts_of(*segments, end_loss=end_loss, **changes)
    return layout


def runs(layout: Layout) -> str:
    """The runs in words; every picture here has two tokens."""
    words = []
    for kind, length in zip(layout.table.kind, layout.table.length, strict=True):
        assert kind == TokenKind.TEXT or length == 2
        words.append(f"{length}" if kind == TokenKind.TEXT else TokenKind(kind).name.lower())
    return " ".join(words)


# Each text is one token. Numbers count TEXT tokens: begin, texts, open and close tokens.
TRIMMED: dict[str, tuple[list[Segment], str]] = {
    "a picture that ends the document is only drawn": (
        [text(), image(1)],
        "3 noisy",
    ),
    "text with loss behind it sees its VIT, nobody its CLEAN copy": (
        [text(), image(1), text()],
        "3 vit noisy 1",
    ),
    "text without loss behind it needs nothing and goes": (
        [text(), image(1), text(loss=False)],
        "3 noisy",
    ),
    "a later drawn picture sees VIT and CLEAN": (
        [text(), image(1), text(), image(2)],
        "3 vit clean noisy 3 noisy",
    ),
    "a picture without loss is history of a drawn one": (
        [seen(), text(loss=False), image(1)],
        "2 vit clean 3 noisy",
    ),
    "a picture without loss in front of text is only looked at": (
        [seen(), text()],
        "2 vit 1",
    ),
    "a picture without loss behind everything learned goes": (
        [text("ab"), seen()],
        "2",
    ),
    "the same behind the last drawn picture": (
        [text(), image(1), seen(), text(loss=False)],
        "3 noisy",
    ),
    "text sees every earlier picture, drawn ones see their whole history": (
        [seen(1), image(2), image(3), text()],
        "2 vit clean 2 vit clean noisy 2 vit noisy 1",
    ),
    "what weighs nothing is not learned": (
        [text(weight=0.0), image(1, weight=0.0), text()],
        "3 vit 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("segments", "expected"), TRIMMED.values(), ids=list(TRIMMED))
def test_a_part_is_laid_out_only_if_a_loss_can_see_it(
    segments: list[Segment], expected: str
) -> None:
    assert runs(layout_of(*segments)) == expected


def test_a_learned_end_counts_as_later_text() -> None:
    assert runs(layout_of(text(), image(1), end_loss=True)) == "3 vit noisy 1"
    question: list[Segment] = [seen(1, role="user"), text(role="user"), text("b")]
    # begin user open | VIT | close a model: the end token itself only is a target.
    assert runs(layout_of(*question)) == "3 vit 3"
    assert runs(layout_of(*question, end_loss=True)) == "3 vit 4"
    # The end behind a segment without loss is not learned either.
    assert runs(layout_of(text(), seen(), end_loss=True)) == "1"


def test_a_document_without_loss_is_not_laid_out() -> None:
    assert layouts_of(text(loss=False), seen()) == []
    assert layouts_of(text(role="user"), image(1, role="user")) == []


def copies_by_the_rule(segments: Sequence[Segment]) -> set[tuple[int, TokenKind]]:
    """Row 7 of the decisions, read off the segments: the grey and the kind of each copy."""
    copies = set()
    for index, item in enumerate(segments):
        if isinstance(item, TextSegment):
            continue
        learned = [later for later in segments[index + 1 :] if later.has_loss]
        is_drawn_later = any(isinstance(later, ImageSegment) for later in learned)
        ends = [
            spoken.has_loss
            for spoken, after in zip(segments[index:], [*segments[index + 1 :], None], strict=True)
            if spoken.role == "model" and (after is None or after.role != "model")
        ]
        if item.vit and (learned or any(ends)):
            copies.add((number_of(item), TokenKind.VIT))
        if item.latents and is_drawn_later:
            copies.add((number_of(item), TokenKind.CLEAN))
        if item.has_loss:
            copies.add((number_of(item), TokenKind.NOISY))
    return copies


@given(plain=st.lists(SEGMENTS, min_size=1, max_size=7))
@settings(max_examples=100, deadline=None)
def test_random_documents_have_the_copies_of_the_rule(plain: list[Plain]) -> None:
    document = built(plain)
    layouts = lay_out(document, VOCABULARY, settings_of())
    found = {
        (number_of(picture), TokenKind(int(kind)))
        for layout in layouts
        for kind, picture in zip(layout.table.kind, layout.images, strict=True)
        if picture is not None
    }
    assert found == copies_by_the_rule(document.segments)


def test_the_last_token_before_a_picture_learns_to_open_it() -> None:
    first, drawn = text("ab", weight=2.0), image(1, weight=0.5)
    layout = layout_of(first, drawn, text("c", weight=3.0), end_loss=True)
    assert layout.ids.tolist() == [BEGIN, A, B, OPEN, CLOSE, C]
    learned = layout.target_weights > 0
    # The open token predicts nothing, for nobody has to predict the close token.
    assert learned.tolist() == [True, True, True, False, True, True]
    assert layout.targets[learned].tolist() == [A, B, OPEN, C, END]
    assert layout.target_weights.tolist() == [2.0, 2.0, 0.5, 0.0, 3.0, 3.0]


def test_what_others_say_is_read_but_not_learned() -> None:
    layout = layout_of(text("ab", role="user"), text("c"), end_loss=True)
    assert layout.ids.tolist() == [BEGIN, VOCABULARY.user, A, B, VOCABULARY.model, C]
    assert layout.target_weights.tolist() == [0, 0, 0, 0, 1, 1]
    assert layout.targets[-2:].tolist() == [C, END]


def test_the_line_break_behind_a_chatml_turn_is_context_alone() -> None:
    config = LayoutConfig(turns="chatml", begin=False)
    spoken = [text("a", role="user"), text("b"), text("a", role="user"), text("c")]
    layout = layout_of(*spoken, end_loss=True, layout=config)
    words = VOCABULARY.encode
    asked = [BEGIN, *words("user\n"), A, END, *words("\n"), BEGIN, *words("assistant\n")]
    # The last end is a target only, the line break behind it is nothing.
    assert layout.ids.tolist() == [*asked, B, END, *words("\n"), *asked, C]
    learned = layout.target_weights > 0
    assert layout.targets[learned].tolist() == [B, END, C, END]


def test_without_a_begin_token_the_first_token_is_learned_by_nobody() -> None:
    layout = layout_of(text("abc"), layout=LayoutConfig(begin=False))
    assert layout.ids.tolist() == [A, B]
    assert layout.targets.tolist() == [B, C]
    assert layouts_of(text("a"), layout=LayoutConfig(begin=False)) == []


def test_the_loss_map_times_the_weight_is_the_weight_of_each_noisy_token() -> None:
    weights = np.array([[0.0, 0.25, 0.5], [1.0, 2.0, 4.0]], np.float32)
    mapped = image(1, (2, 3), weight=0.5, loss_map=weights)
    plain = image(2, weight=3.0)
    config = settings_of()
    document = InterleavedSequence((text(), mapped, text(), plain))
    batch = pack(lay_out(document, VOCABULARY, config), config, latents=latents_of)
    assert batch.noisy_weights.tolist() == [0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 3.0, 3.0]
    assert batch.noisy_clean[:, 0].tolist() == [1] * 6 + [2] * 2


@pytest.mark.parametrize("shape", [(2, 2), (3, 2)])
def test_a_loss_map_of_another_grid_is_refused(shape: tuple[int, int]) -> None:
    mapped = image(1, (2, 3), loss_map=np.ones(shape, np.float32))
    with pytest.raises(DataError, match="loss_map"):
        layouts_of(text(), mapped)


def test_a_picture_off_the_token_grid_is_refused() -> None:
    pixels = np.zeros((16, 40, 3), np.uint8)
    with pytest.raises(DataError, match=r"16 x 40 pixels.*multiples of 16"):
        layouts_of(text(), ImageSegment(pixels))


@pytest.mark.parametrize(
    ("forbidden", "expected"),
    [
        ({}, "3 vit clean noisy 3 noisy"),
        ({"vit": False}, "3 clean noisy 3 noisy"),
        ({"latents": False}, "3 vit noisy 3 noisy"),
        ({"vit": False, "latents": False}, "3 noisy 3 noisy"),
    ],
)
def test_a_forbidden_copy_is_not_laid_out(forbidden: dict[str, Any], expected: str) -> None:
    assert runs(layout_of(text(), image(1, **forbidden), text(), image(2))) == expected


def test_texts_around_a_picture_without_copies_are_two_stretches() -> None:
    layout = layout_of(text(), seen(vit=False, latents=False), text(), image(2))
    assert runs(layout) == "3 3 noisy"
    assert layout.table.ordinal.tolist() == [0, 2, 3]


@pytest.mark.parametrize("order", [("vit", "clean", "noisy"), ("noisy", "vit", "clean")])
def test_the_part_order_decides_memory_order_alone(order: tuple[Any, ...]) -> None:
    segments = (text(), image(1), text(), image(2), text())
    layout = layout_of(*segments, layout=LayoutConfig(part_order=order))
    named = [TokenKind[name.upper()] for name in order]
    first = layout.table.kind[layout.table.ordinal == 1]
    assert first.tolist() == named
    plain = layout_of(*segments)
    sights, positions = zip(*(by_kind(item) for item in (layout, plain)), strict=True)
    assert np.array_equal(*sights)
    assert np.array_equal(*positions)


def by_kind(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The mask and the positions with the copies of each picture sorted by kind."""
    config = settings_of()
    meta = pack([layout], config, latents=latents_of).meta
    order = np.lexsort((meta.index, meta.kind, meta.ordinal))
    of_layout = np.lexsort(
        (
            np.arange(layout.table.num_tokens),
            layout.table.per_token(layout.table.kind),
            layout.table.per_token(layout.table.ordinal),
        )
    )
    mask: np.ndarray = RULE.dense(meta).numpy()[np.ix_(order, order)]
    return mask, layout.positions[of_layout]


@pytest.mark.parametrize("step", [0, 1, 5])
def test_the_position_step_is_how_far_a_picture_moves_the_time(step: int) -> None:
    config = LayoutConfig(position_step=step)
    layout = layout_of(text("ab"), image(1, (2, 3)), text("c"), image(2), layout=config)
    kinds = layout.table.per_token(layout.table.kind)
    times = layout.positions[:, 0]
    # begin a b open, then close c open; the last close token is not there, it predicts nothing.
    words = [0, 1, 2, 3, 4 + step, 5 + step, 6 + step]
    assert times[kinds == TokenKind.TEXT].tolist() == words
    ordinal = layout.table.per_token(layout.table.ordinal)
    first, second = ((ordinal == n) & (kinds != TokenKind.TEXT) for n in (1, 3))
    assert set(times[first]) == {4}
    assert set(times[second]) == {7 + step}
    grid = [[4, row, column] for row in range(2) for column in range(3)]
    assert layout.positions[first].tolist() == grid * 3


def test_m_rope_moves_the_time_by_the_longer_side() -> None:
    layout = layout_of(image(1, (2, 3)), text("c"), positions=MRopeConfig())
    kinds = layout.table.per_token(layout.table.kind)
    assert layout.positions[kinds == TokenKind.TEXT, 0].tolist() == [0, 1, 2 + 3]


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    step=st.integers(0, 3),
)
@settings(max_examples=30, deadline=None)
def test_the_copies_of_a_picture_share_their_positions(lengths: list[int], step: int) -> None:
    segments: list[Segment] = []
    for number, length in enumerate(lengths):
        segments += [text("a" * length), image(number, (2, 3))]
    layout = layout_of(*segments, layout=LayoutConfig(position_step=step))
    for ordinal in set(layout.table.ordinal.tolist()):
        places = layout.table.per_token(layout.table.ordinal) == ordinal
        if ordinal % 2:
            own = layout.positions[places].reshape(-1, 6, 3)
            assert (own == own[:1]).all()
