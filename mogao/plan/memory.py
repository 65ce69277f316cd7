"""Memory of one device in training and in serving, in bytes, part by part.

In: a model config, `Work`, the settings of a run, a number of devices. Out: bytes. Training is
reckoned as fully sharded data parallelism: float32 weights, gradients, optimiser and average are
divided over the devices, what a step keeps of its own pack is not. Table: docs/plan.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mogao.config import EngineConfig, JointTask, ModelConfig, OptimConfig
from mogao.model.count import build_on_meta, count_parameters
from mogao.pipeline import sampling_dtypes
from mogao.plan.activations import Backend, kept_bytes, layer_bytes
from mogao.plan.work import Work
from mogao.training.joint import is_hidden_matrix

MASTER_BYTES = 4
"""Weights, gradients, momenta and averages in training: float32."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Numbers of weights by what training does with them.

    Attributes:
        parts: By part of the model.
        trained: That a joint run moves.
        matrices: Of those, the hidden matrices, which Muon may train.
        networks: Of transformer and encoder, frozen ones included.
        cast: Whose copy in the compute type a step uses.
        outside: Of those, the ones outside the layers of the transformer.
        layer: Of those, the ones of one layer.
        sampled_bytes: Of all networks as sampling holds them, in its compute type.
    """

    parts: dict[str, int]
    trained: int
    matrices: int
    networks: int
    cast: int
    outside: int
    layer: int
    sampled_bytes: int


def count_weights(model: ModelConfig, task: JointTask, dtype: torch.dtype) -> Weights:
    """Build a model on the meta device and count its weights."""
    transformer, vision, autoencoder = build_on_meta(model)
    if task.freeze_vision:
        vision.requires_grad_(False)
    named = [
        *transformer.named_parameters(prefix="transformer"),
        *vision.named_parameters(prefix="vision"),
    ]
    trained = {name: weight.numel() for name, weight in named if weight.requires_grad}
    matrices = sum(w.numel() for n, w in named if w.requires_grad and is_hidden_matrix(n, w))
    typed = list(sampling_dtypes(transformer, dtype))
    cast = {id(weight) for weight, own in typed if own == dtype}
    others = [*vision.parameters(), *autoencoder.parameters()]
    sampled = sum(weight.numel() * own.itemsize for weight, own in typed)
    sampled += dtype.itemsize * sum(weight.numel() for weight in others)
    layers = sum(w.numel() for w in transformer.blocks.parameters() if id(w) in cast)
    outside = sum(w.numel() for w in transformer.parameters() if id(w) in cast) - layers
    if not model.transformer.tied_embeddings:
        outside -= transformer.embedding.tokens.weight.numel()  # rows are read, not multiplied
    outside += sum(weight.numel() for weight in vision.parameters())
    return Weights(
        parts=count_parameters(transformer, vision, autoencoder),
        trained=sum(trained.values()) + alignment_weights(model, task),
        matrices=matrices,
        networks=sum(weight.numel() for _, weight in named),
        cast=layers + outside,
        outside=outside,
        layer=layers // model.transformer.num_layers,
        sampled_bytes=sampled,
    )


def alignment_weights(model: ModelConfig, task: JointTask) -> int:
    """Return the parameters of the projection that only training has; see `AlignmentConfig`."""
    if task.alignment is None:
        return 0
    width, ends = task.alignment.hidden, (model.transformer.hidden, model.vision.hidden)
    return width * (sum(ends) + 1) + ends[1]


def optimiser_bytes(trained: int, matrices: int, config: OptimConfig) -> int:
    """Return the momenta: two a weight under AdamW, one under Muon."""
    single = matrices if config.kind == "muon" else 0
    return MASTER_BYTES * (2 * trained - single)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a run trains.

    Attributes:
        task: What is frozen.
        optim: The optimiser, and whether an average is kept.
        dtype: Compute type.
        backend: Of attention.
    """

    task: JointTask
    optim: OptimConfig
    dtype: torch.dtype
    backend: Backend


def train_memory(
    model: ModelConfig,
    weights: Weights,
    work: Work,
    *,
    setting: Setting,
    devices: int,
    recompute: bool,
) -> dict[str, int]:
    """Return what one device holds at the busiest moment of a training step.

    Args:
        model: Shapes.
        weights: Its weights.
        work: The pack of one device.
        setting: How it is trained.
        devices: That share weights, gradients, optimiser and average.
        recompute: Whether layers are computed again for the backward pass.
    """
    optim, dtype, backend = setting.optim, setting.dtype, setting.backend
    config, size = model.transformer, dtype.itemsize
    kept = kept_bytes(
        model,
        work,
        dtype=dtype,
        backend=backend,
        recompute=recompute,
        trains_vision=not setting.task.freeze_vision,
    )
    if devices > 1:
        # All that lies outside the layers and two layers, each with its gradient.
        copies = 2 * size * (weights.outside + 2 * weights.layer)
    else:
        copies = size * weights.cast if size < MASTER_BYTES else 0
    # Gradients of the loss with respect to log-probabilities and logits.
    busy = 2.0 * MASTER_BYTES * work.predictions * config.vocab_size
    if recompute:
        again = layer_bytes(config, work, dtype=dtype, backend=backend)
        busy = max(busy, again)
    average = MASTER_BYTES * weights.trained if optim.ema_decay else 0
    state = {
        "weights": MASTER_BYTES * weights.networks / devices + size * weights.parts["vae"],
        "compute_copies": copies,
        "gradients": MASTER_BYTES * weights.trained / devices,
        "optimiser": optimiser_bytes(weights.trained, weights.matrices, optim) / devices,
        "average": average / devices,
        "activations": sum(kept.values()),
        "busiest_moment": busy,
    }
    return _rounded(state)


def serve_memory(
    model: ModelConfig, weights: Weights, *, dtype: torch.dtype, devices: int, sharded: bool
) -> dict[str, int]:
    """Return what one device holds before the first request: weights, and room for one step."""
    config, size, limits = model.transformer, dtype.itemsize, EngineConfig()
    widths = 3 if config.ffn == "swiglu" else 2
    # Hidden states, a norm in float32, the feed-forward; and logits of all texts.
    token = (2 * size + 2 * MASTER_BYTES) * config.hidden + widths * size * config.ffn_hidden
    logits = (size + MASTER_BYTES) * config.vocab_size * limits.max_active
    state = {
        "weights": weights.sampled_bytes / (devices if sharded else 1),
        "busiest_moment": limits.step_tokens * token + logits,
    }
    return _rounded(state)


def _rounded(state: dict[str, float | int]) -> dict[str, int]:
    whole = {name: round(count) for name, count in state.items()}
    return whole | {"total": sum(whole.values())}
