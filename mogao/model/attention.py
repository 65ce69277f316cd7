"""One joint attention over a pack, in three interchangeable ways.

In: queries, keys and values of all packed tokens. Out: the attended values. `dense` is the slow,
obvious reference; `segments` does work proportional to the allowed area, forward and backward,
with plain matrix products; `flex` is FlexAttention for CUDA. All follow one `MaskRule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mogao.errors import ConfigError
from mogao.packing.layout import SegmentTable
from mogao.packing.mask import MaskRule, RunView, TokenMeta

Backend = Literal["auto", "dense", "segments", "flex"]
Queries = Float[Tensor, "tokens heads head_dim"]
Keys = Float[Tensor, "keys kv_heads head_dim"]
Runs = Int64[np.ndarray, " _"]
Kernel = Callable[..., Tensor]

# A bucket costs about as much as this many (query, key) pairs before it computes anything.
BUCKET_OVERHEAD_PAIRS = 40_000


@runtime_checkable
class Attend(Protocol):
    """Joint attention of one layer: training and sampling differ only in this callable."""

    def __call__(self, q: Queries, k: Keys, v: Keys, *, layer: int) -> Queries:
        """Return the attended values of each query."""
        ...


def attend_batched(
    q: Float[Tensor, "items queries heads head_dim"],
    k: Float[Tensor, "items keys kv_heads head_dim"],
    v: Float[Tensor, "items keys kv_heads head_dim"],
    *,
    bias: Float[Tensor, "items #queries keys"] | None = None,
) -> Float[Tensor, "items queries heads head_dim"]:
    """Attend inside each item; query heads of one group share their key head without a copy.

    `bias` is added to the scores (minus infinity hides a key); every query must see a key.
    """
    num_queries, kv_heads = q.shape[1], k.shape[2]
    grouped = rearrange(q, "n q (k g) e -> n k (g q) e", k=kv_heads)
    keys, values = rearrange(k, "n s k e -> n k e s"), rearrange(v, "n s k e -> n k s e")
    scores = torch.matmul(grouped * q.shape[-1] ** -0.5, keys)
    if bias is not None:
        scores = rearrange(scores, "n k (g q) s -> n k g q s", q=num_queries)
        scores = rearrange(scores + bias[:, None, None], "n k g q s -> n k (g q) s")
    out = torch.matmul(scores.softmax(dim=-1), values)
    return rearrange(out, "n k (g q) e -> n q (k g) e", q=num_queries)


class DenseAttention:
    """The reference: every query against every key under the dense mask."""

    def __init__(self, rule: MaskRule, meta: TokenMeta, *, dtype: torch.dtype) -> None:
        self.bias = _hide(~rule.dense(meta), dtype)

    def __call__(self, q: Queries, k: Keys, v: Keys, *, layer: int) -> Queries:
        """Return the attended values; see `Attend`."""
        return attend_batched(q[None], k[None], v[None], bias=self.bias[None])[0]


@dataclass(frozen=True, slots=True)
class Item:
    """Runs of one document whose queries are computed together, and the runs they may need."""

    queries: Runs
    keys: Runs
    num_queries: int
    num_keys: int
    is_full: bool


@dataclass(frozen=True, slots=True)
class Bucket:
    """Items padded to one shape: gather rows, and the bias that hides padding and other keys."""

    query_index: Int64[Tensor, "items queries"]
    key_index: Int64[Tensor, "items keys"]
    bias: Float[Tensor, "items #queries keys"] | None
    place: Int64[Tensor, " real_queries"]
    """Rows of the flattened [items x queries] output that are real, in item order."""


class SegmentAttention:
    """Work proportional to the allowed area: each stretch of queries meets only its own keys.

    Planned once per pack from run-level visibility, then used by every layer. Source: own design,
    docs/decisions.md ("segments attention").
    """

    def __init__(
        self, rule: MaskRule, table: SegmentTable, meta: TokenMeta, *, dtype: torch.dtype
    ) -> None:
        groups = group_items(plan_items(rule, table))
        self.buckets = [
            _bucket(group, table, rule=rule, meta=meta, dtype=dtype) for group in groups
        ]
        order = torch.cat([_real_rows(bucket) for bucket in self.buckets])
        self.place = torch.argsort(order)
        self.area = sum(b.query_index.numel() * b.key_index.shape[1] for b in self.buckets)

    def __call__(self, q: Queries, k: Keys, v: Keys, *, layer: int) -> Queries:
        """Return the attended values; see `Attend`."""
        kv = torch.cat((k, v), dim=1)
        outputs = []
        for bucket in self.buckets:
            items, num_keys = bucket.key_index.shape
            queries = q.index_select(0, bucket.query_index.flatten()).unflatten(0, (items, -1))
            pairs = kv.index_select(0, bucket.key_index.flatten()).unflatten(0, (items, num_keys))
            keys, values = pairs.chunk(2, dim=2)
            out = attend_batched(queries, keys, values, bias=bucket.bias).flatten(0, 1)
            outputs.append(out.index_select(0, bucket.place))
        return torch.cat(outputs).index_select(0, self.place)


def make_attention(
    rule: MaskRule,
    table: SegmentTable,
    meta: TokenMeta,
    *,
    backend: Backend = "auto",
    dtype: torch.dtype = torch.float32,
) -> Attend:
    """Choose a back-end for queries of `dtype`; `auto` is flex on CUDA and segments elsewhere.

    Raises:
        ConfigError: The back-end is not known.
    """
    if backend == "auto":
        backend = "flex" if meta.kind.is_cuda else "segments"
    if backend == "dense":
        return DenseAttention(rule, meta, dtype=dtype)
    if backend == "segments":
        return SegmentAttention(rule, table, meta, dtype=dtype)
    if backend == "flex":
        return FlexAttention(rule, meta)
    raise ConfigError(f"attention back-end {backend!r}; expected auto, dense, segments or flex")


class FlexAttention:
    """FlexAttention with the mask rule as its predicate. Its backward needs CUDA (torch 2.13)."""

    def __init__(self, rule: MaskRule, meta: TokenMeta) -> None:
        from torch.nn.attention.flex_attention import create_block_mask

        tokens = meta.kind.shape[0]
        self.block_mask = create_block_mask(
            rule.mask_mod(meta), None, None, tokens, tokens, device=str(meta.kind.device)
        )
        self.kernel = _flex_kernel(compiled=meta.kind.is_cuda)

    def __call__(self, q: Queries, k: Keys, v: Keys, *, layer: int) -> Queries:
        """Return the attended values; see `Attend`."""
        q, k, v = (rearrange(x, "t h e -> 1 h t e") for x in (q, k, v))
        out = self.kernel(q, k, v, block_mask=self.block_mask, enable_gqa=True)
        return rearrange(out, "1 h t e -> t h e")


def _flex_kernel(*, compiled: bool) -> Kernel:
    from torch.nn.attention.flex_attention import flex_attention

    return cast("Kernel", torch.compile(flex_attention) if compiled else flex_attention)


def plan_items(rule: MaskRule, table: SegmentTable) -> Iterator[Item]:
    """Yield for each document either one item per run, or one for all where that costs less."""
    plans: dict[tuple[bytes, ...], list[tuple[Runs, Runs, bool]]] = {}
    by_document = np.argsort(table.document, kind="stable")
    borders = np.flatnonzero(np.diff(table.document[by_document])) + 1
    for runs in np.split(by_document, borders):
        kind, length, ordinal = table.kind[runs], table.length[runs], table.ordinal[runs]
        # Documents of one shape have one plan.
        key = tuple(column.tobytes() for column in (kind, length, ordinal))
        if key not in plans:
            plans[key] = _plan_document(rule, kind, length=length, ordinal=ordinal)
        for queries, keys, is_full in plans[key]:
            num_queries = int(table.length[runs[queries]].sum())
            num_keys = int(table.length[runs[keys]].sum())
            yield Item(runs[queries], runs[keys], num_queries, num_keys, is_full)


def _plan_document(
    rule: MaskRule, kind: Runs, *, length: Runs, ordinal: Runs
) -> list[tuple[Runs, Runs, bool]]:
    views = rule.run_views(kind, ordinal)
    keys = [np.flatnonzero(row != RunView.NONE) for row in views]
    apart = sum(int(length[q] * length[k].sum()) for q, k in enumerate(keys))
    total = int(length.sum())
    if total * total <= 1.25 * apart:
        every = np.arange(len(kind))
        return [(every, every, False)]
    full = [bool((row != RunView.CAUSAL).all()) for row in views]
    return [(np.array([q]), k, full[q]) for q, k in enumerate(keys)]


def group_items(items: Iterable[Item]) -> list[list[Item]]:
    """Group items to be padded to one shape, as long as the padding costs less than a bucket."""
    groups: list[list[Item]] = []
    widest = pairs = 0
    for item in sorted(items, key=lambda i: (i.is_full, i.num_keys, i.num_queries)):
        own_pairs = item.num_queries * item.num_keys
        queries = max(widest, item.num_queries)
        if groups:
            joined = (len(groups[-1]) + 1) * queries * item.num_keys
            if joined <= pairs + own_pairs + BUCKET_OVERHEAD_PAIRS:
                groups[-1].append(item)
                widest, pairs = queries, joined
                continue
        groups.append([item])
        widest, pairs = item.num_queries, own_pairs
    return groups


def _rows(table: SegmentTable, runs: Runs) -> Int64[np.ndarray, " rows"]:
    return np.concatenate(
        [np.arange(table.start[r], table.start[r] + table.length[r]) for r in runs]
    )


def _bucket(
    group: Sequence[Item],
    table: SegmentTable,
    *,
    rule: MaskRule,
    meta: TokenMeta,
    dtype: torch.dtype,
) -> Bucket:
    query_index, is_query = _padded([_rows(table, item.queries) for item in group])
    key_index, is_key = _padded([_rows(table, item.keys) for item in group])
    device = meta.kind.device
    query_index, key_index, is_key = (x.to(device) for x in (query_index, key_index, is_key))
    if not all(item.is_full for item in group):
        at_query, at_key = _at(meta, query_index[:, :, None]), _at(meta, key_index[:, None, :])
        visible = rule.visible(at_query, at_key) & is_key[:, None]
    else:
        visible = is_key[:, None]
    return Bucket(
        query_index=query_index,
        key_index=key_index,
        bias=None if bool(visible.all()) else _hide(~visible, dtype),
        place=is_query.flatten().nonzero().flatten().to(device),
    )


def _padded(
    rows: Sequence[Int64[np.ndarray, " _"]],
) -> tuple[Int64[Tensor, "items width"], Bool[Tensor, "items width"]]:
    """Stack rows of several lengths, repeating the last entry; and mark the real entries."""
    width = max(len(row) for row in rows)
    stacked = np.stack([np.pad(row, (0, width - len(row)), mode="edge") for row in rows])
    sizes = torch.tensor([len(row) for row in rows])
    return torch.from_numpy(stacked), torch.arange(width) < sizes[:, None]


def _hide(hidden: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(
        hidden, -torch.inf
    )


def _columns(meta: TokenMeta) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return meta.kind, meta.document, meta.ordinal, meta.index


def _at(meta: TokenMeta, rows: Tensor) -> TokenMeta:
    return TokenMeta(*(column[rows.to(column.device)] for column in _columns(meta)))


def _real_rows(bucket: Bucket) -> Int64[Tensor, " real_queries"]:
    return bucket.query_index.flatten()[bucket.place]
