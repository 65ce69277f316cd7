"""The two losses of a pack and their global weighted means.

Each loss is a weighted sum over tokens divided by a normaliser that the caller has summed over
every rank and micro-step, so a step means the same however its tokens were cut into packs.
Source: arXiv 2505.05472 (global loss); reduction rules in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from mogao.config import LossConfig


def text_loss_sum(
    logits: Float[Tensor, "predictions vocab"],
    targets: Int64[Tensor, " predictions"],
    weights: Float32[Tensor, " predictions"],
) -> Float32[Tensor, ""]:
    """Return the weighted sum of next-token cross-entropies, float32."""
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum()


def flow_loss_sum(
    velocity: Float[Tensor, "noisy latent_dim"],
    target: Float[Tensor, "noisy latent_dim"],
    weights: Float32[Tensor, " noisy"],
) -> Float32[Tensor, ""]:
    """Return the weighted sum over tokens of squared errors averaged over channels, float32.

    Source: arXiv 2505.05472 (flow loss); channel mean as in arXiv 2505.14683.
    """
    errors = (velocity.float() - target.float()).square().mean(dim=-1)
    return (errors * weights).sum()


def normalisers(weight_sums: Mapping[str, float], config: LossConfig) -> dict[str, float]:
    """Return what each loss sum is divided by: its own weights, or all of them together.

    Args:
        weight_sums: Global sums of token weights, keys `text` and `flow`.
        config: `separate` gives each loss its own mean; `joint` is the single denominator of the
            paper, with the loss factors counted into it.
    """
    text, flow = weight_sums["text"], weight_sums["flow"]
    if config.normaliser == "joint":
        text = flow = config.text_weight * text + config.flow_weight * flow
    # A kind that no token carries has a sum of zero; any denominator serves.
    return {"text": text or 1.0, "flow": flow or 1.0}


def joined_loss(
    text_sum: Float32[Tensor, ""],
    flow_sum: Float32[Tensor, ""],
    config: LossConfig,
    *,
    denominators: Mapping[str, float],
) -> Float32[Tensor, ""]:
    """Return text_weight * text mean + flow_weight * flow mean."""
    text = config.text_weight * text_sum / denominators["text"]
    return text + config.flow_weight * flow_sum / denominators["flow"]


def weight_sums(
    target_weights: Float32[Tensor, " predictions"], noisy_weights: Float32[Tensor, " noisy"]
) -> dict[str, float]:
    """Return the sums of loss weights of a pack, to be added over micro-steps and ranks."""
    return {
        "text": float(target_weights.sum(dtype=torch.float64)),
        "flow": float(noisy_weights.sum(dtype=torch.float64)),
    }
