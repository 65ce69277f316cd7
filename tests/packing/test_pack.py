"""Packs: every document once, whole, within the budget; and each token where its branch is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mogao.errors import DataError
from mogao.packing.layout import KIND_BY_NAME, Layout, TokenKind, lay_out
from mogao.packing.pack import PackedBatch, Packer, num_tokens, pack
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from tests.packing.documents import (
    DOCUMENTS,
    LAYOUTS,
    ROUTINGS,
    image,
    laid_out,
    latents_of,
    number_of,
    settings_of,
)
from tests.packs import VOCABULARY

# Documents as the lengths of the texts of their layouts; one without layouts teaches nothing.
UNITS = st.lists(st.lists(st.integers(1, 30), max_size=3), max_size=12)


def units_of(lengths: Sequence[Sequence[int]]) -> list[list[Layout]]:
    """Documents of layouts of exactly these lengths."""
    config = settings_of()
    return [
        [
            layout
            for length in unit
            for layout in lay_out(
                InterleavedSequence((TextSegment("x" * length),)),
                VOCABULARY,
                config,
                end_loss=False,
            )
        ]
        for unit in lengths
    ]


def largest(units: Sequence[list[Layout]]) -> int:
    return max([1, *map(num_tokens, units)])


@given(lengths=UNITS, spare=st.integers(0, 40), lookahead=st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_each_document_is_in_one_pack_once_and_whole(lengths, spare, lookahead) -> None:
    units = units_of(lengths)
    budget = largest(units) + spare
    packs = list(Packer(budget, lookahead=lookahead).packs(iter(units)))
    assert all(0 < num_tokens(chosen) <= budget for chosen in packs)
    remaining = [list(map(id, unit)) for unit in units if unit]
    for chosen in packs:
        found = list(map(id, chosen))
        while found:
            unit = next(unit for unit in remaining if unit[0] == found[0])
            assert found[: len(unit)] == unit
            remaining.remove(unit)
            del found[: len(unit)]
    assert not remaining


@given(lengths=UNITS, spare=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_pack_closes_only_when_nothing_that_waits_fits(lengths, spare) -> None:
    units = units_of(lengths)
    budget = largest(units) + spare
    packs = list(Packer(budget, lookahead=len(units) + 1).packs(iter(units)))
    size_of = {id(layout): num_tokens(unit) for unit in units for layout in unit}
    for index, chosen in enumerate(packs):
        room = budget - num_tokens(chosen)
        later = [size_of[id(layout)] for other in packs[index + 1 :] for layout in other]
        assert all(size > room for size in later)


@given(lengths=UNITS, spare=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_without_a_look_ahead_documents_keep_their_order(lengths, spare) -> None:
    units = units_of(lengths)
    packs = Packer(largest(units) + spare, lookahead=1).packs(iter(units))
    assert [id(x) for chosen in packs for x in chosen] == [id(x) for unit in units for x in unit]


@pytest.mark.parametrize(
    ("budget", "sizes", "expected"),
    [
        (100, [3, 20, 5], [[3, 20, 5]]),  # plenty of room to the end: the oldest goes first
        (30, [4, 20, 9, 8], [[20, 9], [8, 4]]),  # little room: the largest that fits
    ],
)
def test_the_oldest_goes_first_and_the_best_fit_closes_a_pack(budget, sizes, expected) -> None:
    packs = Packer(budget, lookahead=4).packs(iter(units_of([[size] for size in sizes])))
    assert [[layout.table.num_tokens for layout in chosen] for chosen in packs] == expected


def test_a_document_above_the_budget_is_named_with_its_size() -> None:
    (unit,) = units_of([[9, 9]])
    with pytest.raises(DataError, match=f"{num_tokens(unit)} tokens.*token_budget = 10"):
        next(Packer(10).packs(iter([unit])))


def test_nothing_is_no_pack() -> None:
    assert list(Packer(10).packs(iter([]))) == []
    with pytest.raises(DataError, match="empty"):
        pack([], settings_of(), latents=latents_of)


def places_of(batch: PackedBatch, document: int) -> Tensor:
    """Packed places of a document's tokens, in the order of its layout."""
    places = (batch.meta.document == document).nonzero().flatten()
    return places[torch.argsort(batch.meta.index[places])]


@given(drawn=DOCUMENTS, routing=ROUTINGS, layout=LAYOUTS)
@settings(max_examples=60, deadline=None)
def test_the_tokens_of_a_branch_are_one_stretch_and_text_comes_first(
    drawn, routing, layout
) -> None:
    config = settings_of(routing=routing, layout=layout)
    layouts = laid_out(drawn, config)
    assume(layouts)
    batch = pack(layouts, config, latents=latents_of)
    branch = {kind: getattr(routing, name) for name, kind in KIND_BY_NAME.items()}
    found = [branch[TokenKind(int(kind))] for kind in batch.meta.kind]
    visual = batch.num_tokens - batch.num_text_branch
    assert found == ["text"] * batch.num_text_branch + ["visual"] * visual
    assert (batch.table.start == np.cumsum(batch.table.length) - batch.table.length).all()
    assert batch.table.per_token(batch.table.kind).tolist() == batch.meta.kind.tolist()


@given(drawn=DOCUMENTS, routing=ROUTINGS, layout=LAYOUTS)
@settings(max_examples=60, deadline=None)
def test_each_document_is_whole_and_its_positions_start_anew(drawn, routing, layout) -> None:
    config = settings_of(routing=routing, layout=layout)
    layouts = laid_out(drawn, config)
    assume(layouts)
    batch = pack(layouts, config, latents=latents_of)
    assert batch.num_tokens == num_tokens(layouts)
    for document, own in enumerate(layouts):
        places = places_of(batch, document)
        assert batch.meta.index[places].tolist() == list(range(own.table.num_tokens))
        for name in ("kind", "ordinal"):
            expected = own.table.per_token(getattr(own.table, name))
            assert getattr(batch.meta, name)[places].tolist() == expected.tolist()
        assert np.array_equal(batch.positions[places].numpy(), own.positions)
        assert batch.positions[places[0]].tolist() == [0, 0, 0]
        times = batch.positions[places][own.table.per_token(own.table.kind) == TokenKind.TEXT, 0]
        assert (times.diff() > 0).all()


@given(drawn=DOCUMENTS, routing=ROUTINGS, layout=LAYOUTS)
@settings(max_examples=60, deadline=None)
def test_every_place_gets_its_own_token_picture_target_and_weight(drawn, routing, layout) -> None:
    config = settings_of(routing=routing, layout=layout)
    layouts = laid_out(drawn, config)
    assume(layouts)
    batch = pack(layouts, config, latents=latents_of)
    # What enters at each packed place: an id, or the grey of a picture (negative: VIT).
    looked_at = [-picture[0, ::16, ::16].flatten().float() for picture in batch.vit_pixels]
    drawn_latents = [batch.clean_latents[:, 0], batch.noisy_clean[:, 0]]
    sources = torch.cat([batch.text_ids.float(), *looked_at, *drawn_latents])
    entering = sources[batch.gather]
    targets = dict(zip(batch.predict_index.tolist(), batch.targets.tolist(), strict=True))
    weights = dict(zip(batch.predict_index.tolist(), batch.target_weights.tolist(), strict=True))
    for document, own in enumerate(layouts):
        places = places_of(batch, document)
        kinds = own.table.per_token(own.table.kind)
        pictures = [grey_of(picture) for picture in own.images]
        expected = np.repeat(np.array(pictures, float), own.table.length)
        expected[kinds == TokenKind.VIT] *= -1
        expected[kinds == TokenKind.TEXT] = own.ids
        assert entering[places].tolist() == expected.tolist()
        for number, place in enumerate(places[kinds == TokenKind.TEXT].tolist()):
            assert weights.pop(place, 0.0) == own.target_weights[number]
            assert targets.pop(place, None) in {None, own.targets[number]}
    assert not weights
    assert not targets
    assert batch.noisy_weights.tolist() == pytest.approx((batch.noisy_clean[:, 0] / 10).tolist())
    lengths = batch.table.length[batch.table.kind == TokenKind.NOISY]
    assert list(batch.noisy_lengths) == lengths.tolist()


def grey_of(picture: ImageSegment | None) -> int:
    return 0 if picture is None else number_of(picture)


def test_the_latents_of_a_picture_are_asked_for_once() -> None:
    config, asked = settings_of(), list[int]()

    def source(pictures: Sequence[ImageSegment]) -> list[Tensor]:
        asked.extend(map(number_of, pictures))
        return latents_of(pictures)

    first, second = image(1), image(2)
    document = InterleavedSequence((first, TextSegment("a"), second, first))
    question = InterleavedSequence((image(3, role="user"), TextSegment("a")))
    layouts = [
        layout for item in (document, question) for layout in lay_out(item, VOCABULARY, config)
    ]
    batch = pack(layouts, config, latents=source)
    assert sorted(asked) == [1, 2]  # nobody needs latents of what is only looked at
    assert batch.clean_latents[:, 0].tolist() == [1, 1, 2, 2]
    assert batch.noisy_clean[:, 0].tolist() == [1, 1, 2, 2, 1, 1]
