"""The cache holds what was committed, in order, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mogao.config import TransformerConfig, VisibilityConfig
from mogao.errors import ConfigError
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.sampling.cache import BLOCK_TOKENS, KVCache, Plane, planes_read

CONFIG = TransformerConfig(hidden=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8)


def new_cache() -> KVCache:
    return KVCache(CONFIG, dtype=torch.float32, device=torch.device("cpu"))


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
    keys, values = cache.read(1, Plane.TEXT, start=0, stop=total)
    assert torch.equal(keys[0, :, 0], torch.arange(total) + 1.0)
    assert torch.equal(values[0, :, 0], -torch.arange(total).float())


def test_memory_grows_by_doubling_whole_blocks() -> None:
    cache = new_cache()
    sizes = set()
    for _ in range(40):
        write(cache, rows_of(*range(50)))
        sizes.add(cache._planes[Plane.TEXT].shape[3])
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


def test_truncate_forgets_and_clone_is_independent() -> None:
    cache = new_cache()
    write(cache, rows_of(1, 2, 3))
    write(cache, rows_of(7), plane=Plane.CLEAN)
    copy = cache.clone()
    cache.truncate([1, 0])
    write(cache, rows_of(5))
    assert cache.committed(Plane.TEXT)[0, 0, 0, :, 0].tolist() == [1, 5]
    assert copy.committed(Plane.TEXT)[0, 0, 0, :, 0].tolist() == [1, 2, 3]
    assert copy.lengths == [3, 1]


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


@pytest.mark.parametrize("seen", [("text",), ("text", "vit", "noisy")])
def test_a_rule_that_splits_a_plane_is_refused(seen: tuple[str, ...]) -> None:
    config = VisibilityConfig()
    earlier = config.earlier | {"noisy": seen}
    rule = MaskRule.from_config(VisibilityConfig.model_validate({"earlier": earlier}))
    with pytest.raises(ConfigError, match=r"visibility\.earlier\.noisy"):
        planes_read(rule, TokenKind.NOISY)
