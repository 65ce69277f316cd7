"""Where model folders are found, and how their weights come into memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mogao.errors import CheckpointError
from mogao.model import storage
from mogao.model.shards import is_finite, read_header, read_tensor
from mogao.pipeline import Mogao

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of `huggingface_hub` that holds owner/tiny, laid out by hand; no network."""
    home = tmp_path / "hub" / "models--owner--tiny"
    snapshot = home / "snapshots" / COMMIT
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    files = [path for path in tiny_model_folder.rglob("*") if path.is_file()]
    for number, file in enumerate(files):
        blob = home / "blobs" / f"{number:040x}"
        shutil.copyfile(file, blob)
        place = snapshot / file.relative_to(tiny_model_folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * len(place.relative_to(home).parent.parts)
        place.symlink_to(f"{up}blobs/{blob.name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def test_a_hub_id_is_found_in_the_cache_when_offline(hub: Path) -> None:
    assert storage.find_folder("owner/tiny") == hub
    model = Mogao.from_pretrained("owner/tiny", dtype="float32")
    assert model.config.name == "tiny"
    with pytest.raises(CheckpointError, match="the hub does not give it"):
        storage.find_folder("owner/other")


def test_all_files_of_a_folder_are_asked_of_the_hub(tiny_model_folder: Path) -> None:
    from huggingface_hub.utils._paths import filter_repo_objects

    names = [p.relative_to(tiny_model_folder).as_posix() for p in tiny_model_folder.rglob("*")
             if p.is_file()]  # fmt: skip
    strangers = ["pytorch_model.bin", "vae/model.ckpt", "modeling.py", "optimizer.pt"]
    asked = filter_repo_objects([*names, *strangers], allow_patterns=storage.HUB_PATTERNS)
    assert sorted(asked) == sorted(names)
    assert {"vae/config.json", "vision/model.safetensors"} <= set(names)


def test_weights_in_two_shards_are_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "copy"))
    weights = load_file(folder / storage.WEIGHTS)
    (folder / storage.WEIGHTS).unlink()
    names = list(weights)
    for number in (1, 2):
        save_file(weights, folder / f"part{number}.safetensors")
    half = {name: f"part{1 + number % 2}.safetensors" for number, name in enumerate(names)}
    (folder / storage.INDEX).write_text(f'{{"weight_map": {half!r}}}'.replace("'", '"'))
    with pytest.raises(CheckpointError, match=r"part2\.safetensors holds tensors of another shard"):
        Mogao.from_pretrained(folder)


def test_our_reader_and_the_library_read_the_same(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "a": torch.randn(3, 5, generator=generator),
        "b": torch.randn(7, generator=generator).bfloat16(),
        "c": torch.arange(4),
        "d": torch.zeros(2, 0),
    }
    save_file(weights, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    assert header.entries.keys() == weights.keys()
    for name, entry in header.entries.items():
        found = read_tensor(tmp_path / "x.safetensors", entry)
        assert found.dtype == weights[name].dtype
        assert torch.equal(found, weights[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_numbers_are_finite_and_others_are_not(dtype: torch.dtype) -> None:
    large = torch.full((1000, 7), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(large)
    for value in (float("nan"), float("inf"), float("-inf")):
        large[999, 6] = value
        assert not is_finite(large)
    large[:2, 0] = torch.tensor([float("inf"), float("-inf")])
    assert not is_finite(large)
    assert is_finite(torch.arange(3))
    assert is_finite(torch.zeros(0, dtype=dtype))
