"""Checkpoints: complete or absent, never pickled, damage is named."""

from __future__ import annotations

import pickle
import resource
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch

from mogao.errors import CheckpointError
from mogao.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

STATE: dict[str, Any] = {
    "module": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)},
    "generator": torch.Generator().manual_seed(1).get_state(),
    "task": {"position": [1, {"shard": 2}], "name": "x", "none": None},
    "empty": {},
}


def test_round_trip_is_exact(tmp_path):
    path = save_checkpoint(tmp_path, STATE, step=7, keep=2)
    state = load_checkpoint(path)
    assert path.name == "step-00000007"
    assert torch.equal(state["module"]["a"], STATE["module"]["a"])
    assert state["module"]["b"].dtype is torch.int64
    assert torch.equal(state["generator"], STATE["generator"])
    assert state["task"] == STATE["task"]
    assert state["empty"] == {}


def test_only_the_newest_are_kept(tmp_path):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, STATE, step=step, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert latest_checkpoint(tmp_path) == tmp_path / "step-00000100"


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / "missing") is None


def damage_truncate(file):
    file.write_bytes(file.read_bytes()[:-5])


def damage_flip(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def damage_pickle(file):
    file.write_bytes(pickle.dumps({"a": 1}))


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_pickle])
def test_a_damaged_tensor_file_is_named(tmp_path, damage):
    path = save_checkpoint(tmp_path, STATE, step=1, keep=1)
    damage(path / "state.safetensors")
    with pytest.raises(CheckpointError, match=r"state\.safetensors is truncated or was changed"):
        load_checkpoint(path)


def test_a_pickle_with_a_fitting_hash_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, STATE, step=1, keep=1)
    before = (path / "state.safetensors").read_bytes()
    damage_pickle(path / "state.safetensors")
    import hashlib

    old, new = (
        (len(data), hashlib.sha256(data).hexdigest())
        for data in (before, (path / "state.safetensors").read_bytes())
    )
    text = (path / "state.json").read_text()
    text = text.replace(old[1], new[1]).replace(f'"bytes": {old[0]}', f'"bytes": {new[0]}')
    (path / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "other"}',
        '{"format": "mogao-training/1"}',
        '{"format": "mogao-training/2"}',
    ],
)
def test_a_damaged_index_is_named(tmp_path, text):
    path = save_checkpoint(tmp_path, STATE, step=1, keep=1)
    (path / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"state\.json.*older checkpoint"):
        load_checkpoint(path)


def test_a_missing_tensor_file_is_named(tmp_path):
    path = save_checkpoint(tmp_path, STATE, step=1, keep=1)
    (path / "state.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*state\.safetensors"):
        load_checkpoint(path)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs POSIX file size limits")
def test_a_failed_write_leaves_the_older_checkpoint(tmp_path):
    """A file size limit stands for a full disk: the write fails in the same place."""
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        import torch
        from mogao.errors import CheckpointError
        from mogao.training.checkpoint import save_checkpoint
        folder = Path(sys.argv[1])
        save_checkpoint(folder, {"a": torch.zeros(10)}, step=1, keep=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save_checkpoint(folder, {"a": torch.zeros(1_000_000)}, step=2, keep=1)
        except CheckpointError as error:
            print(error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "step-00000001 is intact" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert torch.equal(load_checkpoint(tmp_path / "step-00000001")["a"], torch.zeros(10))


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_checkpoint(tmp_path / "file", STATE, step=1, keep=1)
