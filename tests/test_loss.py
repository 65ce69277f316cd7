"""The global loss: one normaliser over ranks and micro-steps (invariant 7)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
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


def test_three_text_tokens_have_the_loss_written_by_hand() -> None:
    # Probabilities a half and two times a quarter; all equal; two times 1/8 and 3/4.
    shares = torch.tensor([[0.5, 0.25, 0.25], [1.0, 1.0, 1.0], [0.125, 0.125, 0.75]])
    targets, weights = torch.tensor([0, 2, 1]), torch.tensor([1.0, 0.5, 2.0])
    # 1 * ln 2 + 0.5 * ln 3 + 2 * ln 8 = 0.693147 + 0.549306 + 4.158883; weights 3.5.
    found = text_loss_sum(shares.log(), targets, weights)
    assert float(found) == pytest.approx(5.401336, abs=1e-5)
    # Logits mean the same wherever their zero is.
    moved = shares.log() + torch.tensor([[5.0], [-7.0], [0.5]])
    assert float(text_loss_sum(moved, targets, weights)) == pytest.approx(5.401336, abs=1e-5)


def test_three_noisy_tokens_have_the_loss_written_by_hand() -> None:
    velocity = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]])
    target = torch.tensor([[0.0, 0.0], [4.0, -2.0], [3.0, 1.0]])
    weights = torch.tensor([1.0, 0.25, 2.0])
    # Channel means (1 + 4) / 2 = 2.5, (16 + 4) / 2 = 10, (0 + 4) / 2 = 2:
    # 1 * 2.5 + 0.25 * 10 + 2 * 2 = 9; weights 3.25.
    assert float(flow_loss_sum(velocity, target, weights)) == 9.0


@pytest.mark.parametrize(
    ("normaliser", "expected"),
    [
        # 0.25 * 5.401336 / 3.5 + 9 / 3.25 = 0.385810 + 2.769231
        ("separate", 3.155040),
        # (0.25 * 5.401336 + 9) / (0.25 * 3.5 + 3.25) = 10.350334 / 4.125
        ("joint", 2.509172),
    ],
)
def test_both_losses_are_joined_as_written_by_hand(normaliser: str, expected: float) -> None:
    settings = LossConfig.model_validate({"normaliser": normaliser, "text_weight": 0.25})
    sums = weight_sums(torch.tensor([1.0, 0.5, 2.0]), torch.tensor([1.0, 0.25, 2.0]))
    assert sums == {"text": 3.5, "flow": 3.25}
    text, flow = torch.tensor(5.401336), torch.tensor(9.0)
    found = joined_loss(text, flow, settings, denominators=normalisers(sums, settings))
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_losses_of_half_precision_outputs_are_summed_in_float32() -> None:
    targets, weights = torch.zeros(3, dtype=torch.long), torch.ones(3)
    logits = torch.zeros(3, 4, dtype=torch.bfloat16)
    text = text_loss_sum(logits, targets, weights)
    flow = flow_loss_sum(logits, torch.full((3, 4), 0.1, dtype=torch.bfloat16), weights)
    assert text.dtype == flow.dtype == torch.float32
    # 3 ln 4; three times the square of 0.1 as bfloat16 holds it, 0.10009765625.
    assert float(text) == pytest.approx(4.158883, abs=1e-5)
    assert float(flow) == pytest.approx(0.0300586, abs=1e-6)
