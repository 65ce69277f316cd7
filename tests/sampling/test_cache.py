"""The cache holds what was committed, in order, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from mogao.config import TransformerConfig, VisibilityConfig
from mogao.errors import ConfigError
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.sampling.cache import KVCache, Plane, held_bytes, planes_read
from mogao.sampling.slabs import BLOCK_TOKENS, SlabPool

CONFIG = TransformerConfig(hidden=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8)


def new_cache() -> KVCache:
    return KVCache(SlabPool(CONFIG, dtype=torch.float32, device=torch.device("cpu"), num_slots=2))


def write(cache: KVCache, rows: Tensor, *, plane: Plane = Plane.TEXT) -> None:
    cache.reserve(plane, len(rows))
    for layer in range(CONFIG.num_layers):
        cache.write(layer, plane, keys=rows + layer, values=-rows)
    cache.advance(plane, len(rows))


def rows_of(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None].expand(-1, 1, 8)


def test_committed_rows_come_back_in_order_across_growth() -> None:
    cache = new_cache()
    for start in range(0, 3 * BLOCK_TOKENS, 100):
        write(cache, rows_of(*range(start, start + 100)))
    total = cache.lengths[Plane.TEXT]
    ((keys, values),) = cache.read(1, Plane.TEXT, start=0, stop=total)
    assert torch.equal(keys[0, :, 0], torch.arange(total) + 1.0)
    assert torch.equal(values[0, :, 0], -torch.arange(total).float())


def test_memory_grows_by_doubling_whole_blocks() -> None:
    cache = new_cache()
    sizes = set()
    for _ in range(40):
        write(cache, rows_of(*range(50)))
        sizes.add(cache.slabs[0].rows.shape[3])
    assert sizes == {BLOCK_TOKENS, 2 * BLOCK_TOKENS, 4 * BLOCK_TOKENS, 8 * BLOCK_TOKENS}
    assert cache.bytes == 8 * BLOCK_TOKENS * 2 * 2 * 8 * 4


def test_written_rows_count_only_after_advance() -> None:
    cache = new_cache()
    write(cache, rows_of(1, 2))
    cache.reserve(Plane.TEXT, 1)
    cache.write(0, Plane.TEXT, keys=rows_of(9), values=rows_of(9))
    assert cache.lengths == [2, 0]
    write(cache, rows_of(3))
    assert cache.committed(Plane.TEXT)[0, 0, 0, :, 0].tolist() == [1, 2, 3]


def committed(cache: KVCache, plane: Plane = Plane.TEXT) -> list[float]:
    rows: list[float] = cache.committed(plane)[0, 0, 0, :, 0].tolist()
    pieces = cache.read(0, plane, start=0, stop=cache.lengths[plane])
    assert [x for piece in pieces for x in piece[0, 0, :, 0].tolist()] == rows
    return rows


def test_truncate_forgets() -> None:
    cache = new_cache()
    write(cache, rows_of(1, 2, 3))
    write(cache, rows_of(7), plane=Plane.CLEAN)
    cache.truncate([1, 0])
    write(cache, rows_of(5))
    assert committed(cache) == [1, 5]
    assert committed(cache, Plane.CLEAN) == []


def test_a_fork_shares_memory_and_nothing_else() -> None:
    cache = new_cache()
    write(cache, rows_of(1, 2, 3))
    fork = cache.fork()
    assert held_bytes([cache, fork]) == cache.bytes
    write(cache, rows_of(4))
    write(fork, rows_of(9))
    assert (committed(cache), committed(fork)) == ([1, 2, 3, 4], [1, 2, 3, 9])
    assert held_bytes([cache, fork]) == 2 * cache.bytes
    # The parent goes back behind what the fork reads and writes something else.
    cache.truncate([1, 0])
    write(cache, rows_of(6, 7))
    assert (committed(cache), committed(fork)) == ([1, 6, 7], [1, 2, 3, 9])
    short = cache.fork([2, 0])
    assert committed(short) == [1, 6]
    with pytest.raises(ValueError, match="cannot cut"):
        cache.fork([4, 0])


def test_rows_reserved_but_never_counted_are_overwritten() -> None:
    cache = new_cache()
    write(cache, rows_of(1))
    fork = cache.fork()
    fork.reserve(Plane.TEXT, 2)
    fork.write(0, Plane.TEXT, keys=rows_of(8, 8), values=rows_of(8, 8))
    again = fork.fork()
    write(fork, rows_of(2))
    write(again, rows_of(3))
    assert [committed(c) for c in (cache, fork, again)] == [[1], [1, 2], [1, 3]]


class Caches(RuleBasedStateMachine):
    """Any program of writing, cutting and forking, against plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[KVCache, list[list[float]]]] = [(new_cache(), [[], []])]
        self.next = 0.0

    @rule(which=st.integers(0, 20), plane=st.sampled_from(Plane), count=st.integers(1, 300))
    def write(self, which: int, plane: Plane, count: int) -> None:
        cache, expected = self.pairs[which % len(self.pairs)]
        numbers = [self.next + i for i in range(count)]
        self.next += count
        write(cache, torch.tensor(numbers)[:, None, None].expand(-1, 1, 8), plane=plane)
        expected[plane] += numbers

    @rule(which=st.integers(0, 20), text=st.integers(0, 700), clean=st.integers(0, 700))
    def cut(self, which: int, text: int, clean: int) -> None:
        cache, expected = self.pairs[which % len(self.pairs)]
        lengths = [min(n, len(e)) for n, e in zip((text, clean), expected, strict=True)]
        cache.truncate(lengths)
        expected[:] = [e[:n] for n, e in zip(lengths, expected, strict=True)]

    @precondition(lambda self: len(self.pairs) < 6)
    @rule(which=st.integers(0, 20), text=st.integers(0, 700))
    def fork(self, which: int, text: int) -> None:
        cache, expected = self.pairs[which % len(self.pairs)]
        lengths = [min(text, len(expected[0])), len(expected[1])]
        copies = [e[:n] for n, e in zip(lengths, expected, strict=True)]
        self.pairs.append((cache.fork(lengths), copies))

    @precondition(lambda self: len(self.pairs) > 1)
    @rule(which=st.integers(0, 20))
    def close(self, which: int) -> None:
        self.pairs.pop(which % len(self.pairs))

    @invariant()
    def each_holds_its_own(self) -> None:
        for cache, expected in self.pairs:
            assert cache.lengths == [len(e) for e in expected]
            for plane in Plane:
                assert committed(cache, plane) == expected[plane]


TestCaches = Caches.TestCase
TestCaches.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("lengths", [[4, 0], [-1, 0], [3]])
def test_truncate_refuses_lengths_that_were_never_committed(lengths: list[int]) -> None:
    cache = new_cache()
    write(cache, rows_of(1, 2, 3))
    with pytest.raises(ValueError, match=r"cannot cut|shorter|longer"):
        cache.truncate(lengths)


def test_planes_follow_the_visibility_table() -> None:
    rule = MaskRule.from_config(VisibilityConfig())
    assert planes_read(rule, TokenKind.TEXT) == {Plane.TEXT}
    assert planes_read(rule, TokenKind.VIT) == {Plane.TEXT}
    assert planes_read(rule, TokenKind.CLEAN) == {Plane.TEXT, Plane.CLEAN}
    assert planes_read(rule, TokenKind.NOISY) == {Plane.TEXT, Plane.CLEAN}


@pytest.mark.parametrize("seen", [("text",), ("text", "vit", "clean", "noisy")])
def test_a_rule_that_splits_a_plane_is_refused(seen: tuple[str, ...]) -> None:
    config = VisibilityConfig()
    earlier = config.earlier | {"noisy": seen}
    rule = MaskRule.from_config(VisibilityConfig.model_validate({"earlier": earlier}))
    with pytest.raises(ConfigError, match=r"visibility\.earlier\.noisy"):
        planes_read(rule, TokenKind.NOISY)
