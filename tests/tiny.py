"""A tiny model for tests, in float32, in which no weight is zero: every input has an effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mogao.config import (
    AutoencoderConfig,
    GenerationConfig,
    ImageSamplingConfig,
    ModelConfig,
    TextSamplingConfig,
    TransformerConfig,
    VisionConfig,
)
from mogao.pipeline import Mogao
from mogao.sequence import Pixels
from mogao.tokenizer import Tokenizer


def tiny_tokenizer() -> Tokenizer:
    """The 8 special tokens and the 256 bytes."""
    return Tokenizer.train([], vocab_size=264)


def tiny_config(**transformer: Any) -> ModelConfig:
    """A model of some ten thousand parameters; keywords change its transformer."""
    settings: dict[str, Any] = {
        "vocab_size": 272, "hidden": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
        "head_dim": 8, "ffn_hidden": 48, "latent_dim": 16, "vision_dim": 16,
    }  # fmt: skip
    return ModelConfig(
        name="tiny",
        transformer=TransformerConfig.model_validate(settings | transformer),
        vision=VisionConfig(hidden=16, num_layers=1, num_heads=2, ffn_hidden=32, num_positions=4),
        autoencoder=AutoencoderConfig(
            space_to_depth=4, block_channels=(8, 8), layers_per_block=1, latent_channels=4,
            norm_groups=4,
        ),
    )  # fmt: skip


def tiny_generation(*, num_steps: int = 2, max_tokens: int = 8) -> GenerationConfig:
    """Two denoise steps, pictures of 2 x 3 tokens, short texts."""
    return GenerationConfig(
        text=TextSamplingConfig(max_tokens=max_tokens),
        image=ImageSamplingConfig(num_steps=num_steps, height=32, width=48),
    )


def tiny_model(*, seed: int = 0, **transformer: Any) -> Mogao:
    """A new model whose zero weights (velocity head, modulation, biases) are drawn too."""
    model = Mogao.from_config(
        tiny_config(**transformer),
        tokenizer=tiny_tokenizer(),
        generation=tiny_generation(),
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in model.parts.transformer.parameters():
            if not weight.any() or bool((weight == 1).all()):
                weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model


def picture(seed: int, *, height: int = 32, width: int = 32) -> Pixels:
    """A picture of noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
