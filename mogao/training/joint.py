"""Joint training of transformer, connector and vision encoder on interleaved sequences.

In: a `RunConfig` with a joint task. Out: a `Task`. One document becomes layouts (with condition
dropout), layouts become packs, a pack becomes one forward pass and its losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from mogao import loss as losses
from mogao.config import (
    KEEP_ALL,
    PRESETS,
    Drop,
    DropoutConfig,
    JointTask,
    ModelConfig,
    RunConfig,
    reseeded,
)
from mogao.data.mixture import build_source
from mogao.errors import ConfigError
from mogao.flow import corrupt
from mogao.model.hardware import compiler_available
from mogao.model.library import seeded
from mogao.model.vae import patchify, pixels_to_tensor
from mogao.packing.cost import step_flops
from mogao.packing.layout import Layout, lay_out
from mogao.packing.pack import PackedBatch, Packer, pack
from mogao.packing.spans import is_pair
from mogao.sampling.codes import Parts
from mogao.sequence import InterleavedSequence
from mogao.tokenizer import Tokenizer
from mogao.training import parallel
from mogao.training.alignment import Alignment
from mogao.training.feed import PackFeed
from mogao.training.latents import LatentCache
from mogao.training.parts import build_parts, export_parts
from mogao.training.pictures import UNSEEN_SEED, draw_pictures, own_source
from mogao.training.samples import SampleSheet
from mogao.training.task import Metrics

CENTRE_PICTURES = 256
"""Pictures whose mean feature is the centre of the alignment's target."""

COMPILE_FROM_STEPS = 300
"""Compiling takes a minute or two, so `auto` leaves shorter runs alone."""


@dataclass(frozen=True, slots=True)
class JointBatch:
    """One micro-batch: a pack, and the documents in it."""

    pack: PackedBatch
    num_documents: int


class JointModel(nn.Module):
    """What joint training moves: transformer, vision encoder, projection of the alignment."""

    def __init__(self, parts: Parts, alignment: Alignment | None) -> None:
        super().__init__()
        self.transformer = parts.transformer
        self.vision = parts.vision
        self.alignment = alignment

    def features(
        self, pictures: tuple[UInt8[Tensor, "3 _ _"], ...]
    ) -> Float[Tensor, "vit vision_dim"]:
        """Return understanding features of pictures, one row per VIT token, in order."""
        return self.vision([to_unit_range(picture) for picture in pictures])


class JointTraining:
    """The joint task; see `mogao.training.task.Task`.

    Everything random about a document (its dropout, whether its end is learned) depends on the
    run's seed, the rank and the document's number alone, so the feed can be resumed exactly.
    """

    def __init__(self, config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        """Build or load the model and open the data.

        Raises:
            ConfigError: Neither a model nor an autoencoder to start from is named, or `compile` is
                on without a compiler.
            CheckpointError: A model folder is missing or unsafe.
            DataError: The data cannot be read.
        """
        assert isinstance(config.task, JointTask)
        self.config, self.task, self.device = config, config.task, device
        self.parts, self.generation = build_parts(config, device=device, dtype=dtype)
        self.module = JointModel(self.parts, build_alignment(config, self.parts)).to(device)
        self.parts.transformer.recomputes_layers = self.task.recompute_layers
        if should_compile(config, device):
            self.parts.transformer.compile_layers()
        self._latents = LatentCache(self._encode, max_bytes=self.task.latent_cache_bytes)
        packer = Packer(config.token_budget)
        self._feed = PackFeed(own_source(config.data), packer, self._lay_out)
        self._sheet = SampleSheet(config, self.generation)

    def matrices(self) -> dict[str, tuple[int, ...]]:
        """Return the matrices of all layers; fused projections by their parts."""
        config = self.parts.config.transformer
        keys = config.num_kv_heads * config.head_dim
        heights = {
            "qkv.weight": (config.num_heads * config.head_dim, keys, keys),
            "up.weight": (config.ffn_hidden,) * (2 if config.ffn == "swiglu" else 1),
        }
        return {
            name: heights.get(".".join(name.split(".")[-2:]), ())
            for name, parameter in self.module.named_parameters()
            if parameter.requires_grad and is_hidden_matrix(name, parameter)
        }

    def next_batch(self) -> JointBatch:
        """Draw the next pack; latents come from the cache or the frozen autoencoder."""
        layouts = self._feed.next()
        packed = pack(layouts, self.parts.config.transformer, latents=self._latents)
        return JointBatch(packed, self._feed.num_documents)

    def weights(self, batch: JointBatch) -> dict[str, float]:
        """Return the sums of text and flow weights."""
        return losses.weight_sums(batch.pack.target_weights, batch.pack.noisy_weights)

    def losses(
        self, batch: JointBatch, normalisers: Mapping[str, float], generator: torch.Generator
    ) -> tuple[Float32[Tensor, ""], Metrics]:
        """Return the joined loss of a pack and the contributions of all losses."""
        packed = batch.pack.to(self.device)
        flow = corrupt(
            packed.noisy_clean, packed.noisy_lengths, self.task.flow, generator=generator
        )
        output = self.module.transformer(
            packed,
            flow,
            vit_features=self.module.features(packed.vit_pixels),
            backend=self.task.attention,
            tap=self.task.alignment and self.task.alignment.layer,
        )
        text = losses.text_loss_sum(output.logits, packed.targets, packed.target_weights)
        error = losses.flow_loss_sum(output.velocity, flow.velocity, packed.noisy_weights)
        denominators = losses.normalisers(normalisers, self.task.loss)
        total = losses.joined_loss(text, error, self.task.loss, denominators=denominators)
        metrics = {
            "text": text.detach() / denominators["text"],
            "flow": error.detach() / denominators["flow"],
        }
        if self.task.alignment is not None:
            aligned = self._alignment_sum(packed, output.tapped) / denominators["flow"]
            total = total + self.task.alignment.weight * aligned
            metrics["alignment"] = aligned.detach()
        return total, metrics

    def tokens(self, batch: JointBatch) -> dict[str, int]:
        """Return counts: tokens, room left in the budget, documents, NOISY pictures, FLOPs."""
        config, rule = self.parts.config, self.parts.transformer.rule
        flops = step_flops(batch.pack, config.transformer, config.vision, rule=rule)
        return {
            "tokens": batch.pack.num_tokens,
            "padding": self.config.token_budget - batch.pack.num_tokens,
            "samples": batch.num_documents,
            "pictures": len(batch.pack.noisy_lengths),
            "flops": round(flops),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the data position, and the tokenizer and centre that weights have learned with."""
        state = {"feed": self._feed.state_dict(), "tokenizer": self.parts.tokenizer.to_json()}
        if self.module.alignment is not None:
            state["centre"] = self.module.alignment.centre
        return state

    def load_state_dict(self, state: Mapping[str, Any], *, same_data: bool) -> None:
        """Continue behind the last pack; other data begins anew, with the same tokenizer.

        Raises:
            CheckpointError: The data is another than when the state was saved.
        """
        # A new one would be trained on today's texts: other ids for the same words.
        self.parts = replace(self.parts, tokenizer=Tokenizer.from_json(state["tokenizer"]))
        if self.module.alignment is not None:
            self.module.alignment.centre.copy_(state["centre"])
        if same_data:
            self._feed.load_state_dict(state["feed"])

    def write_samples(self, folder: Path, step: int, generator: torch.Generator) -> None:
        """Write `step-N.png` and `step-N.txt`."""
        # Sampling meets new shapes all the time: compiled layers would compile again and again.
        with torch.compiler.set_stance("force_eager"):
            self._sheet.write(folder, step, parts=self.parts, generator=generator)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the model folder; the averaged weights are in the networks already."""
        del weights
        export_parts(self.parts, self.generation, folder=folder)

    def _alignment_sum(
        self, batch: PackedBatch, states: Float[Tensor, "noisy hidden"] | None
    ) -> Float32[Tensor, ""]:
        """The alignment loss, summed over the weighted tokens of a pack."""
        assert self.module.alignment is not None
        assert states is not None
        if not batch.noisy_pixels:
            return states.sum().float()
        with torch.no_grad():
            features = self.module.features(batch.noisy_pixels)
        return self.module.alignment.loss_sum(states, features, batch.noisy_weights)

    def _lay_out(self, number: int, sequence: InterleavedSequence) -> list[Layout]:
        words = self.parts.tokenizer
        return lay_out_drawn(
            sequence, number, run=self.config, model=self.parts.config, words=words
        )

    @torch.no_grad()
    def _encode(
        self, pixels: UInt8[Tensor, "images 3 height width"]
    ) -> Float32[Tensor, "images tokens latent_dim"]:
        latents = self.parts.autoencoder.encode(to_unit_range(pixels.to(self.device)))
        return patchify(latents, patch=self.parts.config.latent_patch)


def lay_out_drawn(
    sequence: InterleavedSequence,
    number: int,
    *,
    run: RunConfig,
    model: ModelConfig,
    words: Tokenizer,
) -> list[Layout]:
    """Lay out document `number` of a run, with what the run's seed draws for it."""
    assert isinstance(run.task, JointTask)
    rng = np.random.default_rng([run.seed, number, parallel.rank()])
    drop = draw_drop(run.task.dropout, sequence, rng=rng)
    end_loss = not is_pair(sequence) or rng.random() < run.task.loss.end_token_prob
    return lay_out(
        sequence,
        words,
        model.transformer,
        token_pixels=model.token_pixels,
        end_loss=end_loss,
        drop=drop,
    )


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon may train a parameter: the matrices of all layers, encoder included."""
    return parameter.ndim == 2 and (".blocks." in name or ".layers." in name)


def should_compile(config: RunConfig, device: torch.device) -> bool:
    """Whether layers are compiled: on demand, or where a compiler exists and the run is long.

    Raises:
        ConfigError: `compile` is on, but there is no compiler.
    """
    available = compiler_available(device)
    if config.compile == "on" and not available:
        raise ConfigError("compile is on, but no compiler was found; install one or say off")
    pays = config.max_steps >= COMPILE_FROM_STEPS
    return config.compile == "on" or (config.compile == "auto" and available and pays)


def build_alignment(config: RunConfig, parts: Parts) -> Alignment | None:
    """Return the projection that a run asks for; its first weights depend on the seed only."""
    assert isinstance(config.task, JointTask)
    if config.task.alignment is None:
        return None
    unseen = build_source(reseeded(config.data, by=UNSEEN_SEED))
    pictures = [pixels_to_tensor([p])[0] for p in draw_pictures(unseen, CENTRE_PICTURES)]
    device = next(parts.vision.parameters()).device
    with torch.no_grad(), seeded(config.seed):
        centre = parts.vision([p.to(device) for p in pictures]).float().mean(dim=0)
        return Alignment(config.task.alignment, parts.config, centre=centre)


def to_unit_range(pixels: UInt8[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Return bytes as float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1.0)


def draw_drop(
    config: DropoutConfig, sequence: InterleavedSequence, *, rng: np.random.Generator
) -> Drop:
    """Draw what the context of a document leaves out; only documents that draw a picture do.

    Source: own design, docs/decisions.md; the kinds are the guidance branches of sampling.
    """
    kind, vit, clean = rng.random(3)
    if not any(image.has_loss for image in sequence.images):
        return KEEP_ALL
    for name, share in config.branches.items():
        if kind < share:
            return PRESETS[config.guidance].drops[name]
        kind -= share
    return Drop(vit=bool(vit < config.vit), clean=bool(clean < config.clean))
