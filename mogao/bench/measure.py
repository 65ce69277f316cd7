"""Rates and times that every bench shares: the machine's matrix rate, medians, counted FLOPs.

In: callables, packs. Out: plain numbers. Definitions: docs/training.md,
section "How speed is counted".
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from mogao.config import TransformerConfig, VisionConfig
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch

MATRIX_SIDE = 2048


def matrix_flops_per_second() -> float:
    """Return the best of five rates of a bfloat16 product of two 2,048-square matrices."""
    generator = torch.Generator().manual_seed(0)
    side = (MATRIX_SIDE, MATRIX_SIDE)
    left, right = (torch.randn(side, generator=generator).to(torch.bfloat16) for _ in range(2))
    seconds = min(seconds_of(lambda: left @ right) for _ in range(5))
    return float(2 * MATRIX_SIDE**3 / seconds)


def seconds_of(run: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def median_seconds(run: Callable[[], object], *, repeats: int = 5, warm_up: int = 1) -> float:
    """Return the median wall time of several calls after warm-up calls."""
    for _ in range(warm_up):
        run()
    return statistics.median(seconds_of(run) for _ in range(repeats))


def allowed_pairs(pack: PackedBatch, rule: MaskRule) -> int:
    """Return the (query, key) pairs that the mask allows, counted run by run."""
    total = 0
    table = pack.table
    for document in set(table.document.tolist()):
        runs = (table.document == document).nonzero()[0]
        length = table.length[runs]
        views = rule.run_views(table.kind[runs], table.ordinal[runs])
        square = length[:, None] * length[None, :]
        causal = length * (length + 1) // 2
        total += int(square[views == 1].sum())
        total += int((causal[:, None] * (views == 2)).sum())
    return total


def step_flops(
    pack: PackedBatch, config: TransformerConfig, vision: VisionConfig, *, rule: MaskRule
) -> float:
    """Return the counted FLOPs of one training step over a pack.

    6 x routed linear parameters x tokens + 12 x head_dim x heads x layers x allowed pairs, vision
    encoder included; autoencoder, optimiser and recomputation excluded.
    """
    tokens = {kind: int((pack.meta.kind == kind).sum()) for kind in TokenKind}
    total = pack.num_tokens
    flops = 6.0 * total * config.num_layers * layer_parameters(config)
    flops += 6.0 * len(pack.predict_index) * config.hidden * config.vocab_size
    latents = tokens[TokenKind.CLEAN] + 2 * tokens[TokenKind.NOISY]
    flops += 6.0 * latents * config.hidden * config.latent_dim
    flops += 6.0 * tokens[TokenKind.VIT] * config.hidden * (config.vision_dim + config.hidden)
    pairs = allowed_pairs(pack, rule)
    flops += 12.0 * config.head_dim * config.num_heads * config.num_layers * pairs
    return flops + vision_flops(pack, vision)


def layer_parameters(config: TransformerConfig) -> int:
    """Return the linear parameters of one branch of one layer."""
    heads = config.num_heads + 2 * config.num_kv_heads
    attention = config.hidden * config.head_dim * (heads + config.num_heads)
    matrices = 3 if config.ffn == "swiglu" else 2
    return attention + matrices * config.hidden * config.ffn_hidden


def vision_flops(pack: PackedBatch, vision: VisionConfig) -> float:
    """Return the counted FLOPs of the understanding encoder on the pack's VIT pictures."""
    per_layer = 4 * vision.hidden**2 + 2 * vision.hidden * vision.ffn_hidden
    weights = vision.num_layers * per_layer + 3 * vision.patch_pixels**2 * vision.hidden
    total = 0.0
    for picture in pack.vit_pixels:
        tokens = picture.shape[1] * picture.shape[2] // vision.patch_pixels**2
        total += 6.0 * weights * tokens + 12.0 * vision.hidden * vision.num_layers * tokens**2
    return total
