"""Training checkpoints: one folder a checkpoint, safetensors and JSON, written atomically.

In: a nested dict of JSON values and tensors. Out: `checkpoints/step-NNNNNNNN/` with
`state.safetensors` and `state.json`, which also records the size and hash of the tensor file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogao.errors import CheckpointError

FORMAT = "mogao-training/3"
TENSOR_FILE = "state.safetensors"
JSON_FILE = "state.json"
TENSOR_KEY = "$tensor"


def checkpoint_name(step: int) -> str:
    """Name of the checkpoint, and of the samples, of a step; zero-padded, so that names sort."""
    return f"step-{step:08d}"


def save_checkpoint(folder: Path, state: Mapping[str, Any], *, step: int, keep: int) -> Path:
    """Write `folder/step-NNNNNNNN` and delete all but the newest `keep` checkpoints.

    The checkpoint appears under its name only when it is complete; a failed write leaves the
    older ones as they were.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    final = folder / checkpoint_name(step)
    partial = folder / f".partial-{final.name}"
    tensors: dict[str, Tensor] = {}
    plain = _flatten(state, "", tensors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _require_space(folder, sum(t.numel() * t.element_size() for t in tensors.values()))
        save_file(tensors, partial / TENSOR_FILE)
        record = {"format": FORMAT, "step": step, "tensors": _describe(partial / TENSOR_FILE)}
        text = json.dumps(record | {"state": plain}, indent=1)
        (partial / JSON_FILE).write_text(text, encoding="utf-8")
        for name in (TENSOR_FILE, JSON_FILE):
            _sync(partial / name)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    except (OSError, SafetensorError) as error:
        kept = latest_checkpoint(folder)
        raise CheckpointError(
            f"cannot write checkpoint {final}: {getattr(error, 'strerror', None) or error}; "
            + (f"{kept.name} is intact; " if kept else "there is no older one; ")
            + "free some space, then continue with --resume"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below `folder`, or None."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint folder back into the nested dict that was saved.

    Raises:
        CheckpointError: A file is missing, truncated, changed or of another format. Pickled files
            are never read.
    """
    record, advice = _read_record(path), _advice(path)
    file = path / TENSOR_FILE
    try:
        described = _describe(file)
        if described != record["tensors"]:
            raise CheckpointError(
                f"{file} is truncated or was changed: {described['bytes']} bytes, expected "
                f"{record['tensors']['bytes']} with hash {record['tensors']['sha256'][:12]}; "
                f"{advice}"
            )
        tensors = load_file(file)
        state = _restore(record["state"], tensors)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}; {advice}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a safetensors file: {error}; {advice}") from None
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path / JSON_FILE} lacks {error}; {advice}") from None
    assert isinstance(state, dict)
    return state


def stored_config(path: Path) -> dict[str, Any]:
    """Return the config of the run that wrote a checkpoint, without reading its tensors.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    return _stored(path, "config")


def stored_progress(path: Path) -> dict[str, Any]:
    """Return the counters of the run that wrote a checkpoint: step, samples, tokens and so on.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """
    return _stored(path, "progress")


def _stored(path: Path, part: str) -> dict[str, Any]:
    try:
        found = _read_record(path)["state"][part]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path / JSON_FILE} lacks {error}; {_advice(path)}") from None
    assert isinstance(found, dict)
    return found


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / JSON_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path / JSON_FILE}: {error}; {_advice(path)}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CheckpointError(f"{path / JSON_FILE} is not of format {FORMAT!r}; {_advice(path)}")
    return record


def _advice(path: Path) -> str:
    return f"delete {path} to fall back to an older checkpoint, or start anew without --resume"


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / JSON_FILE).is_file())


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Copy `value` with each tensor replaced by its name in `tensors`."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().contiguous()
        return {TENSOR_KEY: path}
    if isinstance(value, Mapping):
        return {str(k): _flatten(v, f"{path}/{k}" if path else str(k), tensors)
                for k, v in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [_flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {TENSOR_KEY}:
            return tensors[value[TENSOR_KEY]]
        return {key: _restore(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    return value


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def _require_space(folder: Path, needed: int) -> None:
    """Fail before writing: a memory-mapped write to a full disk would kill the process."""
    free = shutil.disk_usage(folder).free
    if free < needed * 1.02 + 1_000_000:
        raise OSError(28, f"needs {needed / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free")


def _sync(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
