"""A folder that is written shard by shard and appears whole, or stays behind to be gone on with.

In: weights that are made when their turn comes. Out: safetensors files with index and checksums, in
`DST.partial`, which gets its name when everything is in it. `convert.json` says what the folder is
made from; a second run continues behind the last finished file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mogao.errors import CheckpointError
from mogao.files import atomic_write
from mogao.model.shards import write_file
from mogao.model.storage import read_object, sha256
from mogao.model.weights.rules import some

RECORD = "convert.json"
FORMAT = "mogao-convert/1"
Finished = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight to be written.

    Attributes:
        name: In the file.
        dtype: Its type.
        shape: Its shape.
        make: Makes it; called once, when its turn comes.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def num_bytes(self) -> int:
        """Its size in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class File:
    """A safetensors file to be written.

    Attributes:
        path: In the folder, with `/`.
        weights: What is in it.
    """

    path: str
    weights: tuple[Weight, ...]

    @property
    def num_bytes(self) -> int:
        """Size of its weights."""
        return sum(weight.num_bytes for weight in self.weights)


def shard(weights: Sequence[Weight], path: str, *, max_bytes: int) -> list[File]:
    """Divide weights among files of bounded size, in their order; one file keeps the plain name.

    Args:
        weights: At least one.
        path: Such as "model.safetensors".
        max_bytes: Of a file; a larger weight is alone in its own.
    """
    groups: list[list[Weight]] = [[]]
    size = 0
    for weight in weights:
        if groups[-1] and size + weight.num_bytes > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(weight)
        size += weight.num_bytes
    stem, total = path.removesuffix(".safetensors"), len(groups)
    names = [f"{stem}-{number:05}-of-{total:05}.safetensors" for number in range(1, total + 1)]
    # Wide types first: then every weight lies at a multiple of its width.
    sorted_groups = [sorted(group, key=lambda one: -one.dtype.itemsize) for group in groups]
    return [
        File(name, tuple(group))
        for name, group in zip([path] if total == 1 else names, sorted_groups, strict=True)
    ]


def index_of(files: Sequence[File]) -> dict[str, Any]:
    """Return the index of shards, in the form of transformers."""
    named = {weight.name: file.path for file in files for weight in file.weights}
    size = sum(file.num_bytes for file in files)
    return {"metadata": {"total_size": size}, "weight_map": dict(sorted(named.items()))}


class Target:
    """A folder that is being written.

    Attributes:
        folder: Its final name.
        partial: Where it is written until it is complete.
        reused: Files that an earlier run had finished.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], *, restart: bool = False) -> None:
        """Begin, or go on where an earlier run with the same request stopped.

        Args:
            folder: Must not be there yet.
            request: All that decides what is written, as JSON values.
            restart: Forget what an earlier run with another request has left.

        Raises:
            CheckpointError: The folder is there already, or an unfinished one has another request.
        """
        if folder.exists():
            raise CheckpointError(f"{folder} is there already; give another name or remove it")
        self.folder = folder
        self.partial = folder.with_name(f"{folder.name}.partial")
        self.reused: list[str] = []
        self._request = json.loads(json.dumps(request))
        self._done: dict[str, dict[str, Any]] = {}
        self.partial.mkdir(parents=True, exist_ok=True)
        if (self.partial / RECORD).is_file():
            record = read_object(self.partial / RECORD)
            others = sorted(_differences(record.get("request"), self._request))
            if not others:
                self._done = dict(record.get("files", {}))
            elif not restart:
                raise CheckpointError(
                    f"{self.partial} was begun with other settings, which differ in: "
                    f"{some(others)}; repeat those to go on, or start over with --restart"
                )
        self._save()

    def write(self, files: Sequence[File], *, finished: Finished | None = None) -> None:
        """Write files in order; those that an earlier run has finished are only checked.

        Args:
            files: What belongs into the folder.
            finished: Called with each file when it is whole and on the disk.

        Raises:
            CheckpointError: A source cannot be read, or a weight becomes what it should not.
        """
        self._remove_strangers(files)
        for file in files:
            path = self.partial / file.path
            if self._is_done(file, path):
                self.reused.append(file.path)
            else:
                path.parent.mkdir(exist_ok=True)
                self._write(file, path)
            if finished is not None:
                finished(path)

    def complete(self, texts: Mapping[str, str], *, record: Mapping[str, Any]) -> None:
        """Write the small files, the last of them last, and give the folder its name.

        Args:
            texts: Content by path; put config.json last.
            record: What `convert.json` is to keep besides request and checksums.

        Raises:
            CheckpointError: A file was changed meanwhile.
        """
        for name, facts in self._done.items():
            if (self.partial / name).stat().st_size != facts["bytes"]:
                raise CheckpointError(f"{self.partial / name} was changed while it was written")
        self._save(record)
        for name, text in texts.items():
            atomic_write(self.partial / name, text)
        self.partial.rename(self.folder)

    def _write(self, file: File, path: Path) -> None:
        temporary = path.with_name(f"{path.name}.tmp")
        layout = [(weight.name, weight.dtype, weight.shape) for weight in file.weights]
        try:
            digest = write_file(temporary, layout, (weight.make() for weight in file.weights))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._done[file.path] = {
            "bytes": path.stat().st_size,
            "sha256": digest,
            "tensors": len(file.weights),
        }
        self._save()

    def _is_done(self, file: File, path: Path) -> bool:
        """Whether a file is there as it was recorded."""
        facts = self._done.get(file.path)
        if facts is None or not path.is_file() or path.stat().st_size != facts["bytes"]:
            return False
        return sha256([path]) == facts["sha256"]

    def _remove_strangers(self, files: Sequence[File]) -> None:
        """Remove what no run with this request would have finished."""
        known = {file.path for file in files} & self._done.keys()
        self._done = {name: self._done[name] for name in known}
        for path in sorted(self.partial.rglob("*")):
            name = path.relative_to(self.partial).as_posix()
            if path.is_file() and name not in known and name != RECORD:
                path.unlink()

    def _save(self, record: Mapping[str, Any] | None = None) -> None:
        data = {"format": FORMAT, "request": self._request, **(record or {}), "files": self._done}
        atomic_write(self.partial / RECORD, json.dumps(data, indent=1) + "\n")


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield the keys in which two requests differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            inner = f"{where}.{key}" if where else str(key)
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield where or "everything"
