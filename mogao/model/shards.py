"""Safetensors files byte by byte: headers that are checked before use, tensors one at a time.

In: a file. Out: names, types, shapes and places of its tensors, and single tensors by plain reads,
so that neither a large file nor a false header costs memory. And such files, written tensor by
tensor. Source of the form: the README of the safetensors library.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mogao.errors import CheckpointError

HEADER_LIMIT_BYTES = 100_000_000
"""Longest header; the limit of the format's own library."""
WRITE_BYTES = 1 << 24
CHECK_ELEMENTS = 1 << 20
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file.

    Attributes:
        dtype: Its type.
        shape: Its shape.
        start: First byte, counted from the start of the file.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says that it holds.

    Attributes:
        entries: By name.
        sha256: Hash of the header's bytes.
    """

    entries: dict[str, Entry]
    sha256: str


def read_header(path: Path) -> Header:
    """Read and check the header of a file; no tensor is read.

    Raises:
        CheckpointError: The file is missing, cut off or longer than its tensors, or the header is
            no JSON, too long, names a tensor twice, or has a type, shape or place that cannot be.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(HEADER_LIMIT_BYTES, size - 8):
                raise CheckpointError(
                    f"{path} is cut off or damaged: {size} bytes, but a header of {length} bytes "
                    f"(at most {HEADER_LIMIT_BYTES}); copy or download it again"
                )
            raw = stream.read(length)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    try:
        table = json.loads(raw, object_pairs_hook=_without_twins)
        entries = _entries(table, first=8 + length)
        _check_places(entries, first=8 + length, size=size)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is cut off or damaged ({error}); copy or download it again"
        ) from None
    return Header(entries, hashlib.sha256(raw).hexdigest())


def read_tensor(path: Path, entry: Entry) -> Tensor:
    """Read one tensor into memory of its own.

    Raises:
        CheckpointError: The file cannot be read or has become shorter.
    """
    flat = torch.empty(math.prod(entry.shape), dtype=entry.dtype)
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(entry.start)
            room = _bytes_of(flat)
            while room:
                num = stream.readinto(room)
                if not num:
                    raise CheckpointError(f"{path} became shorter while it was read")
                room = room[num:]
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    return flat.view(entry.shape)


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; needs little memory beside the tensor itself."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    return all(_part_is_finite(part) for part in tensor.flatten().split(CHECK_ELEMENTS))


def _part_is_finite(part: Tensor) -> bool:
    # A sum is finite only if all its terms are, and it is ten times as fast as looking at each.
    # It may overflow all the same, so a sum that is not finite proves nothing.
    wide = torch.promote_types(part.dtype, torch.float32)
    return bool(part.sum(dtype=wide).isfinite()) or bool(part.isfinite().all())


def write_file(
    path: Path,
    layout: Sequence[tuple[str, torch.dtype, tuple[int, ...]]],
    tensors: Iterable[Tensor],
) -> str:
    """Write a file tensor by tensor, to the disk itself, and return its sha256.

    Args:
        path: Written from the start; give a temporary name and rename it.
        layout: Name, type and shape of each tensor, wide types first, so that all lie aligned.
        tensors: In that order; each may be made when its turn comes.

    Raises:
        CheckpointError: A tensor has another type or shape than the layout says.
    """
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        head = layout_header(layout)
        stream.write(head)
        digest.update(head)
        for (name, dtype, shape), tensor in zip(layout, tensors, strict=True):
            if (tensor.dtype, tuple(tensor.shape)) != (dtype, shape):
                raise CheckpointError(
                    f"{name} became {tensor.dtype} {list(tensor.shape)} instead of {dtype} "
                    f"{list(shape)}"
                )
            data = _bytes_of(tensor.contiguous().flatten())
            for start in range(0, len(data), WRITE_BYTES):
                block = data[start : start + WRITE_BYTES]
                stream.write(block)
                digest.update(block)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _bytes_of(flat: Tensor) -> memoryview:
    """The memory of a tensor of one axis."""
    array: Any = flat.view(torch.uint8).numpy()
    return memoryview(array)


def layout_header(layout: Sequence[tuple[str, torch.dtype, tuple[int, ...]]]) -> bytes:
    """Return the first bytes of a file whose tensors lie in this order."""
    table: dict[str, Any] = {METADATA: {"format": "pt"}}
    end = 0
    for name, dtype, shape in layout:
        start, end = end, end + math.prod(shape) * dtype.itemsize
        table[name] = {
            "dtype": DTYPE_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"its header names {twin!r} twice")
    return table


def _entries(table: Any, *, first: int) -> dict[str, Entry]:
    if not isinstance(table, dict):
        raise ValueError("its header is no object")  # noqa: TRY004  # a broken file, not a bug
    entries = {}
    for name, item in table.items():
        if name == METADATA:
            continue
        if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name} has no dtype, shape and data_offsets")
        shape, places = item["shape"], item["data_offsets"]
        if not isinstance(item["dtype"], str) or item["dtype"] not in DTYPES:
            raise ValueError(f"{name} is of type {item['dtype']!r:.20}, which is not known")
        if not _are_sizes(shape) or not _are_sizes(places) or len(places) != 2:
            raise ValueError(f"{name} has shape {shape!r:.60} at {places!r:.60}")
        entry = Entry(DTYPES[item["dtype"]], tuple(shape), first + places[0])
        if places[1] - places[0] != entry.num_bytes:
            raise ValueError(
                f"{name} of type {item['dtype']} and shape {shape!r:.60} cannot have "
                f"{places[1] - places[0]} bytes"
            )
        entries[name] = entry
    return entries


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(one) is int and 0 <= one < 1 << 62 for one in values
    )


def _check_places(entries: dict[str, Entry], *, first: int, size: int) -> None:
    """Refuse tensors that overlap, leave gaps or end anywhere but at the end of the file."""
    end = first
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].num_bytes)):
        if entry.start != end:
            raise ValueError(f"{name} starts at byte {entry.start} instead of {end}")
        end += entry.num_bytes
    if end != size:
        raise ValueError(f"its tensors end at byte {end}, the file at {size}")
