"""What a run would do, before it does it: the facts of `mogao train --dry-run`.

In: a `RunConfig`. Out: plain numbers. Networks are built without memory, on the meta device; a
joint run is reckoned by the formulas of `mogao plan`, on the device that is here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mogao.config import AutoencoderTask, DetectorTask, JointTask, RunConfig, VisionTask
from mogao.evaluation.judges.detector import vocabulary
from mogao.model.count import build_on_meta, count_parameters
from mogao.model.detector import Detector
from mogao.model.hardware import pick_device, pick_dtype
from mogao.model.vae import Autoencoder
from mogao.plan.activations import backend_of
from mogao.plan.memory import MASTER_BYTES, Setting, count_weights, optimiser_bytes, train_memory
from mogao.plan.subject import generation_of, model_of
from mogao.plan.work import Document, measure
from mogao.training.joint import should_compile


def dry_run(config: RunConfig) -> dict[str, Any]:
    """Return parameters, tokens of a step, memory and steps as JSON values.

    Memory is an estimate: weights, gradients, optimiser and average, and in joint runs what a step
    keeps for its backward pass, for documents of pictures of the size that the model draws.

    Raises:
        CheckpointError: The model folder that the run starts from is missing.
        ConfigError: `compile` is on, but there is no compiler.
    """
    task = config.task
    device = pick_device()
    dtype = pick_dtype(config.dtype, device)
    if isinstance(task, JointTask):
        facts = _joint(config, task, device=device)
        is_compiled = should_compile(config, device)
    else:
        facts, is_compiled = _other(config, task), False
    return {
        "name": config.name,
        "task": task.kind,
        **facts,
        "steps": config.max_steps,
        "minutes": config.max_minutes,
        "device": str(device),
        "compute_dtype": str(dtype).removeprefix("torch."),
        "compile": is_compiled,
    }


def _joint(config: RunConfig, task: JointTask, *, device: torch.device) -> dict[str, Any]:
    model, image = model_of(task), generation_of(task).image
    dtype = pick_dtype(config.dtype, device)
    weights = count_weights(model, task, dtype)
    document = Document(image.height, image.width)
    work = measure(document.packed(model), model.transformer)
    backend = backend_of(task.attention, on_cuda=device.type == "cuda")
    memory = train_memory(
        model,
        weights,
        work.times(config.token_budget / work.total),
        setting=Setting(task, config.optim, dtype, backend),
        devices=1,
        recompute=task.recompute_layers,
    )
    return {
        "parameters": weights.parts,
        "trained_parameters": weights.trained,
        "tokens_per_step": config.token_budget * config.accumulation,
        "memory_bytes": memory["total"] + task.latent_cache_bytes,
        "checkpoint_bytes": _checkpoints(config, weights.trained, weights.matrices),
    }


def _other(config: RunConfig, task: AutoencoderTask | VisionTask | DetectorTask) -> dict[str, Any]:
    """Facts of a run of one network; nearly all of its weights lie in matrices or convolutions."""
    if isinstance(task, DetectorTask):
        with torch.device("meta"):
            detector = Detector(vocabulary(widths=task.widths, depths=task.depths))
        counts = {"detector": sum(p.numel() for p in detector.parameters())}
        trained = counts["detector"]
    else:
        counts = count_parameters(*build_on_meta(task.model))
        trained = _trained(task, counts)
    copies = 3 if config.optim.ema_decay else 2  # weights and gradients; the average
    return {
        "parameters": counts,
        "trained_parameters": trained,
        "images_per_step": task.batch_images * config.accumulation,
        "memory_bytes": MASTER_BYTES * copies * trained
        + optimiser_bytes(trained, trained, config.optim),
        "checkpoint_bytes": _checkpoints(config, trained, trained),
    }


def _trained(task: AutoencoderTask | VisionTask, counts: dict[str, int]) -> int:
    """The parameters that a task of one network moves."""
    if isinstance(task, VisionTask):
        return counts["vision"] + (task.model.vision.hidden + 1) * task.model.transformer.vocab_size
    if task.decoder_of is None:
        return counts["vae"]
    decoder = Autoencoder.load(Path(task.decoder_of) / "vae").kl.decoder
    return sum(p.numel() for p in decoder.parameters())


def _checkpoints(config: RunConfig, trained: int, matrices: int) -> int:
    """Bytes of all checkpoints that are kept: weights, optimiser and average."""
    copies = 2 if config.optim.ema_decay else 1
    one = MASTER_BYTES * copies * trained + optimiser_bytes(trained, matrices, config.optim)
    return one * config.keep_checkpoints
