"""The whole plan of a model on some devices: every number that `mogao plan` prints.

In: a run, a document to reckon with, a machine. Out: JSON values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mogao.plan.activations import Backend
from mogao.plan.context import contexts, picture_context
from mogao.plan.flops import RECOMPUTED, TRAINING, evaluations, token_flops
from mogao.plan.memory import Setting, Weights, count_weights, serve_memory, train_memory
from mogao.plan.subject import Subject
from mogao.plan.work import Work, measure
from mogao.sampling.slabs import row_bytes

RESERVE = 0.1
"""Share of a device's memory that is left to its runtime, to buffers and to fragmentation."""
TERA = 1e12


@dataclass(frozen=True, slots=True)
class Machine:
    """Some equal devices.

    Attributes:
        devices: How many.
        memory_bytes: Of each.
        tflops: Products that each can do in the compute type, in 10^12 FLOPs a second.
        efficiency: Share of that rate that a whole step reaches.
    """

    devices: int
    memory_bytes: float
    tflops: float
    efficiency: float

    @property
    def usable_bytes(self) -> float:
        """Memory of each device without the reserve."""
        return self.memory_bytes * (1 - RESERVE)

    @property
    def flops_per_second(self) -> float:
        """What each device does in a second of a step."""
        return self.tflops * TERA * self.efficiency


def make_plan(
    subject: Subject, machine: Machine, *, dtype: torch.dtype, backend: Backend
) -> dict[str, Any]:
    """Return parameters, FLOPs, memory, what fits, and estimated speed.

    Raises:
        ConfigError: The pictures of the document do not fit the token grid of the model.
    """
    setting = Setting(subject.task, subject.run.optim, dtype, backend)
    weights = count_weights(subject.model, subject.task, dtype)
    batch = subject.document.packed(subject.model)
    work, flops = measure(batch, subject.model.transformer), token_flops(subject.model, batch)
    train = _train(subject, machine, weights=weights, work=work, setting=setting, flops=flops)
    serve = _serve(subject, machine, weights=weights, dtype=dtype, flops=flops)
    return {
        "name": subject.model.name,
        "parameters": weights.parts | {"all": sum(weights.parts.values())},
        "trained_parameters": weights.trained,
        "document": _document(subject, work),
        "flops_per_token": flops,
        "assumed": {
            "devices": machine.devices,
            "memory_bytes": machine.memory_bytes,
            "reserve": RESERVE,
            "device_tflops": machine.tflops,
            "efficiency": machine.efficiency,
            "attention": backend,
        },
        "memory_bytes": {
            "train": train.pop("memory"),
            "serve": serve.pop("memory"),
            "cache": _cache(subject, dtype),
        },
        "fits": train.pop("fits") | serve.pop("fits"),
        "train": train,
        "serve": serve,
    }


def _document(subject: Subject, work: Work) -> dict[str, Any]:
    document = subject.document
    return {
        "pictures": document.pictures,
        "height": document.height,
        "width": document.width,
        "text_tokens": document.text_tokens,
        "tokens": {kind.name.lower(): round(count) for kind, count in work.tokens.items()},
        "pairs": round(work.pairs),
    }


def _cache(subject: Subject, dtype: torch.dtype) -> dict[str, int]:
    """Keys and values of a token, a thousand, a picture, and a whole document with its slabs."""
    token = row_bytes(subject.model.transformer, dtype)
    picture = picture_context(subject.model, subject.document)
    branches = contexts(subject.model, subject.document, subject.generation.image)
    return {
        "token": token,
        "thousand_tokens": 1000 * token,
        "picture": token * (picture.text + picture.clean),
        "document": sum(one.bytes(subject.model, dtype) for one in branches.values()),
    }


def _train(
    subject: Subject,
    machine: Machine,
    *,
    weights: Weights,
    work: Work,
    setting: Setting,
    flops: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """Memory of a device with and without recomputation, the largest budgets, and speed."""
    budget = subject.run.token_budget

    def memory(tokens: int, recompute: bool, devices: int = machine.devices) -> dict[str, int]:
        return train_memory(
            subject.model,
            weights,
            work.times(tokens / work.total),
            setting=setting,
            devices=devices,
            recompute=recompute,
        )

    def fits(tokens: int, recompute: bool, devices: int = machine.devices) -> bool:
        return memory(tokens, recompute, devices)["total"] <= machine.usable_bytes

    speed = machine.flops_per_second / flops["mean"]["forward"]
    rows = []
    for devices in _device_counts(machine.devices):
        again = not fits(budget, False, devices)
        rows.append(
            {
                "devices": devices,
                "recompute": again,
                "device_bytes": memory(budget, again, devices)["total"],
                "fits": fits(budget, again, devices),
                "tokens_per_second": devices * speed / (RECOMPUTED if again else TRAINING),
            }
        )
    return {
        "memory": {"kept": memory(budget, False), "recomputed": memory(budget, True)},
        "fits": {"train": fits(budget, False), "train_recompute": fits(budget, True)},
        "token_budget": budget,
        "largest_token_budget": {
            "kept": largest(lambda tokens: fits(tokens, False)),
            "recomputed": largest(lambda tokens: fits(tokens, True)),
        },
        "rows": rows,
    }


def _serve(
    subject: Subject,
    machine: Machine,
    *,
    weights: Weights,
    dtype: torch.dtype,
    flops: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """Memory of a device, how many documents go beside the weights, and seconds a picture."""
    each = _cache(subject, dtype)["document"]
    memory, documents = {}, {}
    for name, sharded in (("replicated", False), ("sharded", True)):
        held = serve_memory(
            subject.model, weights, dtype=dtype, devices=machine.devices, sharded=sharded
        )
        room = machine.usable_bytes - held["total"]
        # Sharded weights mean that a document's keys are divided too.
        count = machine.devices * room / each if sharded else machine.devices * (room // each)
        memory[name], documents[name] = held, max(0, int(count))
    picture = subject.document.height * subject.document.width // subject.model.token_pixels**2
    steps = evaluations(subject.generation.image)
    drawing = steps * picture * flops["noisy"]["forward"]
    return {
        "memory": memory,
        "fits": {"serve": documents["replicated"] > 0, "serve_sharded": documents["sharded"] > 0},
        "documents": documents,
        "evaluations": steps,
        "picture_flops": drawing,
        "picture_seconds": drawing / machine.flops_per_second,
        "read_tokens_per_second": machine.devices
        * machine.flops_per_second
        / flops["text"]["forward"],
    }


def largest(fits: Callable[[int], bool], *, most: int = 2**30) -> int:
    """Return the largest number that fits, 0 where not even 1 does; larger ones never fit again."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _device_counts(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself."""
    return sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most})
