"""Gradients of the micro-batches of a step, one after another or side by side on CPU threads.

In: a task and its micro-batches. Out: losses, and gradients summed in the parameters. Small
products do not keep two threads busy, two whole micro-batches do: each lane is a Python thread with
an equal share of the process's threads (torch leaves the interpreter free while it computes).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from mogao.training.task import Metrics, Task

Gradients = tuple[Tensor | None, ...]


class Lanes:
    """Runs micro-batches; results do not depend on how many run at once.

    Args:
        count: Micro-batches at the same time.
    """

    def __init__(self, count: int) -> None:
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            self._pool = _start_pool(count)

    def accumulate(
        self,
        task: Task,
        batches: Sequence[Any],
        normalisers: Mapping[str, float],
        *,
        generator: torch.Generator,
    ) -> list[tuple[float, Metrics]]:
        """Add the gradients of all micro-batches to the parameters.

        Args:
            task: Computes the losses.
            batches: Micro-batches of one step.
            normalisers: Global sums of loss weights.
            generator: Seeds the generator of each micro-batch, in order.

        Returns:
            Loss and metrics of each micro-batch, in order.
        """
        device = generator.device
        draws = torch.randint(2**62, (len(batches),), generator=generator, device=device)
        parameters = [p for p in task.module.parameters() if p.requires_grad]

        def work(batch: Any, seed: int) -> tuple[Tensor, Metrics, Gradients]:
            own = torch.Generator(device).manual_seed(seed)
            loss, metrics = task.losses(batch, normalisers, own)
            return loss.detach(), metrics, torch.autograd.grad(loss, parameters, allow_unused=True)

        run = map if self._pool is None else self._pool.map
        results = []
        for loss, metrics, gradients in run(work, batches, draws.tolist()):
            _add(parameters, gradients)
            results.append((float(loss), metrics))
        return results


def _add(parameters: Sequence[nn.Parameter], gradients: Gradients) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            old = parameter.grad
            parameter.grad = gradient if old is None else old.add_(gradient)


def _start_pool(count: int) -> ThreadPoolExecutor:
    """Threads that compute with a share of this thread's threads each."""
    threads = torch.get_num_threads()
    everybody = threading.Barrier(count)

    def start() -> None:
        torch.get_num_threads()  # a thread's first use takes over the default: before it is set
        torch.set_num_threads(max(1, threads // count))
        everybody.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="lane", initializer=start)
    for _ in pool.map(lambda _: None, range(count)):
        pass
    torch.set_num_threads(threads)  # a lane's setting is also the default of later threads
    return pool
