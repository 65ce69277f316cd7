"""What a training step over a pack costs: counted FLOPs, and the pairs that attention allows.

In: a pack, the configs of the networks and the mask rule. Out: plain numbers, the same on every
machine. Definition: docs/training.md, section "How speed is counted".
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from mogao.config import TransformerConfig, VisionConfig
from mogao.packing.layout import SegmentTable, TokenKind
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch


def allowed_pairs(pack: PackedBatch, rule: MaskRule) -> int:
    """Return the (query, key) pairs that the mask allows, counted run by run."""
    return int(run_pairs(pack.table, rule).sum())


def run_pairs(table: SegmentTable, rule: MaskRule) -> Int64[np.ndarray, " runs"]:
    """Return the (query, key) pairs that the mask allows to the queries of each run."""
    pairs = np.zeros_like(table.length)
    for document in set(table.document.tolist()):
        runs = (table.document == document).nonzero()[0]
        length = table.length[runs]
        views = rule.run_views(table.kind[runs], table.ordinal[runs])
        square = length[:, None] * length[None, :]
        causal = length * (length + 1) // 2
        pairs[runs] = (square * (views == 1) + causal[:, None] * (views == 2)).sum(axis=1)
    return pairs


def step_flops(
    pack: PackedBatch, config: TransformerConfig, vision: VisionConfig, *, rule: MaskRule
) -> float:
    """Return the counted FLOPs of one training step over a pack.

    6 x routed linear parameters x tokens + 12 x head_dim x heads x layers x allowed pairs, vision
    encoder included; autoencoder, optimiser and recomputation excluded.
    """
    table = pack.table
    tokens = {kind: int(table.length[table.source == kind].sum()) for kind in TokenKind}
    weights = sum(count * token_parameters(config, kind) for kind, count in tokens.items())
    flops = 6.0 * (weights + len(pack.predict_index) * config.hidden * config.vocab_size)
    flops += 3 * pair_flops(config) * allowed_pairs(pack, rule)
    return flops + vision_flops(pack, vision)


def pair_flops(config: TransformerConfig) -> int:
    """Return the FLOPs of one (query, key) pair in a forward pass through all layers."""
    return 4 * config.head_dim * config.num_heads * config.num_layers


def token_parameters(config: TransformerConfig, kind: TokenKind) -> int:
    """Return the linear parameters that a token meets in a forward pass, the text head apart."""
    latents = config.hidden * config.latent_dim
    ends = {
        TokenKind.TEXT: 0,
        TokenKind.VIT: config.hidden * (config.vision_dim + config.hidden),
        TokenKind.CLEAN: latents,
        TokenKind.NOISY: 2 * latents,
    }
    return config.num_layers * layer_parameters(config) + ends[kind]


def layer_parameters(config: TransformerConfig) -> int:
    """Return the linear parameters of one branch of one layer."""
    heads = config.num_heads + 2 * config.num_kv_heads
    attention = config.hidden * config.head_dim * (heads + config.num_heads)
    matrices = 3 if config.ffn == "swiglu" else 2
    return attention + matrices * config.hidden * config.ffn_hidden


def vision_flops(pack: PackedBatch, vision: VisionConfig) -> float:
    """Return the counted FLOPs of the understanding encoder on the pack's VIT pictures."""
    cells = vision.patch_pixels**2
    sizes = [picture.shape[1] * picture.shape[2] // cells for picture in pack.vit_pixels]
    return sum(3.0 * picture_flops(vision, tokens=tokens) for tokens in sizes)


def picture_flops(vision: VisionConfig, *, tokens: int) -> int:
    """Return the FLOPs of a forward pass of the understanding encoder over one picture."""
    per_layer = 4 * vision.hidden**2 + 2 * vision.hidden * vision.ffn_hidden
    weights = vision.num_layers * per_layer + 3 * vision.patch_pixels**2 * vision.hidden
    return 2 * weights * tokens + 4 * vision.hidden * vision.num_layers * tokens**2
