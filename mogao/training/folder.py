"""The folder of a run: what is in it, and what may change when it is continued.

In: a `RunConfig` and a path. Out: a prepared folder, and an exported model in its place.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mogao import config as configs
from mogao.config import RunConfig
from mogao.errors import CheckpointError, ConfigError
from mogao.training import parallel
from mogao.training.checkpoint import latest_checkpoint, stored_config
from mogao.training.state import RunState

FIXED = (
    "task.kind", "task.model", "task.init_from", "task.autoencoder_from", "task.vision_from",
    "task.decoder_of", "task.freeze_vision", "task.alignment.layer", "task.alignment.hidden",
    "optim.kind",
)  # fmt: skip
"""Keys whose change would make a checkpoint meaningless."""


def prepare_folder(config: RunConfig, out: Path, *, resume: bool) -> list[str]:
    """Make the output folder, compare with its newest checkpoint and store the resolved config.

    Returns:
        The keys that changed since the run that is continued.

    Raises:
        ConfigError: The folder holds a run and `resume` is not set, or one of `FIXED` changed.
        CheckpointError: The folder cannot be written.
    """
    changes: list[str] = []
    stored = out / "config.yaml"
    newest = latest_checkpoint(out / "checkpoints")
    if newest is not None:
        if not resume:
            raise ConfigError(f"{out} holds a run already; add --resume or choose another folder")
        # Not config.yaml: the run that wrote it may have ended before its first checkpoint.
        before = configs.parse(RunConfig, stored_config(newest), where=str(newest))
        changes = changed_keys(before.model_dump(mode="json"), config.model_dump(mode="json"))
        refused = [key for key in changes if key.startswith(FIXED)]
        if "task.alignment" in changes:
            refused.append("task.alignment (it cannot be switched within a run)")
        if (before.optim.ema_decay == 0) != (config.optim.ema_decay == 0):
            refused.append("optim.ema_decay (averaging cannot be switched within a run)")
        if refused:
            raise ConfigError(
                f"cannot resume {out} with a changed {refused[0]}; resume with the old value or "
                "train into another folder"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        configs.save(config, stored)
    except OSError as error:
        raise CheckpointError(f"cannot write {stored}: {error.strerror}") from None
    return changes


def changed_keys(before: Any, after: Any, path: str = "") -> list[str]:
    """Return the dotted paths of the values that differ between two nested dicts."""
    if isinstance(before, dict) and isinstance(after, dict):
        missing = object()
        return [
            change
            for key in dict.fromkeys([*before, *after])
            for change in changed_keys(
                before.get(key, missing), after.get(key, missing), f"{path}.{key}".lstrip(".")
            )
        ]
    return [] if before == after else [path]


def export_model(state: RunState, folder: Path) -> Path:
    """Write the model folder with averaged weights beside its place, then put it there.

    Only the first rank writes; the others wait for it.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    if parallel.rank() != 0:
        parallel.wait()
        return folder
    partial = folder.with_name(f".partial-{folder.name}")
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with state.averaged():
            state.task.export(partial, state.task.module.state_dict())
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.replace(old)
        partial.replace(folder)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {folder}: {error.strerror}; the training checkpoint is intact; free "
            "some space, then continue with --resume"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    parallel.wait()
    return folder
