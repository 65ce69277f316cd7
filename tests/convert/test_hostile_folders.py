"""Folders of strangers: each way in which one may be broken or dangerous is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mogao.convert import source as sources
from mogao.convert.assemble import Options
from mogao.convert.run import plan_conversion
from mogao.errors import CheckpointError
from tests.convert.folders import language_folder, language_model, split

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_folder(tmp_path_factory.mktemp("models") / "toy", language_model())


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    copy = tmp_path / "toy"
    copy.mkdir()
    for file in pristine.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def convert(folder: Path) -> None:
    plan_conversion(folder, "qwen2", Options()).run(folder.parent / "out")


def refuse(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert(folder)
    assert not (folder.parent / "out").exists()


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header of a file and leave its data as they are."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8 : 8 + length])
    change(table)
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_whole_folder_is_taken(folder: Path) -> None:
    # Without this the tests below could pass because nothing is ever taken.
    convert(folder)
    assert (folder.parent / "out" / "config.json").is_file()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_are_refused_by_name(folder: Path, name: str) -> None:
    (folder / WEIGHTS).rename(folder / name)
    refuse(folder, f"{name} is a pickle and is never opened")


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "..", "a/b.safetensors", "a\\b", ""]
)
def test_an_index_that_names_files_elsewhere_is_refused(folder: Path, name: str) -> None:
    named = split(folder, 2)
    (folder.parent / "outside.safetensors").write_bytes((folder / FIRST).read_bytes())
    edit_json(folder / INDEX, weight_map=named | dict.fromkeys(list(named)[:1], name))
    refuse(folder, "names a file outside of itself")


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_link_that_leads_out_is_refused(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / "outside")
    (folder / name).symlink_to(folder.parent / "outside")
    refuse(folder, f"{name} is a link that leads out of its folder")


def test_a_linked_shard_is_refused(folder: Path) -> None:
    split(folder, 2)
    (folder / SECOND).rename(folder.parent / "outside")
    (folder / SECOND).symlink_to(folder.parent / "outside")
    refuse(folder, f"{SECOND} is a link that leads out of its folder")


def test_the_links_of_the_hub_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in folder.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    plan_conversion(snapshot, "qwen2", Options()).run(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| transformer | a/b | qwen2 |" in card


def test_a_truncated_shard_is_refused(folder: Path) -> None:
    split(folder, 2)
    raw = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(raw[:-100])
    refuse(folder, rf"{SECOND} is cut off or damaged \(its tensors end at byte \d+, the file at")
    (folder / SECOND).write_bytes(raw[:5])
    refuse(folder, "is cut off or damaged: 5 bytes")


def test_a_missing_shard_is_named(folder: Path) -> None:
    split(folder, 2)
    (folder / SECOND).unlink()
    refuse(folder, f"1 shards are missing, such as {SECOND}")


@pytest.mark.parametrize("length", [1 << 62, 200_000_000, 1 << 20])
def test_an_absurd_header_is_refused_before_it_is_read(folder: Path, length: int) -> None:
    raw = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(length.to_bytes(8, "little") + raw[8:])
    refuse(folder, f"but a header of {length} bytes")


NORM = "model.norm.weight"


def far_end(table: dict[str, Any]) -> None:
    table[NORM]["data_offsets"] = [10**12, 10**12 + 128]


def overlap(table: dict[str, Any]) -> None:
    table[NORM]["data_offsets"] = [0, 128]


def other_size(table: dict[str, Any]) -> None:
    table[NORM]["shape"] = [1 << 40]


def negative(table: dict[str, Any]) -> None:
    table[NORM]["shape"] = [-32]


def no_type(table: dict[str, Any]) -> None:
    table[NORM]["dtype"] = "F7"


def listed_type(table: dict[str, Any]) -> None:
    table[NORM]["dtype"] = ["F32"]


def half(table: dict[str, Any]) -> None:
    table[NORM]["dtype"] = "BF16"


def no_offsets(table: dict[str, Any]) -> None:
    del table[NORM]["data_offsets"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (far_end, f"{NORM} starts at byte"),
        (overlap, "starts at byte"),
        (other_size, "cannot have 128 bytes"),
        (negative, r"has shape \[-32\]"),
        (no_type, "is of type 'F7', which is not known"),
        (listed_type, r"is of type \['F32'\], which is not known"),
        (half, "of type BF16 and shape .* cannot have 128 bytes"),
        (no_offsets, "has no dtype, shape and data_offsets"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_header_that_lies_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite_header(folder / WEIGHTS, change)
    refuse(folder, message)


def test_a_header_that_names_a_tensor_twice_is_refused(folder: Path) -> None:
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = f'{{"a":{entry},"a":{entry}}}'.encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)
    refuse(folder, "names 'a' twice")


@pytest.mark.parametrize("text", [b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}'])
def test_a_header_that_is_no_table_is_refused(folder: Path, text: bytes) -> None:
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text)
    refuse(folder, "is cut off or damaged")


def test_a_tensor_in_two_shards_is_refused(folder: Path) -> None:
    split(folder, 2)
    second = load_file(folder / SECOND)
    name, value = next(iter(load_file(folder / FIRST).items()))
    save_file(second | {name: value}, folder / SECOND)
    refuse(folder, f"{SECOND} and the index beside it differ in: {name}")


def test_an_index_without_a_table_is_refused(folder: Path) -> None:
    split(folder, 2)
    (folder / INDEX).write_text('{"weight_map": {"a": 3}}')
    refuse(folder, "is not a shard index")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = value
    save_file(weights, folder / WEIGHTS)
    refuse(folder, r"model\.layers\.1\.mlp\.down_proj\.weight holds values that are not finite")


def test_quantised_weights_are_refused(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights[NORM] = weights[NORM].to(torch.float8_e4m3fn)
    save_file(weights, folder / WEIGHTS)
    refuse(folder, "take the model that was not quantised")


def test_wrong_shapes_missing_and_foreign_names_are_reported(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights[NORM] = weights[NORM][:-1].clone()
    weights["model.nrom.weight"] = torch.ones(3)
    del weights["model.layers.0.self_attn.q_proj.bias"]
    save_file(weights, folder / WEIGHTS)
    refuse(folder, r"1 missing: .*q_proj\.bias; 1 unexpected: model\.nrom.*1 misshaped: .*\[31\]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must hold an object, got list"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"model_type": "qwen2", "vocab_size": "many"}', "qwen2"),
    ],
)
def test_a_config_that_is_none_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "config.json").write_text(text)
    refuse(folder, message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("hidden_act", "relu", "hidden_act is 'relu'"), ("model_type", "gpt2", "model_type is 'gpt2'"),
     ("num_hidden_layers", -1, "num_layers"),
     ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}, "rope is 'yarn'")],
)  # fmt: skip
def test_unknown_values_of_a_config_are_named(
    folder: Path, key: str, value: Any, message: str
) -> None:
    edit_json(folder / "config.json", **{key: value})
    refuse(folder, message)


def test_a_huge_config_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SETTINGS_LIMIT_BYTES", 100)
    refuse(folder, r"config\.json has \d+ bytes; at most 100 are read")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not found"):
        plan_conversion(tmp_path / "nothing", "qwen2", Options())
