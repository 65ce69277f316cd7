"""There and back: the folders of all families come back bit for bit, and libraries open ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogao.config import AutoencoderConfig, TransformerConfig, VisionConfig
from mogao.convert.assemble import Options
from mogao.convert.export import plan_export
from mogao.convert.families import KINDS, kind_of
from mogao.convert.run import plan_composition, plan_conversion
from mogao.errors import CheckpointError, ConfigError
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder
from mogao.model.weights.rules import Family
from mogao.pipeline import Mogao
from tests.convert.folders import (
    SMALL,
    language_folder,
    language_model,
    shaken,
    write_tokenizer,
)

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 2, "patch_size": 16}  # fmt: skip


def weights_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found


def assert_same(first: Path, second: Path) -> None:
    """Every tensor of both folders, bit for bit."""
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(
    ("kind", "library", "tied"),
    [("qwen2", "Qwen2", True), ("qwen2", "Qwen2", False), ("qwen3", "Qwen3", False),
     ("llama", "Llama", True)],
)  # fmt: skip
def test_language_models_come_back_bit_for_bit(
    kind: str, library: str, tied: bool, tmp_path: Path
) -> None:
    source = language_folder(tmp_path / "source", language_model(library, tied=tied), shards=3)
    options = Options(overrides=SMALL)
    plan_conversion(source, kind, options, max_shard_bytes=40_000).run(tmp_path / "ours")
    assert len(list((tmp_path / "ours").glob("model-*"))) > 2
    plan_export(tmp_path / "ours", kind, max_shard_bytes=1 << 40).run(tmp_path / "back")
    assert_same(source, tmp_path / "back")
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (source / "config.json").read_text()
    )
    theirs, back = (
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (source, tmp_path / "back")
    )
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        assert torch.equal(theirs(ids).logits, back(ids).logits)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "back" / "tokenizer.json")
    )
    ours = Mogao.from_pretrained(tmp_path / "ours", dtype="float32").parts.tokenizer
    assert tokenizer.encode("a cat, twice") == ours.encode("a cat, twice")


def test_a_model_that_was_trained_since_is_exported_with_all_its_rows(tmp_path: Path) -> None:
    source = language_folder(tmp_path / "source", language_model())
    plan_conversion(source, "qwen2", Options(overrides=SMALL)).run(tmp_path / "ours")
    model = Mogao.from_pretrained(tmp_path / "ours", dtype="float32")
    model.save_pretrained(tmp_path / "saved", dtype=torch.float32)
    export = plan_export(tmp_path / "saved", "qwen2", max_shard_bytes=1 << 40)
    export.run(tmp_path / "back")
    assert "blocks.0.visual.qkv.weight" in export.left
    back: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert back.config.vocab_size == model.config.transformer.vocab_size
    old = weights_of(source)["model.embed_tokens.weight"]
    assert torch.equal(back.model.embed_tokens.weight[: len(old)], old)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
@pytest.mark.parametrize("alone", [True, False], ids=["tower", "whole"])
def test_understanding_encoders_come_back_bit_for_bit(
    kind: str, alone: bool, tmp_path: Path
) -> None:
    library = {"siglip": "Siglip", "siglip2": "Siglip2"}[kind]
    size: dict[str, int] = {"image_size": 64} if kind == "siglip" else {"num_patches": 16}
    config = getattr(transformers, f"{library}VisionConfig")(
        **VISION, **size, vision_use_head=False
    )
    with torch.random.fork_rng():
        model = shaken(getattr(transformers, f"{library}VisionModel")(config))
    source = tmp_path / "source"
    model.save_pretrained(source)
    if not alone:
        as_whole_model(source, kind)
    plan_conversion(source, kind, Options()).run(tmp_path / "ours")
    opened: Any = transformers.Siglip2VisionModel.from_pretrained(tmp_path / "ours")
    assert opened.config.hidden_size == 16
    assert VisionEncoder.load(tmp_path / "ours").config.num_layers == 2
    plan_export(tmp_path / "ours", kind, max_shard_bytes=1 << 40).run(tmp_path / "back")
    assert_same(source, tmp_path / "back")


def as_whole_model(folder: Path, kind: str) -> None:
    """Name the weights of a tower as inside a whole model on the hub."""
    weights = load_file(folder / "model.safetensors")
    renamed = {
        f"vision_model.{name.removeprefix('vision_model.')}": w for name, w in weights.items()
    }
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    tower = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "vision_config": tower}))


def small_autoencoder(**changes: Any) -> AutoencoderConfig:
    data: dict[str, Any] = {
        "space_to_depth": 1, "block_channels": (32, 32), "layers_per_block": 1,
        "latent_channels": 4, "norm_groups": 32, "mid_attention": True, "scaling_factor": 0.36,
        "shift_factor": 0.12,
    }  # fmt: skip
    return AutoencoderConfig.model_validate(data | changes)


@pytest.mark.parametrize("quant_convs", [True, False])
def test_library_autoencoders_come_back_bit_for_bit(quant_convs: bool, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    source = tmp_path / "source"
    Autoencoder(small_autoencoder(quant_convs=quant_convs)).save(source, dtype=torch.float32)
    plan_conversion(source, "autoencoder_kl", Options()).run(tmp_path / "ours")
    assert AutoencoderKL.from_pretrained(tmp_path / "ours").config.scaling_factor == 0.36
    plan_export(tmp_path / "ours", "autoencoder_kl", max_shard_bytes=1 << 40).run(tmp_path / "back")
    assert_same(source, tmp_path / "back")


def foreign_weights(family: Family[Any], config: Any, *, seed: int) -> dict[str, Tensor]:
    """Random tensors of exactly the names and shapes that a family wants."""
    generator = torch.Generator().manual_seed(seed)
    return {
        one.name: torch.randn(one.shape, generator=generator)
        for rule in family.rules(config)
        for one in rule.theirs
    }


def test_flux_autoencoders_come_back_bit_for_bit(tmp_path: Path) -> None:
    (family,) = kind_of("flux_ae").spellings("vae")
    config = small_autoencoder()
    source = tmp_path / "source"
    source.mkdir()
    save_file(foreign_weights(family, config, seed=0), source / "ae.safetensors")
    for name, values in family.settings(config).items():
        (source / name).write_text(json.dumps(values))
    plan_conversion(source, "flux_ae", Options()).run(tmp_path / "ours")
    assert Autoencoder.load(tmp_path / "ours").config.shift_factor == 0.12
    plan_export(tmp_path / "ours", "flux_ae", max_shard_bytes=1 << 40).run(tmp_path / "back")
    assert_same(source, tmp_path / "back")


def bagel_folder(folder: Path) -> Path:
    """A toy checkpoint in BAGEL's layout."""
    kind = kind_of("bagel")
    folder.mkdir()
    language = language_model(tied=False).config.to_dict()
    tower = {"model_type": "siglip_vision_model", **VISION, "image_size": 64, "patch_size": 14,
             "num_hidden_layers": 3}  # fmt: skip
    own = {"max_latent_size": 4, "vit_max_num_patch_per_side": 4, "vae_config": {"z_channels": 4}}
    flux = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4}
    settings = {"llm_config.json": language, "vit_config.json": tower, "config.json": own,
                "ae.json": flux}  # fmt: skip
    for name, values in settings.items():
        (folder / name).write_text(json.dumps(values))
    write_tokenizer(folder)
    weights: dict[str, dict[str, Tensor]] = {}
    for part, file in kind.weights.items():
        (family,) = kind.spellings(part)
        found = foreign_weights(family, family.config(settings), seed=len(weights))
        weights.setdefault(file, {}).update(found)
    for file, tensors in weights.items():
        save_file(tensors, folder / file)
    return folder


def test_bagel_comes_back_bit_for_bit(tmp_path: Path) -> None:
    source = bagel_folder(tmp_path / "source")
    plan_conversion(source, "bagel", Options()).run(tmp_path / "ours")
    model = Mogao.from_pretrained(tmp_path / "ours", dtype="float32")
    assert model.generation.image.guidance == "bagel"
    assert not [name for name in (tmp_path / "ours").iterdir() if "index" in name.name]
    plan_export(tmp_path / "ours", "bagel", max_shard_bytes=1000).run(tmp_path / "back")
    assert {file.name for file in (tmp_path / "back").glob("*.safetensors")} == {
        "ema.safetensors", "ae.safetensors",
    }  # fmt: skip
    assert_same(source, tmp_path / "back")


def test_encoders_of_a_composed_model_are_plain_folders(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    from diffusers import AutoencoderKL

    source = language_folder(tmp_path / "source", language_model())
    encoders = {"vision": tiny_model_folder, "vae": tiny_model_folder / "vae"}
    plan_composition({"llm": source, **encoders}, Options()).run(tmp_path / "ours")
    assert_same(tiny_model_folder / "vision", tmp_path / "ours" / "vision")
    assert_same(tiny_model_folder / "vae", tmp_path / "ours" / "vae")
    assert "| tiny/vision | siglip2 |" in (tmp_path / "ours" / "README.md").read_text()
    vision = transformers.Siglip2VisionModel.from_pretrained(tmp_path / "ours" / "vision")
    assert isinstance(vision, torch.nn.Module)
    assert isinstance(AutoencoderKL.from_pretrained(tmp_path / "ours" / "vae"), torch.nn.Module)


def test_what_a_family_cannot_express_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="qwen2 cannot express this model"):
        plan_export(tiny_model_folder, "qwen2", max_shard_bytes=1 << 40)
    with pytest.raises(ConfigError, match="'qwen' is not known; did you mean 'qwen3'"):
        plan_conversion(tmp_path, "qwen", Options())


@pytest.mark.parametrize("name", list(KINDS))
def test_every_family_of_the_table_has_its_adapters(name: str) -> None:
    configs = {"transformer": TransformerConfig, "vision": VisionConfig, "vae": AutoencoderConfig}
    for part in KINDS[name].adapters:
        for family in KINDS[name].spellings(part):
            assert isinstance(family, Family)
            assert family.part == part in configs
