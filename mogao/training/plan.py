"""What a run would do, before it does it: the facts of `mogao train --dry-run`.

In: a `RunConfig`. Out: plain numbers. Networks are built without memory, on the meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mogao.config import (
    AutoencoderTask,
    DetectorTask,
    JointTask,
    ModelConfig,
    RunConfig,
    VisionTask,
)
from mogao.evaluation.judges.detector import vocabulary
from mogao.model.detector import Detector
from mogao.model.hardware import pick_device, pick_dtype
from mogao.model.transformer import MogaoTransformer
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder
from mogao.pipeline import load_config
from mogao.training.joint import should_compile

BYTES_PER_WEIGHT = {"adamw": 16, "muon": 12}
"""float32 weight, gradient and momenta; the average takes four more."""


def dry_run(config: RunConfig) -> dict[str, Any]:
    """Return parameters, tokens of a step, memory and steps as JSON values.

    Memory is an estimate: weights, gradients, optimiser and average exactly, activations as the
    tensors that a layer keeps for its backward pass.

    Raises:
        CheckpointError: The model folder that the run starts from is missing.
    """
    task = config.task
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    if isinstance(task, DetectorTask):
        trained = count_detector(task)
        counts = {"detector": trained}
    else:
        model = model_of(task)
        counts = count_parameters(model)
        trained = count_trained(task, model, counts)
    size = {"tokens_per_step": config.token_budget * config.accumulation}
    if not isinstance(task, JointTask):
        size = {"images_per_step": task.batch_images * config.accumulation}
    per_weight = BYTES_PER_WEIGHT[config.optim.kind] + (4 if config.optim.ema_decay else 0)
    memory = trained * per_weight
    if isinstance(task, JointTask):
        memory += activation_bytes(model, config.token_budget, dtype) + task.latent_cache_bytes
    return {
        "name": config.name,
        "task": task.kind,
        "parameters": counts,
        "trained_parameters": trained,
        **size,
        "steps": config.max_steps,
        "minutes": config.max_minutes,
        "memory_bytes": memory,
        "checkpoint_bytes": trained * (per_weight - 4) * config.keep_checkpoints,
        "device": str(device),
        "compute_dtype": str(dtype).removeprefix("torch."),
        "compile": isinstance(task, JointTask) and should_compile(config, device),
    }


def model_of(task: JointTask | AutoencoderTask | VisionTask) -> ModelConfig:
    """Return the shape that a task trains: its own, or that of the model it starts from.

    Raises:
        CheckpointError: The model folder is missing.
    """
    if isinstance(task, JointTask) and task.init_from is not None:
        return load_config(task.init_from)
    return task.model


def count_detector(task: DetectorTask) -> int:
    """Return the parameters of a detector of the world."""
    with torch.device("meta"):
        detector = Detector(vocabulary(widths=task.widths, depths=task.depths))
    return sum(p.numel() for p in detector.parameters())


def count_trained(
    task: JointTask | AutoencoderTask | VisionTask, model: ModelConfig, counts: Mapping[str, int]
) -> int:
    """Return the parameters that a task moves.

    Raises:
        CheckpointError: The autoencoder whose decoder learns on is missing.
    """
    if isinstance(task, VisionTask):
        return counts["vision"] + (model.vision.hidden + 1) * model.transformer.vocab_size
    if isinstance(task, JointTask):
        projection = 0
        if task.alignment is not None:
            width, ends = task.alignment.hidden, (model.transformer.hidden, model.vision.hidden)
            projection = width * (sum(ends) + 1) + ends[1]
        fixed = {"autoencoder", "vision"} if task.freeze_vision else {"autoencoder"}
        return projection + sum(count for name, count in counts.items() if name not in fixed)
    if task.decoder_of is None:
        return counts["autoencoder"]
    decoder = Autoencoder.load(Path(task.decoder_of) / "vae").kl.decoder
    return sum(p.numel() for p in decoder.parameters())


def count_parameters(model: ModelConfig) -> dict[str, int]:
    """Return the parameters of each part: text and visual branch, what they share, encoders."""
    with torch.device("meta"):
        transformer = MogaoTransformer(model.transformer)
        parts = {
            "vision": VisionEncoder(model.vision),
            "autoencoder": Autoencoder(model.autoencoder),
        }
    named = [(name, p.numel()) for name, p in transformer.named_parameters()]
    branches = [
        sum(n for name, n in named if f".{branch}." in name) for branch in ("text", "visual")
    ]
    total = sum(n for _, n in named)
    return {
        "text": branches[0],
        "visual": branches[1],
        "shared": total - sum(branches),
        **{name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
    }


def activation_bytes(model: ModelConfig, tokens: int, dtype: torch.dtype) -> int:
    """Estimate what the backward pass of the transformer keeps for a pack of `tokens`."""
    config = model.transformer
    # Per layer: two norms' inputs in float32, four hidden-sized tensors, q, k, v, the attended
    # values, and the feed-forward's hidden values before and behind its activation.
    heads = 2 * config.num_heads + 2 * config.num_kv_heads
    width = 12 * config.hidden + heads * config.head_dim + 3 * config.ffn_hidden
    return tokens * config.num_layers * width * dtype.itemsize
