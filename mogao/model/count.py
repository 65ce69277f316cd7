"""How many parameters each part of a model has.

In: the networks, or a config alone: then they are built without memory, on the meta device. Out:
numbers by part; each weight counts once.
"""

from __future__ import annotations

import torch

from mogao.config import ModelConfig
from mogao.model.transformer import MogaoTransformer
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder

TRANSFORMER_PARTS = ("text", "visual", "embeddings", "connector", "time")


def build_on_meta(config: ModelConfig) -> tuple[MogaoTransformer, VisionEncoder, Autoencoder]:
    """Return the networks of a model with shapes but without memory."""
    with torch.device("meta"):
        return (
            MogaoTransformer(config.transformer),
            VisionEncoder(config.vision),
            Autoencoder(config.autoencoder),
        )


def count_parameters(
    transformer: MogaoTransformer, vision: VisionEncoder, autoencoder: Autoencoder
) -> dict[str, int]:
    """Return the parameters of both branches, of what they share, and of the encoders."""
    counts = dict.fromkeys(TRANSFORMER_PARTS, 0)
    for name, weight in transformer.named_parameters():
        counts[part_of(name)] += weight.numel()
    counts["vision"] = sum(weight.numel() for weight in vision.parameters())
    counts["vae"] = sum(weight.numel() for weight in autoencoder.parameters())
    return counts


def part_of(name: str) -> str:
    """Return the part that a transformer weight is counted under."""
    if ".text." in name or name.startswith("text_head.norm"):
        return "text"
    if name.startswith(("embedding.tokens", "text_head.")):
        return "embeddings"
    if name.startswith(("embedding.connector", "embedding.vit_grid")):
        return "connector"
    if name.startswith(("embedding.time", "modulator", "velocity_head.modulation")):
        return "time"
    return "visual"
