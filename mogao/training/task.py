"""What the training loop asks of the thing that it trains.

In: a `RunConfig`. Out: a `Task`, the only object through which the loop sees data, network and
losses. Four tasks exist: `mogao.training.joint`, `.autoencoder`, `.vision` and `.detector`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mogao.config import AutoencoderTask, DetectorTask, RunConfig, VisionTask

Metrics = dict[str, Tensor]
"""Detached scalars by name; each is a contribution that sums to the step's global mean."""


@runtime_checkable
class Task(Protocol):
    """Data, network and losses of one kind of training."""

    @property
    def module(self) -> nn.Module:
        """Every trainable weight, in float32, already on the device.

        Parameters that must not change have `requires_grad` False and stay bit-stable.
        Lower-precision compute is done inside by explicit casts.
        """
        ...

    def matrices(self) -> Mapping[str, tuple[int, ...]]:
        """Names of the hidden matrices that Muon may train, with the heights of their row blocks.

        A fused projection names its parts (query rows, key rows, value rows), because each is
        orthogonalised alone; `()` means one block. An empty mapping puts everything under AdamW.
        """
        ...

    def next_batch(self) -> Any:
        """Draw the next micro-batch from the data source; tensors stay on the host."""
        ...

    def weights(self, batch: Any) -> dict[str, float]:
        """Sum of the loss weights of one micro-batch by loss name, such as text and flow.

        The loop adds these sums over the micro-batches of a step (and over ranks) and hands the
        result to `losses`, so that a step means the same however it is cut.
        """
        ...

    def losses(
        self, batch: Any, normalisers: Mapping[str, float], generator: torch.Generator
    ) -> tuple[Tensor, Metrics]:
        """The scalar to call backward on, and metrics that add up over micro-batches.

        Args:
            batch: What `next_batch` returned.
            normalisers: Global sum of loss weights by loss name; at least one is positive. A loss
                whose normaliser is 0 must contribute 0.
            generator: The only source of randomness (noise, times), on the task's device.

        Returns:
            The sum over tokens of weight x loss / normaliser, joined with the loss factors, in
            float32 with gradient; and per-name detached contributions to the step's means.
        """
        ...

    def tokens(self, batch: Any) -> dict[str, int]:
        """Counts: `tokens` (real), `padding`, `samples`; `flops` where they are counted."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Data position and own generators: nested dicts of JSON values and tensors.

        It describes the batches that `next_batch` has handed out, not those read ahead.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any], *, same_data: bool) -> None:
        """Continue exactly behind the batch after which `state_dict` was called.

        Args:
            state: What `state_dict` returned.
            same_data: False where the data is another now: take over only what the weights have
                been learned with, and leave the data at its beginning.
        """
        ...

    def write_samples(self, folder: Path, step: int, generator: torch.Generator) -> None:
        """Write a sheet of pictures and answers; the loop has put averaged weights in place."""
        ...

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the model folder; `weights` is the module's state dict with averaged weights."""
        ...


def build_task(config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> Task:
    """Build the task that a config asks for.

    Args:
        config: The run; `config.task.kind` selects the task, `config.seed` fixes its weights.
        device: Where the network lives.
        dtype: Compute type inside the network; weights are float32 always.

    Raises:
        ConfigError: The config does not name what the task needs.
        CheckpointError: A model folder that the task starts from is missing or unsafe.
        DataError: The data source cannot be read.
    """
    if isinstance(config.task, AutoencoderTask):
        from mogao.training.autoencoder import AutoencoderTraining

        return AutoencoderTraining(config, device=device, dtype=dtype)
    if isinstance(config.task, VisionTask):
        from mogao.training.vision import VisionTraining

        return VisionTraining(config, device=device, dtype=dtype)
    if isinstance(config.task, DetectorTask):
        from mogao.training.detector import DetectorTraining

        return DetectorTraining(config, device=device, dtype=dtype)
    from mogao.training.joint import JointTraining

    return JointTraining(config, device=device, dtype=dtype)
