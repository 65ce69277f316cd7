"""The mask rule: hand-written matrices, and the same answer in every form it is asked in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mogao.config import VisibilityConfig
from mogao.packing.layout import TokenKind, lay_out
from mogao.packing.mask import MaskRule, RunView, TokenMeta
from mogao.packing.pack import PackedBatch, pack
from mogao.sequence import InterleavedSequence, TextSegment
from tests.packing.documents import (
    DOCUMENTS,
    ROUTINGS,
    Plain,
    image,
    laid_out,
    latents_of,
    settings_of,
)
from tests.packs import VOCABULARY

PAPER = MaskRule.from_config(VisibilityConfig())
# Two segments of text (x) and two pictures as VIT (u), CLEAN (c) and NOISY (n) tokens; rows are
# queries, C is causal, F is all.
BLOCKS = """
C.......
FF......
FFF.....
F..F....
FF..C...
FF..FF..
FFF.FFF.
FFF.F..F
"""
# One row per token of [begin a open | VIT | CLEAN | NOISY | close b open | VIT | NOISY | close]:
# two texts, two pictures of two tokens, a learned end. The second picture has no CLEAN tokens.
TOKENS = """
1.. .. .. .. ... .. .. .
11. .. .. .. ... .. .. .
111 .. .. .. ... .. .. .
111 11 .. .. ... .. .. .
111 11 .. .. ... .. .. .
111 11 11 .. ... .. .. .
111 11 11 .. ... .. .. .
111 .. .. 11 ... .. .. .
111 .. .. 11 ... .. .. .
111 11 .. .. 1.. .. .. .
111 11 .. .. 11. .. .. .
111 11 .. .. 111 .. .. .
111 11 .. .. 111 11 .. .
111 11 .. .. 111 11 .. .
111 11 11 .. 111 .. 11 .
111 11 11 .. 111 .. 11 .
111 11 .. .. 111 11 .. 1
"""
KINDS = ("text", "vit", "clean", "noisy")
TABLES = st.fixed_dictionaries(
    {kind: st.sets(st.sampled_from(KINDS)).map(lambda seen: tuple(sorted(seen))) for kind in KINDS}
)
RULES: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
    {"earlier": TABLES, "own": TABLES}
)


def in_document_order(batch: PackedBatch, rule: MaskRule) -> np.ndarray:
    """The dense mask of a pack of one document, in the order of its layout."""
    place = torch.argsort(batch.meta.index)
    return rule.dense(batch.meta)[place][:, place].numpy()


def test_a_document_of_two_pictures_has_the_matrix_written_by_hand() -> None:
    document = InterleavedSequence((TextSegment("a"), image(1), TextSegment("b"), image(2)))
    config = settings_of()
    batch = pack(lay_out(document, VOCABULARY, config), config, latents=latents_of)
    rows = [line.replace(" ", "") for line in TOKENS.split("\n") if line]
    expected = np.array([[mark == "1" for mark in row] for row in rows])
    assert np.array_equal(in_document_order(batch, PAPER), expected)


def test_every_kind_sees_what_the_table_of_the_paper_says() -> None:
    size = 3
    kinds, ordinals = [0, 1, 2, 3] * 2, [0, 1, 1, 1, 2, 3, 3, 3]
    columns = (np.repeat(kinds, size), np.zeros(8 * size, int), np.repeat(ordinals, size))
    meta = TokenMeta(*map(torch.from_numpy, (*columns, np.arange(8 * size))))
    block = {
        ".": np.zeros((size, size), bool),
        "F": np.ones((size, size), bool),
        "C": np.tril(np.ones((size, size), bool)),
    }
    expected = np.block([[block[mark] for mark in row] for row in BLOCKS.split()])
    assert np.array_equal(PAPER.dense(meta).numpy(), expected)


def test_a_query_kind_reads_the_planes_of_the_table() -> None:
    text, vit, clean = TokenKind.TEXT, TokenKind.VIT, TokenKind.CLEAN
    assert PAPER.reads(text) == PAPER.reads(vit) == (text, vit)
    assert PAPER.reads(clean) == PAPER.reads(TokenKind.NOISY) == (text, vit, clean)


def expanded(batch: PackedBatch, rule: MaskRule) -> np.ndarray:
    """The mask that `run_views` means: block by block, document by document."""
    table = batch.table
    mask = np.zeros((batch.num_tokens, batch.num_tokens), bool)
    for document in np.unique(table.document):
        runs = np.flatnonzero(table.document == document)
        views = rule.run_views(table.kind[runs], table.ordinal[runs])
        for (row, column), view in np.ndenumerate(views):
            query, key = runs[row], runs[column]
            rows = slice(table.start[query], table.start[query] + table.length[query])
            columns = slice(table.start[key], table.start[key] + table.length[key])
            assert query == key or view != RunView.CAUSAL
            full = np.full((table.length[query], table.length[key]), view != RunView.NONE)
            mask[rows, columns] = np.tril(full) if view == RunView.CAUSAL else full
    return mask


@given(drawn=DOCUMENTS, routing=ROUTINGS, tables=RULES)
@settings(max_examples=60, deadline=None)
def test_run_views_and_mask_mod_agree_with_the_dense_mask(drawn, routing, tables) -> None:
    config = settings_of(routing=routing, visibility=tables)
    layouts = laid_out(drawn, config)
    assume(layouts)
    batch = pack(layouts, config, latents=latents_of)
    rule = MaskRule.from_config(config.visibility)
    dense = rule.dense(batch.meta).numpy()
    assert np.array_equal(expanded(batch, rule), dense)
    places = torch.arange(batch.num_tokens)
    nothing = torch.zeros((), dtype=torch.long)
    asked = rule.mask_mod(batch.meta)(nothing, nothing, places[:, None], places[None])
    assert np.array_equal(asked.numpy(), dense)


@given(drawn=DOCUMENTS, routing=ROUTINGS, tables=RULES)
@settings(max_examples=60, deadline=None)
def test_nothing_sees_another_document(drawn: list[list[Plain]], routing, tables) -> None:
    config = settings_of(routing=routing, visibility=tables)
    layouts = laid_out(drawn, config)
    assume(len(layouts) > 1)
    batch = pack(layouts, config, latents=latents_of)
    sizes = [layout.table.num_tokens for layout in layouts]
    assert np.bincount(batch.meta.document).tolist() == sizes
    foreign = batch.meta.document[:, None] != batch.meta.document[None]
    assert not (MaskRule.from_config(config.visibility).dense(batch.meta) & foreign).any()


@given(drawn=DOCUMENTS)
@settings(max_examples=40, deadline=None)
def test_by_the_paper_every_token_sees_itself_and_nothing_later(drawn: list[list[Plain]]) -> None:
    config = settings_of()
    for layout in laid_out(drawn, config):
        batch = pack([layout], config, latents=latents_of)
        mask = in_document_order(batch, PAPER)
        assert mask.diagonal().all()
        ordinal = layout.table.per_token(layout.table.ordinal)
        assert not mask[ordinal[:, None] < ordinal[None]].any()
        is_noisy = layout.table.per_token(layout.table.kind) == TokenKind.NOISY
        assert not mask[np.ix_(~is_noisy, is_noisy)].any()
