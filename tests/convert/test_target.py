"""Written folders: bounded shards, resumed work, nothing that looks whole before it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mogao.convert.target import RECORD, File, Target, Weight, index_of, shard
from mogao.errors import CheckpointError
from mogao.model.shards import read_header, read_tensor

REQUEST = {"options": {"dtype": "keep", "seed": 0}, "files": {"a": "1 2 3"}}


class StoppedError(Exception):
    """Stands for an interruption."""


def weight(name: str, rows: int, *, make: Callable[[], Tensor] | None = None) -> Weight:
    value = torch.arange(rows * 4, dtype=torch.float32).reshape(rows, 4)
    return Weight(name, torch.float32, (rows, 4), make or (lambda: value))


def interrupted() -> Tensor:
    raise StoppedError


def four_files(*, broken: int | None = None) -> list[File]:
    weights = [weight(f"w{i}", 8, make=interrupted if i == broken else None) for i in range(4)]
    return shard(weights, "model.safetensors", max_bytes=128)


def test_shards_are_bounded_and_in_order() -> None:
    weights = [weight("a", 2), weight("b", 2), weight("c", 9), weight("d", 1)]
    files = shard(weights, "model.safetensors", max_bytes=64)
    assert [file.path for file in files] == [
        f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)
    ]
    # A weight above the limit has a file of its own.
    assert [[one.name for one in file.weights] for file in files] == [["a", "b"], ["c"], ["d"]]
    index = index_of(files)
    assert index["metadata"] == {"total_size": 14 * 16}
    assert index["weight_map"]["c"] == files[1].path
    assert shard(weights, "model.safetensors", max_bytes=1 << 20)[0].path == "model.safetensors"


def test_files_are_what_the_library_reads(tmp_path: Path) -> None:
    values = {
        "narrow": torch.randn(3, generator=torch.Generator().manual_seed(0)).bfloat16(),
        "wide": torch.tensor([[1.5, -2.0]]),
        "empty": torch.zeros(0, 4),
        "single": torch.tensor(3.0),
    }
    weights = [
        Weight(name, value.dtype, tuple(value.shape), partial(torch.clone, value))
        for name, value in values.items()
    ]
    target = Target(tmp_path / "out", REQUEST)
    target.write(shard(weights, "model.safetensors", max_bytes=1 << 20))
    path = target.partial / "model.safetensors"
    found = load_file(path)
    assert found.keys() == values.keys()
    assert all(torch.equal(found[name], value) for name, value in values.items())
    header = read_header(path)
    # Wide types lie first, so that each tensor is aligned.
    assert all(entry.start % entry.dtype.itemsize == 0 for entry in header.entries.values())
    for name, entry in header.entries.items():
        assert torch.equal(read_tensor(path, entry), values[name])


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = Target(tmp_path / "out", REQUEST)
    target.write(four_files())
    assert not (tmp_path / "out").exists()
    assert not (target.partial / "config.json").exists()
    target.complete({"config.json": "{}\n"}, record={"new": ["x"]})
    assert not target.partial.exists()
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["new"] == ["x"]
    assert all(facts["tensors"] == 1 for facts in record["files"].values())
    with pytest.raises(CheckpointError, match="is there already"):
        Target(tmp_path / "out", REQUEST)


def test_an_interrupted_run_goes_on_behind_the_last_whole_file(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        Target(tmp_path / "out", REQUEST).write(four_files(broken=2))
    times = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.partial").glob("model*")
    }
    assert len([name for name in times if name.endswith(".safetensors")]) == 2
    seen: list[str] = []
    again = Target(tmp_path / "out", REQUEST)
    again.write(four_files(), finished=lambda path: seen.append(path.name))
    assert again.reused == [file.path for file in four_files()[:2]]
    assert seen == [file.path for file in four_files()]
    for name in again.reused:
        assert (again.partial / name).stat().st_mtime_ns == times[name]
    assert {path.name for path in again.partial.iterdir()} == {*seen, RECORD}


def test_a_file_that_was_changed_meanwhile_is_written_anew(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        Target(tmp_path / "out", REQUEST).write(four_files(broken=3))
    names = [file.path for file in four_files()]
    partial = tmp_path / "out.partial"
    raw = bytearray((partial / names[0]).read_bytes())
    raw[-1] ^= 1
    (partial / names[0]).write_bytes(raw)
    (partial / names[1]).write_bytes(b"short")
    again = Target(tmp_path / "out", REQUEST)
    again.write(four_files())
    assert again.reused == [names[2]]
    assert torch.equal(load_file(partial / names[0])["w0"], four_files()[0].weights[0].make())


def test_other_settings_are_refused_by_name_unless_told_to_restart(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        Target(tmp_path / "out", REQUEST).write(four_files(broken=1))
    other = {"options": {"dtype": "float32", "seed": 0}, "files": {"a": "1 2 4"}}
    with pytest.raises(CheckpointError, match=r"differ in: files\.a, options\.dtype; .*--restart"):
        Target(tmp_path / "out", other)
    again = Target(tmp_path / "out", other, restart=True)
    again.write(four_files())
    assert again.reused == []


def test_a_weight_of_another_shape_than_planned_is_refused(tmp_path: Path) -> None:
    wrong = weight("w", 8, make=lambda: torch.zeros(7, 4))
    with pytest.raises(CheckpointError, match=r"w became torch\.float32 \[7, 4\] instead of"):
        Target(tmp_path / "out", REQUEST).write([File("model.safetensors", (wrong,))])
    assert not (tmp_path / "out.partial" / "model.safetensors").exists()
