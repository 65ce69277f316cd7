"""ECTF against one sequence per picture: tokens, pairs and seconds of a training step.

In: nothing. Out: the JSON of `mogao bench ectf`. A document of N text-picture pairs is trained
either as one ECTF pack or as N sequences that each end in one noisy picture, with the same
back-end and the same packing. Source: arXiv 2505.05472 (ECTF); formulas in docs/model.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogao.bench.measure import median_seconds
from mogao.config import FlowConfig, LossConfig, ModelConfig
from mogao.flow import corrupt
from mogao.loss import flow_loss_sum, joined_loss, normalisers, text_loss_sum, weight_sums
from mogao.model.hardware import pick_dtype
from mogao.model.init import initialise
from mogao.model.transformer import MogaoTransformer
from mogao.model.vision import VisionEncoder
from mogao.packing.cost import allowed_pairs
from mogao.packing.layout import Layout, lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment

PICTURES = (1, 2, 4, 8, 16)
TEXT_TOKENS = 24  # of each pair: begin or the previous close token, words, open token
SIDE_PIXELS = 128  # 64 understanding tokens and 64 latents


class CountingVocabulary:
    """Every character is one token: texts of an exact length for benches."""

    begin, end, image_open, image_close, user, model, system = range(1, 8)

    def encode(self, text: str) -> list[int]:
        """Return one id per character."""
        return [8 + ord(character) % 1000 for character in text]


def document(num_pictures: int) -> InterleavedSequence:
    """Return a document of text-picture pairs that ends in a picture."""
    rng = np.random.default_rng(num_pictures)
    segments: list[TextSegment | ImageSegment] = []
    for _ in range(num_pictures):
        pixels = rng.integers(0, 256, (SIDE_PIXELS, SIDE_PIXELS, 3), dtype=np.uint8)
        segments += [TextSegment("x" * (TEXT_TOKENS - 2)), ImageSegment(pixels)]
    return InterleavedSequence(tuple(segments))


def one_per_picture(whole: InterleavedSequence) -> list[InterleavedSequence]:
    """Return one document per picture: clean history without loss, then the picture."""
    documents = []
    for end in range(2, len(whole) + 1, 2):
        history = [replace(segment, loss=False) for segment in whole.segments[: end - 2]]
        documents.append(whole.with_segments([*history, *whole.segments[end - 2 : end]]))
    return documents


class Step:
    """One whole training step over packs: forward, backward, AdamW."""

    def __init__(self, config: ModelConfig, *, seed: int, dtype: torch.dtype) -> None:
        self.config = config
        self.transformer = MogaoTransformer(config.transformer, compute_dtype=dtype)
        initialise(self.transformer, generator=torch.Generator().manual_seed(seed))
        self.vision = VisionEncoder(config.vision, compute_dtype=dtype, seed=seed)
        self.parameters = [*self.transformer.parameters(), *self.vision.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        self.generator = torch.Generator().manual_seed(seed)

    def pack(
        self, documents: Sequence[InterleavedSequence], *, token_budget: int
    ) -> list[PackedBatch]:
        """Lay out and pack documents, first come first served, with random latents."""
        groups: list[list[Layout]] = [[]]
        for item in documents:
            layouts = lay_out(item, CountingVocabulary(), self.config.transformer, end_loss=False)
            size = sum(layout.table.num_tokens for layout in layouts)
            if sum(layout.table.num_tokens for layout in groups[-1]) + size > token_budget:
                groups.append([])
            groups[-1] += layouts
        return [
            pack(group, self.config.transformer, latents=self._latents) for group in groups if group
        ]

    def run(self, packs: Sequence[PackedBatch]) -> None:
        """Take one step whose gradient is accumulated over the packs."""
        sums = [weight_sums(p.target_weights, p.noisy_weights) for p in packs]
        total = {name: sum(part[name] for part in sums) for name in sums[0]}
        denominators = normalisers(total, LossConfig())
        for packed in packs:
            flow = corrupt(
                packed.noisy_clean, packed.noisy_lengths, FlowConfig(), generator=self.generator
            )
            pixels = [picture.float() / 127.5 - 1.0 for picture in packed.vit_pixels]
            output = self.transformer(packed, flow, vit_features=self.vision(pixels))
            text = text_loss_sum(output.logits, packed.targets, packed.target_weights)
            error = flow_loss_sum(output.velocity, flow.velocity, packed.noisy_weights)
            joined_loss(text, error, LossConfig(), denominators=denominators).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def _latents(self, images: Sequence[ImageSegment]) -> list[Float[Tensor, "tokens latent_dim"]]:
        shape = ((SIDE_PIXELS // self.config.token_pixels) ** 2, self.config.transformer.latent_dim)
        return [torch.randn(shape, generator=self.generator) for _ in images]


def run(
    *,
    seed: int = 0,
    pictures: Sequence[int] = PICTURES,
    config: ModelConfig | None = None,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measure every number of pictures; keys as in docs/training.md.

    Args:
        seed: Of weights, latents and noise.
        pictures: Numbers of pictures, rising.
        config: Sizes; the nano config by default.
        repeats: Timed steps of which the median counts.
    """
    dtype = pick_dtype("auto", torch.device("cpu"))
    step = Step(config or ModelConfig(), seed=seed, dtype=dtype)
    rows = []
    for count in pictures:
        whole = document(count)
        arms = {"ectf": [whole], "one_per_picture": one_per_picture(whole)}
        # One budget for both arms; the largest document fits.
        packs = {name: step.pack(arm, token_budget=4096) for name, arm in arms.items()}
        row: dict[str, Any] = {"pictures": count}
        for name, arm in packs.items():
            row[name] = {
                "tokens": sum(packed.num_tokens for packed in arm),
                "pairs": sum(allowed_pairs(packed, step.transformer.rule) for packed in arm),
                "seconds": median_seconds(partial(step.run, arm), repeats=repeats),
            }
        rows.append(row)
    return {"rows": rows, "exponent": _exponents(rows), "dtype": str(dtype).removeprefix("torch.")}


def _exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """log2 of the growth from 8 to 16 pictures, where both were measured."""
    by_count = {row["pictures"]: row for row in rows}
    if 8 not in by_count or 16 not in by_count:
        return {}
    return {
        name: math.log2(by_count[16][name]["seconds"] / by_count[8][name]["seconds"])
        for name in ("ectf", "one_per_picture")
    }
