"""Attention of sampling steps to the past: one token of a text, or one noisy picture.

In: queries, keys and values of own tokens, and the past. Out: the attended values. For texts
`find_in_past` is the slow, obvious
reference; eager models take the library's kernel, compiled ones, where the type is bfloat16, our
own (`past.cpp`), which reads the keys once, as fast as memory gives them.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

Grouped = Float[Tensor, "items kv_heads group head_dim"]
Past = Float[Tensor, "2 items kv_heads past head_dim"]
PastBias = Float[Tensor, "items 1 past"] | None
Sums = Float32[Tensor, "items kv_heads group"]

_SOURCE = Path(__file__).with_name("past.cpp")
_FLAGS = ("-march=native", "-ffp-contract=fast")
_ENTRIES = 32  # a head has a multiple of so many entries
_MAX_GROUP = 8  # more heads of a group do not fit into registers
_Strides = ctypes.c_long * 3


def attend_past(
    q: Float[Tensor, "items heads head_dim"],
    k: Float[Tensor, "items kv_heads head_dim"],
    v: Float[Tensor, "items kv_heads head_dim"],
    *,
    past: Past,
    bias: PastBias,
) -> Float[Tensor, "items heads head_dim"]:
    """Attend with one query an item to keys of the past, at least one, and to its own key.

    Nothing is written. The two parts are joined by their sums of exponentials.
    Source: arXiv 2205.14135, section 3.1.
    """
    grouped = q.unflatten(1, (k.shape[1], -1))
    found, sums = find(grouped, past, bias)
    own = (grouped.float() * k[:, :, None].float()).sum(dim=-1) * q.shape[-1] ** -0.5
    share = torch.sigmoid(own - sums)[..., None]
    joined = found.float() * (1 - share) + v[:, :, None].float() * share
    return joined.flatten(1, 2).to(q.dtype)


def attend_picture(
    q: Float[Tensor, "tokens heads head_dim"],
    k: Float[Tensor, "tokens kv_heads head_dim"],
    v: Float[Tensor, "tokens kv_heads head_dim"],
    *,
    past: Past,
    bias: Float[Tensor, "items 1 keys"] | None,
) -> Float[Tensor, "tokens heads head_dim"]:
    """Attend with all tokens of equally large items to their own keys and to those of the past.

    Nothing is written: own and earlier keys are joined by a copy.

    Args:
        q: Of all items, item after item.
        k: The same.
        v: The same.
        past: What each item sees besides itself.
        bias: Added to the scores of own keys, then of the past; minus infinity hides one.
    """
    q, k, v = (x.unflatten(0, (past.shape[1], -1)).transpose(1, 2) for x in (q, k, v))
    keys, values = (
        torch.cat((own, earlier), dim=2) for own, earlier in zip((k, v), past, strict=True)
    )
    mask = None if bias is None else bias[:, None]
    attended = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)
    return attended.transpose(1, 2).flatten(0, 1)


def attend_pieces(
    q: Float[Tensor, "1 heads head_dim"],
    pieces: Sequence[Float[Tensor, "2 kv_heads _ head_dim"]],
) -> Float[Tensor, "1 heads head_dim"]:
    """Attend with one query to keys that lie in several places, none of which is copied."""
    grouped = q.unflatten(1, (pieces[0].shape[1], -1))
    found, sums = zip(*(find(grouped, piece[:, None], None) for piece in pieces), strict=True)
    shares = torch.stack(sums).softmax(dim=0)[..., None]
    joined = (torch.stack(found).float() * shares).sum(dim=0)
    return joined.flatten(1, 2).to(q.dtype)


def find(q: Grouped, past: Past, bias: PastBias) -> tuple[Grouped, Sums]:
    """`find_in_past` by the fastest way for this device, type and shape.

    What is compiled must have called `register` before.
    """
    if q.device.type != "cpu":
        return find_in_past(q, past, bias)
    if torch.compiler.is_compiling() and is_supported(q):
        found: tuple[Tensor, Tensor] = torch.ops.mogao.find_in_past(q, past, bias)
        return found
    return find_flash(q, past, bias)


def find_in_past(q: Grouped, past: Past, bias: PastBias) -> tuple[Grouped, Sums]:
    """Return the attended values of the past and the logarithms of the sums behind them."""
    keys, values = past.float()
    scores = torch.einsum("nkge,nkse->nkgs", q.float(), keys) * q.shape[-1] ** -0.5
    scores = scores if bias is None else scores + bias[:, None]
    found = torch.einsum("nkgs,nkse->nkge", scores.softmax(dim=-1), values)
    return found, scores.logsumexp(dim=-1)


def find_flash(q: Grouped, past: Past, bias: PastBias) -> tuple[Grouped, Sums]:
    """`find_in_past` by the CPU kernel of the library, the one that returns the sums too."""
    # The heads of a group are its queries: the kernel of older versions knows no groups.
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
    mask = None if bias is None else bias[:, None]
    found, sums = flash(q, past[0], past[1], attn_mask=mask)
    return found, sums.reshape(q.shape[:-1])


def is_supported(q: Grouped) -> bool:
    """Whether our own kernel takes queries of this type and shape."""
    group, head_dim = q.shape[2:]
    fits = head_dim % _ENTRIES == 0 and group <= _MAX_GROUP
    return q.dtype == torch.bfloat16 and q.device.type == "cpu" and fits


def find_native(q: Grouped, past: Past, bias: PastBias) -> tuple[Grouped, Sums]:
    """`find_in_past` by our own kernel; by the library's where ours cannot be built.

    Args:
        q: See `is_supported`.
        past: Of the same type, the entries of a row side by side.
        bias: Of the same type.
    """
    items, heads, group, head_dim = q.shape
    kernel = _kernel(group, head_dim)
    if kernel is None:
        found, sums = find_flash(q, past, bias)
        return found.float(), sums
    q, (keys, values) = q.contiguous(), past
    bias = None if bias is None else bias.contiguous()
    found = q.new_empty(q.shape, dtype=torch.float32)
    sums = q.new_empty(q.shape[:-1], dtype=torch.float32)
    kernel(
        q.data_ptr(), head_dim**-0.5, keys.data_ptr(), values.data_ptr(),
        None if bias is None else bias.data_ptr(), found.data_ptr(), sums.data_ptr(),
        items, heads, keys.shape[2], _Strides(*keys.stride()[:3]), _Strides(*values.stride()[:3]),
    )  # fmt: skip
    return found, sums


@cache
def register() -> torch.library.Library:
    """Make our kernel known to the compiler, as one node that it does not look into.

    Returns:
        What holds the name `torch.ops.mogao.find_in_past`, as long as the process lives.
    """
    # `torch.library.custom_op` would do the same, but its calls take 10 us longer.
    library = torch.library.Library("mogao", "FRAGMENT")
    library.define("find_in_past(Tensor q, Tensor past, Tensor? bias) -> (Tensor, Tensor)")
    library.impl("find_in_past", find_native, "CPU")
    torch.library.register_fake("mogao::find_in_past", _find_fake, lib=library)
    return library


def _find_fake(q: Tensor, past: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    del past, bias
    return q.new_empty(q.shape, dtype=torch.float32), q.new_empty(q.shape[:-1], dtype=torch.float32)


@cache
def _kernel(group: int, head_dim: int) -> Any:
    """Build our kernel for a shape, or take it from the compiler's cache; None if that fails."""
    source = f"#define GROUP {group}\n#define HEAD_DIM {head_dim}\n{_SOURCE.read_text('utf-8')}"
    try:
        from torch._inductor.codecache import CppCodeCache

        kernel = CppCodeCache.load(source, extra_flags=_FLAGS).find_in_past
    except (ImportError, AttributeError, TypeError, OSError, RuntimeError) as error:
        # Another torch, or a compiler that fails: there is another kernel.
        logging.getLogger(__name__).warning("the decode kernel was not built: %s", error)
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_long
    pointers, numbers = [pointer] * 5, [number] * 3
    kernel.argtypes = [pointer, ctypes.c_float, *pointers, *numbers, pointer, pointer]
    kernel.restype = None
    return kernel
