"""What modules of other libraries need to fit in: seeds, explicit casts, strict and quiet files.

In: a module of diffusers or transformers. Out: the same module, built without touching the global
generator, run in another dtype while its weights stay as they are, written and read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from mogao.errors import CheckpointError
from mogao.files import atomic_write
from mogao.model.storage import check_finite, load_strict


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make the draws of a library's constructor depend on `seed` only; the generator is restored.

    The libraries draw their first weights from the global generator and take no other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def run_in(module: nn.Module, dtype: torch.dtype | None, *inputs: Any) -> Any:
    """Call a module with its weights cast to `dtype`; gradients reach the weights themselves.

    Args:
        module: Any module; its weights may be float32 masters.
        dtype: Type of weights and compute; None leaves the weights as they are.
        inputs: Passed on; tensors among them must have the type already.
    """
    weights = {name: weight for name, weight in module.named_parameters() if weight.dtype != dtype}
    if dtype is None or not weights:
        return module(*inputs)
    cast = {name: weight.to(dtype) for name, weight in weights.items()}
    return functional_call(module, cast, inputs)


def write_weights(module: nn.Module, path: Path, *, dtype: torch.dtype) -> None:
    """Write all weights as one safetensors file; missing folders are made.

    Raises:
        CheckpointError: The file cannot be written.
    """
    from safetensors.torch import save

    state = {name: value.to(dtype).contiguous() for name, value in module.state_dict().items()}
    try:
        atomic_write(path, save(state, metadata={"format": "pt"}))
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from None


def fill_weights(
    module: nn.Module, path: Path, *, ignore: str = "", rename: Callable[[str], str] = str
) -> None:
    """Put the weights of a safetensors file into a module, as float32.

    Args:
        module: Every weight of it must be in the file.
        path: The file; it may hold nothing else but weights under the prefix `ignore`.
        ignore: Prefix of weights that the module does without; empty ignores none.
        rename: The module's name of a weight by that in the file.

    Raises:
        CheckpointError: The file is missing or damaged, or its names, shapes or values are wrong.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read weights {path}: {error}") from None
    kept = {
        rename(name): value.float()
        for name, value in state.items()
        if not (ignore and name.startswith(ignore))
    }
    check_finite(kept.items(), where=path)
    load_strict(module, kept, where=path)
