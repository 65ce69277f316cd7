"""Texts on one page are decoded as one batch, and each gets what it would get alone."""

from __future__ import annotations

import pytest
import torch

from mogao.config import KEEP_ALL
from mogao.packing.layout import TokenKind
from mogao.packing.positions import text_positions
from mogao.pipeline import Mogao
from mogao.sampling.batches import batch_tokens
from mogao.sampling.cache import Plane
from mogao.sampling.context import Context
from mogao.sampling.groups import CommitGroup, Run
from mogao.sampling.runner import Runner, slab_pool
from mogao.sampling.slabs import BLOCK_TOKENS
from tests.tolerances import CACHED


def group_of(context: Context, ids: list[int]) -> CommitGroup:
    runner = context.runner
    start = context.cache.lengths[0]
    positions = torch.from_numpy(text_positions(start, len(ids), runner.config.positions))
    return CommitGroup(
        [Run(TokenKind.TEXT, positions, torch.tensor(ids))], context.cache, runner.rule
    )


def contexts_of(runner: Runner, lengths: list[int]) -> list[Context]:
    contexts = [Context(runner, drop=KEEP_ALL) for _ in lengths]
    for number, (context, length) in enumerate(zip(contexts, lengths, strict=True)):
        if not length:
            continue
        runner.commit([group_of(context, [10 + (7 * i + number) % 200 for i in range(length)])])
    return contexts


def sizes(groups: list[CommitGroup]) -> list[int]:
    """Members of each batch; all else counts one."""
    batches, others = batch_tokens(groups, least=2)
    assert len(others) + sum(len(batch.members) for batch in batches) == len(groups)
    return sorted([len(batch.members) for batch in batches] + [1] * len(others))


@pytest.mark.parametrize("is_compiled", [False, True], ids=["layers", "one function"])
def test_a_batch_of_texts_equals_each_text_alone(model: Mogao, monkeypatch, is_compiled) -> None:
    lengths = [5, 70, 1, BLOCK_TOKENS - 1, BLOCK_TOKENS + 9, 30]
    transformer = model.parts.transformer
    with torch.inference_mode():
        alone = contexts_of(Runner(transformer), lengths)
        joined = contexts_of(Runner(transformer, pool=slab_pool(transformer, num_slots=5)), lengths)
        joined.pop(1)  # its place stays free: a gap in the batch
        alone.pop(1)
        for contexts in (joined, alone):  # keys in two places: takes no part in the batch
            contexts.append(Context(contexts[0].runner, drop=KEEP_ALL))
            contexts[-1].cache = contexts[0].cache.fork()
        for token in (20, 21):
            groups = [group_of(context, [token + i]) for i, context in enumerate(joined)]
            # What a compiled model does for texts alone, without the compiler.
            monkeypatch.setattr(transformer, "is_compiled", is_compiled)
            got = joined[0].runner.commit(groups)
            monkeypatch.setattr(transformer, "is_compiled", False)
            for i, (context, logits) in enumerate(zip(alone, got, strict=True)):
                (expected,) = context.runner.commit([group_of(context, [token + i])])
                assert logits is not None
                assert expected is not None
                torch.testing.assert_close(logits, expected, rtol=CACHED, atol=CACHED)
        for context, other in zip(joined, alone, strict=True):
            assert context.cache.lengths == other.cache.lengths
            for plane in Plane:
                torch.testing.assert_close(
                    context.cache.committed(plane), other.cache.committed(plane),
                    rtol=CACHED, atol=CACHED,
                )  # fmt: skip
        # The text of 255 tokens has grown onto the page of the longest; three stay on the first.
        assert sizes([group_of(context, [5]) for context in joined]) == [1, 2, 3]


def test_what_is_not_one_token_of_text_is_left_alone(model: Mogao) -> None:
    transformer = model.parts.transformer
    with torch.inference_mode():
        one, two = contexts_of(
            Runner(transformer, pool=slab_pool(transformer, num_slots=2)), [4, 4]
        )
        assert sizes([group_of(one, [5]), group_of(two, [5, 6])]) == [1, 1]
        assert sizes([group_of(one, [5]), group_of(two, [5])]) == [2]
        (empty,) = contexts_of(one.runner, [0])  # has no past
        assert sizes([group_of(one, [5]), group_of(empty, [5])]) == [1, 1]
        apart = contexts_of(Runner(transformer), [4, 4])  # one slab on a page
        assert sizes([group_of(context, [5]) for context in apart]) == [1, 1]


def test_a_place_is_free_again_and_empty_for_the_next(model: Mogao) -> None:
    transformer = model.parts.transformer
    pool = slab_pool(transformer, num_slots=2)
    with torch.inference_mode():
        first, second = contexts_of(Runner(transformer, pool=pool), [4, 4])
        page = second.cache.slabs[0].page
        assert page.free == set()
        first.cache.slabs[0].rows.fill_(float("nan"))
        del first
        assert page.free == {0}
        (third,) = contexts_of(second.runner, [2])
        assert third.cache.slabs[0].page is page
        assert bool(page.rows.isfinite().all())


def test_long_texts_do_not_take_room_for_others(model: Mogao) -> None:
    pool = slab_pool(model.parts.transformer, num_slots=8)
    assert [pool.take(rows)[0].rows.shape[2] for rows in (10, 2000, 5000, 9000)] == [8, 4, 1, 1]
