"""Tiny packs and networks whose latents and features depend on the pictures alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mogao.bench.ectf import CountingVocabulary
from mogao.config import FlowConfig, TransformerConfig
from mogao.flow import FlowInputs, corrupt
from mogao.model.init import initialise
from mogao.model.transformer import ModelOutput, MogaoTransformer
from mogao.packing.layout import lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment
from tests.tiny import picture, tiny_config

GRID = (2, 3)
VOCABULARY = CountingVocabulary()


def config(**settings: Any) -> TransformerConfig:
    return tiny_config(vocab_size=1100, **settings).transformer


def network(settings: TransformerConfig, *, seed: int = 0) -> MogaoTransformer:
    """A network in which no weight is zero."""
    generator = torch.Generator().manual_seed(seed)
    transformer = MogaoTransformer(settings)
    initialise(transformer, generator=generator)
    with torch.no_grad():
        for weight in transformer.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return transformer


def image(seed: int, **settings: Any) -> ImageSegment:
    return ImageSegment(picture(seed, height=32, width=48), **settings)


def story() -> InterleavedSequence:
    """Three pictures, texts of several lengths, an end with loss."""
    parts: list[Segment] = []
    for number, text in enumerate(("one fox", "it runs far", "ok")):
        parts += [TextSegment(text), image(number)]
    return InterleavedSequence(tuple(parts))


def latents_of(images: Sequence[ImageSegment]) -> list[Tensor]:
    """Latents that depend on the picture alone."""
    generator = torch.Generator()
    found = []
    for item in images:
        generator.manual_seed(int(item.pixels.astype(np.int64).sum()))
        rows, cols = item.size[0] // 16, item.size[1] // 16
        found.append(torch.randn(rows * cols, 16, generator=generator))
    return found


def packed(settings: TransformerConfig, *documents: InterleavedSequence) -> PackedBatch:
    layouts = [
        layout for document in documents for layout in lay_out(document, VOCABULARY, settings)
    ]
    return pack(layouts, settings, latents=latents_of)


def features(batch: PackedBatch) -> Tensor:
    """Understanding features that depend on the picture alone."""
    rows = []
    for pixels in batch.vit_pixels:
        generator = torch.Generator().manual_seed(int(pixels.long().sum()))
        rows.append(torch.randn(pixels[0].numel() // 256, 16, generator=generator))
    return torch.cat([torch.zeros(0, 16), *rows])


def forward(
    transformer: MogaoTransformer, batch: PackedBatch, flow: FlowInputs, **options: Any
) -> ModelOutput:
    return transformer(batch, flow, vit_features=features(batch), **options)


def flow_of(batch: PackedBatch, *, seed: int = 0) -> FlowInputs:
    generator = torch.Generator().manual_seed(seed)
    return corrupt(batch.noisy_clean, batch.noisy_lengths, FlowConfig(), generator=generator)


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).detach())


def gradients(transformer: MogaoTransformer, loss: Tensor) -> Tensor:
    transformer.zero_grad()
    loss.backward()
    return flat_gradient(transformer)


def flat_gradient(transformer: MogaoTransformer) -> Tensor:
    grads = [p.grad for p in transformer.parameters() if p.grad is not None]
    return torch.cat([grad.flatten() for grad in grads]).clone()
