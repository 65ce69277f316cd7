"""What one optimiser step of a run costs, before anything is trained.

In: a run config. Out: mean tokens and counted FLOPs of a step, from packs that are drawn, laid out
and packed as training does, without pictures being encoded and without a network. How many tokens
a document takes follows from the layout of an arm, so no formula would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from mogao.config import JointTask, ModelConfig, RunConfig
from mogao.packing.cost import step_flops
from mogao.packing.layout import Layout
from mogao.packing.mask import MaskRule
from mogao.packing.pack import Packer, pack
from mogao.pipeline import load_config, load_tokenizer
from mogao.sequence import ImageSegment, InterleavedSequence
from mogao.tokenizer import Tokenizer
from mogao.training.feed import PackFeed
from mogao.training.joint import lay_out_drawn
from mogao.training.parts import document_texts
from mogao.training.pictures import own_source


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the optimiser steps of one process.

    Attributes:
        tokens: Real ones, without padding.
        flops: As counted by `mogao.packing.cost`.
    """

    tokens: float
    flops: float


def start_of(run: RunConfig) -> tuple[ModelConfig, Tokenizer]:
    """Return the model and the tokenizer that a joint run begins with; no weights are read.

    Raises:
        CheckpointError: The model that the run starts from is missing.
    """
    assert isinstance(run.task, JointTask)
    if run.task.init_from is not None:
        return load_config(run.task.init_from), load_tokenizer(run.task.init_from)
    return run.task.model, _learned(run.model_dump_json(include={"data"}), _vocabulary(run))


def step_cost(run: RunConfig, model: ModelConfig, words: Tokenizer, *, num_packs: int) -> Cost:
    """Return the mean cost of an optimiser step over the first packs of a joint run.

    Raises:
        DataError: The data cannot be read.
    """
    side, dim = model.token_pixels, model.transformer.latent_dim

    def lay_out(number: int, sequence: InterleavedSequence) -> list[Layout]:
        return lay_out_drawn(sequence, number, run=run, model=model, words=words)

    def latents(images: Sequence[ImageSegment]) -> list[Tensor]:
        return [torch.zeros(image.size[0] * image.size[1] // side**2, dim) for image in images]

    feed = PackFeed(own_source(run.data), Packer(run.token_budget), lay_out)
    rule = MaskRule.from_config(model.transformer.visibility)
    tokens, flops = 0, 0.0
    for _ in range(num_packs):
        batch = pack(feed.next(), model.transformer, latents=latents)
        tokens += batch.num_tokens
        flops += step_flops(batch, model.transformer, model.vision, rule=rule)
    share = run.accumulation / num_packs
    return Cost(tokens * share, flops * share)


def _vocabulary(run: RunConfig) -> int:
    assert isinstance(run.task, JointTask)
    return run.task.model.transformer.vocab_size


@lru_cache(maxsize=4)
def _learned(data: str, vocab_size: int) -> Tokenizer:
    """The tokenizer that a new model learns; arms share their data, so it is learned once."""
    run = RunConfig.model_validate_json(data)
    return Tokenizer.train(document_texts(run.data), vocab_size=vocab_size)
