"""What a training step over a pack costs: counted FLOPs, and the pairs that attention allows.

In: a pack, the configs of the networks and the mask rule. Out: plain numbers, the same on every
machine. Definition: docs/training.md, section "How speed is counted".
"""

from __future__ import annotations

from mogao.config import TransformerConfig, VisionConfig
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch


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
