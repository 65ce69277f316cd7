"""The global loss: one normaliser over ranks and micro-steps (invariant 7)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mogao.config import LossConfig
from mogao.loss import flow_loss_sum, joined_loss, normalisers, text_loss_sum, weight_sums
from mogao.model.transformer import MogaoTransformer
from mogao.packing.pack import PackedBatch
from mogao.sequence import InterleavedSequence, TextSegment
from mogao.training import parallel
from mogao.training.loop import global_weights
from tests.packs import (
    config,
    flat_gradient,
    flow_of,
    forward,
    gradients,
    image,
    network,
    packed,
    relative,
    story,
)
from tests.tolerances import RANKS


def rank_loss(
    transformer: MogaoTransformer,
    batches: Sequence[PackedBatch],
    total: dict[str, float],
) -> Tensor:
    """The loss of one rank over its micro-steps; gradients are summed over ranks afterwards."""
    settings = LossConfig()
    denominators = normalisers(total, settings)
    losses = []
    for batch in batches:
        flow = flow_of(batch, seed=batch.num_tokens)
        output = forward(transformer, batch, flow)
        text = text_loss_sum(output.logits, batch.targets, batch.target_weights)
        error = flow_loss_sum(output.velocity, flow.velocity, batch.noisy_weights)
        losses.append(joined_loss(text, error, settings, denominators=denominators))
    return torch.stack(losses).sum()


def documents_of_rank(rank: int) -> list[list[InterleavedSequence]]:
    """Micro-steps of unequal size and weight."""
    heavy = InterleavedSequence((TextSegment("heavy", weight=3.0), image(4, weight=0.5)))
    light = InterleavedSequence((TextSegment("a long light text", weight=0.1), image(5)))
    return [[story()], [heavy]] if rank == 0 else [[light], [heavy, light]]


def train_on_rank(rank: int, port_file: str, results: str) -> None:
    """What one process of `test_ranks_equal_one_rank` does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{port_file}", rank=rank, world_size=2
    )
    settings = config()
    transformer = network(settings)
    batches = [packed(settings, *documents) for documents in documents_of_rank(rank)]
    sums = [weight_sums(b.target_weights, b.noisy_weights) for b in batches]
    total = global_weights(sums)
    rank_loss(transformer, batches, total).backward()
    parallel.sum_gradients(transformer.parameters())
    if rank == 0:
        np.save(results, flat_gradient(transformer).numpy())
    torch.distributed.destroy_process_group()


def test_ranks_equal_one_rank(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = tmp_path / "gradient.npy"
    processes = [
        context.Process(target=train_on_rank, args=(rank, str(tmp_path / "meet"), str(results)))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    settings = config()
    transformer = network(settings)
    batches = [
        packed(settings, *documents) for rank in range(2) for documents in documents_of_rank(rank)
    ]
    sums = [weight_sums(b.target_weights, b.noisy_weights) for b in batches]
    total = {name: sum(part[name] for part in sums) for name in ("text", "flow")}
    alone = gradients(transformer, rank_loss(transformer, batches, total))
    assert relative(torch.from_numpy(np.load(results)), alone) < 10 * RANKS


def test_joint_normaliser_is_one_denominator() -> None:
    sums = {"text": 3.0, "flow": 10.0}
    joint = normalisers(sums, LossConfig(normaliser="joint", text_weight=0.5))
    assert joint == {"text": 11.5, "flow": 11.5}
    assert normalisers(sums, LossConfig()) == sums
    assert normalisers({"text": 0.0, "flow": 2.0}, LossConfig()) == {"text": 1.0, "flow": 2.0}
