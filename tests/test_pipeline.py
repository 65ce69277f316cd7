"""Model folders: what is written is what is read, and nothing unsafe or unfit is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mogao.errors import CheckpointError, ConfigError
from mogao.model import storage
from mogao.pipeline import Mogao, load_config, load_tokenizer
from tests.tiny import tiny_config, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mogao, Path]:
    model = tiny_model()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder, dtype=torch.float32)
    return model, folder


@pytest.fixture
def folder(saved: tuple[Mogao, Path], tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved[1], tmp_path / "tiny"))


def draw(model: Mogao) -> bytes:
    session = model.session(seed=3)
    session.extend("a cat", role="user")
    return session.generate_image().pixels.tobytes()


def test_a_saved_model_draws_the_same_picture(saved: tuple[Mogao, Path]) -> None:
    model, folder = saved
    again = Mogao.from_pretrained(folder, dtype="float32")
    assert again.config == model.config
    assert again.generation == model.generation
    assert draw(again) == draw(model)


def test_the_folder_holds_what_the_contract_says(saved: tuple[Mogao, Path]) -> None:
    names = {path.name for path in saved[1].iterdir()}
    assert names == {
        "README.md", "config.json", "generation.json", "model.safetensors", "tokenizer.json",
        "vae", "vision",
    }  # fmt: skip
    assert {path.suffix for path in saved[1].rglob("*") if path.is_file()} <= {
        ".json", ".md", ".safetensors",
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o044 for path in saved[1].rglob("*"))
    assert not [path for path in saved[1].parent.iterdir() if path.name != "tiny"]


def test_bfloat16_weights_compute_norms_and_times_in_float32(folder: Path) -> None:
    model = Mogao.from_pretrained(folder, dtype="bfloat16")
    transformer = model.parts.transformer
    assert model.dtype == torch.bfloat16
    assert transformer.embedding.latents.weight.dtype == torch.bfloat16
    assert transformer.embedding.time.first.weight.dtype == torch.float32
    assert transformer.text_head.norm.weight.dtype == torch.float32
    assert len(draw(model)) == 32 * 48 * 3


def test_info_counts_every_weight_once(saved: tuple[Mogao, Path]) -> None:
    facts = Mogao.from_pretrained(saved[1], dtype="float32").info()
    parts = saved[0].parts
    modules = (parts.transformer, parts.vision, parts.autoencoder)
    total = sum(weight.numel() for module in modules for weight in module.parameters())
    assert sum(facts["parameters"].values()) == total
    assert all(facts["parameters"].values())
    assert facts["bytes"] == sum(f.stat().st_size for f in saved[1].rglob("*") if f.is_file())
    assert len(facts["sha256"]) == 64
    json.dumps(facts)


def test_first_weights_depend_on_the_seed_only() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (
        Mogao.from_config(tiny_config(), tokenizer=tiny_tokenizer(), seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [m.parts.transformer.embedding.latents.weight for m in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_loading_draws_no_random_number(folder: Path) -> None:
    before = torch.random.get_rng_state()
    Mogao.from_pretrained(folder, dtype="float32")
    assert torch.equal(before, torch.random.get_rng_state())


def test_saving_again_keeps_the_model_card(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("# mine\n")
    model = Mogao.from_pretrained(folder, dtype="float32")
    model.save_pretrained(folder)
    model.save_pretrained(tmp_path / "copy")
    assert (folder / "README.md").read_text() == "# mine\n"
    assert (tmp_path / "copy" / "README.md").read_text() == "# mine\n"


def test_a_failed_save_leaves_the_old_folder(
    saved: tuple[Mogao, Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.save_torch_state_dict", full)
    with pytest.raises(CheckpointError, match="No space left"):
        saved[0].save_pretrained(folder)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_shards_are_read_through_their_index(folder: Path) -> None:
    model = Mogao.from_pretrained(folder, dtype="float32")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    index: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        save_file({name: weights[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / storage.INDEX).write_text(json.dumps({"weight_map": index}))
    assert draw(Mogao.from_pretrained(folder, dtype="float32")) == draw(model)


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def spoil(weights) -> None:
    weights["embedding.tokens.weight"][3, 3] = float("nan")


def rename(weights) -> None:
    weights["embedding.words.weight"] = weights.pop("embedding.tokens.weight")


def reshape(weights) -> None:
    weights["embedding.tokens.weight"] = weights["embedding.tokens.weight"][:-1].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil, r"not finite: embedding\.tokens\.weight"),
        (rename, r"1 missing: embedding\.tokens.*1 unexpected: embedding\.words"),
        (reshape, r"1 misshaped: embedding\.tokens\.weight \[271, 32\] instead of \[272, 32\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder: Path, change, message: str) -> None:
    change_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        Mogao.from_pretrained(folder)


def test_at_most_ten_names_of_a_kind_are_shown(folder: Path) -> None:
    change_weights(
        folder, lambda weights: weights.update({f"x{i}": torch.ones(1) for i in range(15)})
    )
    with pytest.raises(CheckpointError, match=r"15 unexpected: x0, .* and 5 more"):
        Mogao.from_pretrained(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "vae", "vision"]
)
def test_a_missing_part_is_named(folder: Path, name: str) -> None:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match=name):
        Mogao.from_pretrained(folder)


def test_a_cut_off_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is cut off or damaged"):
        Mogao.from_pretrained(folder)


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle"):
        Mogao.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="a pickle is never opened"):
        Mogao.from_pretrained(folder / "pytorch_model.bin")


def test_an_index_cannot_lead_out_of_its_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (folder / storage.INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="names a file outside of itself"):
        Mogao.from_pretrained(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "other/3"}', "format is 'other/3', expected 'mogao/1'"),
        ("[]", "must hold an object"),
        ("{", "not valid JSON"),
        ('{"format": "mogao/1", "latent_pach": 2}', "latent_patch"),
    ],
)
def test_a_wrong_config_is_explained(folder: Path, content: str, message: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        Mogao.from_pretrained(folder)


@pytest.mark.parametrize("name", ["no/such/folder", "unknown-name", "owner/unknown-model", ""])
def test_a_missing_model_says_where_it_was_looked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="no folder of that path, no built-in model"):
        Mogao.from_pretrained(name or "nothing")


def test_config_and_tokenizer_load_alone(folder: Path) -> None:
    assert load_config(folder) == tiny_config()
    assert load_tokenizer(folder).vocab_size == tiny_tokenizer().vocab_size


def test_a_tokenizer_larger_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="the tokenizer has 264 ids"):
        Mogao.from_config(tiny_config(vocab_size=263), tokenizer=tiny_tokenizer())


def test_an_unknown_dtype_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="float64"):
        Mogao.from_pretrained(folder, dtype="float64")


def test_every_picture_is_rgb_bytes(saved: tuple[Mogao, Path]) -> None:
    session = saved[0].session()
    session.extend("a dog")
    assert session.generate_image().pixels.dtype == np.uint8
