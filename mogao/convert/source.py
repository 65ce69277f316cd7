"""A foreign folder, read with care: names and shapes from headers, tensors one at a time.

In: a folder that a stranger made, or a GGUF file. Out: its JSON files and its tensors, each checked
when it is read. Pickles are never opened, and nothing outside of the folder is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mogao.errors import CheckpointError
from mogao.model.shards import Header, is_finite, read_header, read_tensor
from mogao.model.storage import inside, read_index, read_object, refuse_twins, weight_files
from mogao.model.weights.rules import some

SETTINGS_LIMIT_BYTES = 10_000_000
"""Longest JSON file of settings."""
WEIGHT_TYPES = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a tensor before it is read, and how to read it."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    load: Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Source:
    """Where foreign weights come from.

    Attributes:
        path: The folder or file.
        settings: Its JSON files by name.
        tensors: By name.
        identity: By file, what tells it from any other: size, hash of the header, time of change.
    """

    path: Path
    settings: Mapping[str, dict[str, Any]]
    tensors: Mapping[str, Known]
    identity: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name."""
        return {name: known.shape for name, known in self.tensors.items()}

    @property
    def title(self) -> str:
        """Its name for people: that of the folder, or the hub id."""
        if self.path.parent.name == "snapshots":
            return self.path.parent.parent.name.removeprefix("models--").replace("--", "/")
        if self.path.name in ("vision", "vae"):
            return f"{self.path.parent.name}/{self.path.name}"
        return self.path.stem if self.path.is_file() else self.path.name

    def read(self, name: str) -> Tensor:
        """Read one tensor.

        Raises:
            CheckpointError: It is quantised, its file is damaged, or a value is not finite.
        """
        known = self.tensors[name]
        if known.dtype not in WEIGHT_TYPES:
            raise CheckpointError(
                f"{self.path}: {name} is stored as {known.dtype}; take the model that was not "
                "quantised"
            )
        tensor = known.load()
        if not is_finite(tensor):
            raise CheckpointError(f"{self.path}: {name} holds values that are not finite")
        return tensor


def open_folder(
    folder: Path, *, weights: Sequence[str], settings: Sequence[str], maybe: Sequence[str] = ()
) -> Source:
    """Open a folder; headers and settings are read, tensors are not.

    Args:
        folder: The folder.
        weights: Names of its safetensors files; where there is an index of shards, that is read.
        settings: JSON files that must be there.
        maybe: JSON files that may be.

    Raises:
        CheckpointError: Files are missing, damaged or lead out of the folder, or a tensor is held
            twice.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder")
    names = [*settings, *(name for name in maybe if (folder / name).is_file())]
    objects = {
        name: read_object(inside(folder, name), limit_bytes=SETTINGS_LIMIT_BYTES) for name in names
    }
    identity = {name: _digest(folder / name) for name in names}
    tensors: dict[str, Known] = {}
    for name in weights:
        for file, header in _headers(folder, name).items():
            refuse_twins(tensors.keys() & header.entries.keys(), where=file)
            tensors |= {
                tensor: Known(entry.dtype, entry.shape, partial(read_tensor, file, entry))
                for tensor, entry in header.entries.items()
            }
            facts = file.stat()
            identity[file.name] = f"{facts.st_size} {header.sha256} {facts.st_mtime_ns}"
    return Source(folder, objects, tensors, identity)


def open_gguf(path: Path) -> Source:
    """Open a language model in a GGUF file; it is dequantised into memory as a whole.

    Raises:
        CheckpointError: See `read_gguf`.
        ConfigError: The package gguf is missing.
    """
    from mogao.model.weights.gguf import read_gguf

    model = read_gguf(path)
    tensors = {
        name: Known(tensor.dtype, tuple(tensor.shape), partial(_same, tensor))
        for name, tensor in model.tensors.items()
    }
    return Source(path, model.settings, tensors, {path.name: _digest(path)})


def _headers(folder: Path, name: str) -> dict[Path, Header]:
    """Headers of a file or of its shards; an index must say what they hold."""
    files = weight_files(folder, name)
    if files == [folder / name]:
        return {inside(folder, name): read_header(files[0])}
    named = read_index(inside(folder, f"{name}.index.json"))
    found: dict[Path, Header] = {}
    for file in files:
        found[file] = header = read_header(file)
        wanted = {tensor for tensor, home in named.items() if home == file.name}
        if wanted != header.entries.keys():
            wrong = sorted(wanted ^ header.entries.keys())
            raise CheckpointError(f"{file} and the index beside it differ in: {some(wrong)}")
    return found


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
