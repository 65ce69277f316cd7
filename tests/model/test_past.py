"""Every way of meeting the past finds what plain products find."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor
from torch._inductor.codecache import CppCodeCache

from mogao.model import past as module
from mogao.model.hardware import compiler_available
from mogao.model.past import (
    attend_past,
    attend_pieces,
    find_flash,
    find_in_past,
    find_native,
    is_supported,
)
from tests.tolerances import FLOAT32

needs_compiler = pytest.mark.skipif(
    not compiler_available(torch.device("cpu")), reason="no compiler"
)
# Items, key heads, heads of a group, entries of a head, rows: within and beyond a part of 1,024.
SHAPES = [(1, 2, 2, 64, 1), (3, 2, 2, 64, 300), (2, 1, 4, 32, 1025), (2, 2, 8, 96, 2049)]


def draw(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Queries, and a past that is a view into a longer page."""
    items, heads, group, head_dim, rows = shape
    generator = torch.Generator().manual_seed(rows)
    page = torch.randn(2, items, heads, rows + 37, head_dim, generator=generator).to(dtype)
    q = torch.randn(items, heads, group, head_dim, generator=generator).to(dtype)
    return q, page[:, :, :, :rows]


def hidden_behind(rows: int, *, items: int, seen: int, dtype: torch.dtype) -> Tensor:
    """A bias that hides what the first item has not read."""
    bias = torch.zeros(items, 1, rows, dtype=dtype)
    bias[0, :, seen:] = -torch.inf
    return bias


def assert_same(got: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_library_and_plain_products_find_the_same(shape: tuple[int, int, int, int, int]):
    q, past = draw(shape, torch.float32)
    bias = hidden_behind(shape[4], items=shape[0], seen=shape[4] // 2 + 1, dtype=torch.float32)
    for some in (None, bias):
        assert_same(find_flash(q, past, some), find_in_past(q, past, some))


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
def test_our_kernel_and_plain_products_find_the_same(shape: tuple[int, int, int, int, int]):
    q, past = draw(shape, torch.bfloat16)
    seen = shape[4] // 2 + 1
    bias = hidden_behind(shape[4], items=shape[0], seen=seen, dtype=torch.bfloat16)
    for some in (None, bias):
        assert_same(find_native(q, past, some), find_in_past(q, past, some))
    # Neither batch mates nor hidden rows change a bit.
    alone = find_native(q[:1], past[:, :1, :, :seen], None)
    for one, other in zip(alone, find_native(q, past, bias), strict=True):
        assert torch.equal(one, other[:1])


def test_the_own_key_counts_as_one_more_of_the_past() -> None:
    q, past = draw((3, 2, 2, 8, 11), torch.float32)
    generator = torch.Generator().manual_seed(0)
    k, v = torch.randn(2, 3, 2, 8, generator=generator)
    bias = hidden_behind(11, items=3, seen=4, dtype=torch.float32)
    keys, values = (torch.cat((p, x[:, :, None]), dim=2) for p, x in zip(past, (k, v), strict=True))
    whole = torch.nn.functional.scaled_dot_product_attention(
        q.flatten(1, 2)[:, :, None], keys, values, enable_gqa=True,
        attn_mask=torch.cat((bias, torch.zeros(3, 1, 1)), dim=2)[:, None],
    )  # fmt: skip
    got = attend_past(q.flatten(1, 2), k, v, past=past, bias=bias)
    torch.testing.assert_close(got, whole[:, :, 0], rtol=FLOAT32, atol=FLOAT32)


def test_keys_in_several_places_are_attended_to_as_if_they_were_in_one() -> None:
    q, past = draw((1, 2, 2, 8, 11), torch.float32)
    pieces = [past[:, 0, :, :3], past[:, 0, :, 3:4], past[:, 0, :, 4:]]
    got = attend_pieces(q.flatten(1, 2), pieces)
    expected = find_in_past(q, past, None)[0].flatten(1, 2)
    torch.testing.assert_close(got, expected, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize(
    ("shape", "dtype", "supported"),
    [
        ((1, 2, 2, 64), torch.bfloat16, True),
        ((1, 2, 2, 64), torch.float32, False),
        ((1, 2, 2, 40), torch.bfloat16, False),
        ((1, 2, 9, 64), torch.bfloat16, False),
    ],
)
def test_only_some_shapes_have_a_kernel(
    shape: tuple[int, ...], dtype: torch.dtype, *, supported: bool
):
    assert is_supported(torch.zeros(shape, dtype=dtype)) is supported


def test_where_our_kernel_cannot_be_built_the_library_helps(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(CppCodeCache, "load", fail)
    module._kernel.cache_clear()
    q, past = draw((1, 2, 2, 64, 20), torch.bfloat16)
    with caplog.at_level(logging.WARNING):
        found, sums = find_native(q, past, None)
    module._kernel.cache_clear()
    assert "no space left" in caplog.text
    assert found.dtype == torch.float32
    expected = find_flash(q, past, None)
    assert torch.equal(found, expected[0].float())
    assert torch.equal(sums, expected[1])
