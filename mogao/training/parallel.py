"""Processes that train one model together: plain data parallelism, started by torchrun.

In: the environment that torchrun sets. Out: sums, gradients and states joined over all ranks. Every
function does nothing where there is only one process, so the loop reads the same for both.
Every rank holds the whole model and reads its own share of the data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

BUCKET_ENTRIES = 8 * 2**20
"""Gradients go out in pieces of about this many numbers."""


@contextmanager
def joined_ranks() -> Iterator[None]:
    """Join the process group that torchrun describes, and leave it at the end.

    Without torchrun, or inside a group that somebody else opened, nothing happens.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _is_joined():
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 writes the files and talks."""
    return dist.get_rank() if _is_joined() else 0


def num_ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_joined() else 1


def sum_values(values: Mapping[str, float]) -> dict[str, float]:
    """Sum numbers by name over all ranks; every rank must give the same names."""
    if num_ranks() == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


def any_rank(flags: Sequence[bool]) -> list[bool]:
    """Whether any rank raised each flag, so that all ranks stop or save at the same step."""
    if num_ranks() == 1:
        return list(flags)
    raised = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum gradients over all ranks; a parameter that no token of this rank met counts as zero.

    Losses are divided by global normalisers already (invariant 7), so the sum is the gradient of
    the joined batch. The result is bit-equal on all ranks, so their weights stay equal.
    """
    if num_ranks() == 1:
        return
    for bucket in _buckets(parameters):
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        pieces = flat.split([grad.numel() for grad in grads])
        for parameter, piece in zip(bucket, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def join_rows(mine: Float[Tensor, "rows *rest"]) -> Float[Tensor, "all_rows *rest"]:
    """Stack equally many rows from every rank, in the order of the ranks."""
    if num_ranks() == 1:
        return mine
    parts = [
        torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(num_ranks())
    ]
    dist.all_gather(parts, mine.contiguous())
    return torch.cat(parts)


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, in order, on every rank."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    dist.all_gather_object(values, value)
    return values


def from_first(value: Any) -> Any:
    """Return what the first rank passed."""
    if num_ranks() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def wait() -> None:
    """Wait until every rank is here."""
    if num_ranks() > 1:
        dist.barrier()


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(p.numel() for p in bucket) >= BUCKET_ENTRIES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()
