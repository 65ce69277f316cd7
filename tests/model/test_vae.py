"""The autoencoder keeps its shapes, its scale, its files and the library's own results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mogao.config import AutoencoderConfig
from mogao.errors import CheckpointError, RequestError
from mogao.model.vae import (
    WEIGHTS,
    Autoencoder,
    patchify,
    pixels_to_tensor,
    tensor_to_pixels,
    unpatchify,
)
from tests.tolerances import BFLOAT16, FLOAT32

TINY = AutoencoderConfig(
    space_to_depth=4, block_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_groups=4
)


def pictures(count: int = 2, height: int = 32, width: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(TINY, seed=3).eval().requires_grad_(False)


def test_one_latent_cell_covers_the_stride(model: Autoencoder) -> None:
    latents = model.encode(pictures())
    assert latents.shape == (2, 4, 32 // TINY.latent_stride, 48 // TINY.latent_stride)
    assert latents.dtype == torch.float32
    assert model.decode(latents).shape == (2, 3, 32, 48)


def test_encode_and_decode_equal_the_library_on_rearranged_pixels(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    own = Autoencoder(TINY, seed=3).eval().requires_grad_(False)
    own.calibrate([pictures(4)])
    own.save(tmp_path, dtype=torch.float32)
    library = AutoencoderKL.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    settings = library.config
    folded = torch.nn.functional.pixel_unshuffle(pictures(), 4)
    with torch.no_grad():
        mean = library.encode(folded).latent_dist.mean
        expected = (mean - settings.shift_factor) * settings.scaling_factor
        decoded = torch.nn.functional.pixel_shuffle(library.decode(mean).sample, 4)
    torch.testing.assert_close(own.encode(pictures()), expected, atol=FLOAT32, rtol=1e-4)
    torch.testing.assert_close(own.decode(expected), decoded, atol=1e-4, rtol=1e-3)


REAL = {"space_to_depth": 1, "block_channels": (16, 16, 32, 32), "layers_per_block": 2,
        "norm_groups": 8, "mid_attention": True}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        AutoencoderConfig(latent_channels=4, quant_convs=True, scaling_factor=0.13025, **REAL),
        AutoencoderConfig(latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609, **REAL),
        AutoencoderConfig(latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159, **REAL),
    ],
    ids=["sdxl", "sd3", "flux"],
)
def test_real_shapes_are_bit_for_bit_the_library(config: AutoencoderConfig, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    own = Autoencoder(config, seed=3).eval().requires_grad_(False)
    own.save(tmp_path, dtype=torch.float32)
    library = AutoencoderKL.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    scale, shift = config.scaling_factor, config.shift_factor or 0.0
    with torch.no_grad():
        latents = (library.encode(pictures()).latent_dist.mode() - shift) * scale
        decoded = library.decode(latents / scale + shift).sample
    assert torch.equal(own.encode(pictures()), latents)
    assert torch.equal(own.decode(latents), decoded)
    again = Autoencoder.load(tmp_path)
    assert config.admits(again.config)
    assert torch.equal(again.encode(pictures()), latents)


def test_a_config_admits_its_own_numbers_or_any() -> None:
    found = TINY.model_copy(update={"scaling_factor": 0.5, "shift_factor": 0.1})
    assert TINY.admits(found)
    assert found.admits(found)
    assert not found.model_copy(update={"scaling_factor": 0.4}).admits(found)
    assert not TINY.model_copy(update={"latent_channels": 8}).admits(found)


def test_keys_of_the_library_alone_survive_a_round_trip(tmp_path: Path) -> None:
    Autoencoder(TINY).save(tmp_path)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"force_upcast": False, "sample_size": 512}))
    Autoencoder.load(tmp_path).save(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))
    assert (again["force_upcast"], again["sample_size"]) == (False, 512)


def test_a_folder_with_old_attention_names_opens_as_in_the_library(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL
    from safetensors.torch import load_file, save_file

    own = Autoencoder(TINY.model_copy(update={"mid_attention": True}), seed=3)
    own.save(tmp_path, dtype=torch.float32)
    renames = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(tmp_path / WEIGHTS)
    for today, old in renames.items():
        weights = {
            name.replace(f"attentions.0.{today}.", f"attentions.0.{old}."): weight
            for name, weight in weights.items()
        }
    assert any(name.endswith("query.weight") for name in weights)
    save_file(weights, tmp_path / WEIGHTS, metadata={"format": "pt"})
    library = AutoencoderKL.from_pretrained(tmp_path, low_cpu_mem_usage=False).state_dict()
    again = Autoencoder.load(tmp_path).kl.state_dict()
    assert again.keys() == library.keys()
    assert all(torch.equal(weight, library[name]) for name, weight in again.items())


def test_calibrated_latents_have_mean_zero_and_variance_one() -> None:
    own = Autoencoder(TINY, seed=3)
    own.calibrate([pictures(2), pictures(3)])
    latents = own.encode(torch.cat([pictures(2), pictures(3)]))
    assert abs(latents.mean().item()) < 1e-4
    assert abs(latents.std().item() - 1) < 1e-4


def test_saved_folder_opens_with_equal_results(model: Autoencoder, tmp_path: Path) -> None:
    model.save(tmp_path, dtype=torch.float32)
    again = Autoencoder.load(tmp_path)
    assert TINY.admits(again.config)
    assert again.config.scaling_factor == 1.0
    stored = again.state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(again.encode(pictures()), model.encode(pictures()))


def test_bfloat16_storage_halves_the_file_and_keeps_the_latents(
    model: Autoencoder, tmp_path: Path
) -> None:
    model.save(tmp_path / "full", dtype=torch.float32)
    model.save(tmp_path / "half")
    sizes = [(tmp_path / name / WEIGHTS).stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    latents = Autoencoder.load(tmp_path / "half").encode(pictures())
    expected = model.encode(pictures())
    assert (latents - expected).abs().max() < BFLOAT16 * expected.abs().max()


def test_bfloat16_compute_returns_float32_and_leaves_master_weights() -> None:
    model = Autoencoder(TINY, compute_dtype=torch.bfloat16, seed=3)
    latents = model.encode(pictures())
    latents.square().mean().backward()
    exact = Autoencoder(TINY, seed=3).encode(pictures())
    assert latents.dtype == torch.float32
    assert (latents - exact).abs().max() < 3 * BFLOAT16 * exact.abs().max()
    gradients = [p.grad for p in model.kl.encoder.parameters()]
    assert all(g is not None and g.dtype == torch.float32 for g in gradients)


def test_first_weights_depend_on_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (Autoencoder(TINY, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [model.kl.encoder.conv_in.weight for model in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_patches_are_read_row_by_row_and_put_back() -> None:
    latents = torch.arange(2 * 3 * 4 * 6).float().reshape(2, 3, 4, 6)
    tokens = patchify(latents)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens[0, 1, :3], latents[0, :, 0, 2])
    assert torch.equal(tokens[0, 3, -3:], latents[0, :, 3, 1])
    assert torch.equal(unpatchify(tokens, grid=(2, 3)), latents)


def test_bytes_survive_the_way_to_floats_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tensor = pixels_to_tensor([levels, 255 - levels])
    assert (tensor.min().item(), tensor.max().item()) == (-1.0, 1.0)
    first, second = tensor_to_pixels(tensor)
    assert np.array_equal(first, levels)
    assert np.array_equal(second, 255 - levels)
    assert tensor_to_pixels(tensor * 1.5)[0].max() == 255


def test_sides_off_the_stride_are_refused(model: Autoencoder) -> None:
    with pytest.raises(RequestError, match="multiples of 8"):
        model.encode(pictures(height=36))


def test_an_untrained_constant_network_cannot_be_calibrated() -> None:
    model = Autoencoder(TINY)
    torch.nn.init.zeros_(model.kl.encoder.conv_out.weight)
    torch.nn.init.zeros_(model.kl.encoder.conv_out.bias)
    with pytest.raises(CheckpointError, match="train the autoencoder"):
        model.calibrate([pictures()])


def test_broken_folders_are_named(model: Autoencoder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Autoencoder.load(tmp_path)
    model.save(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="weights"):
        Autoencoder.load(tmp_path)
    Autoencoder(TINY.model_copy(update={"latent_channels": 8})).save(tmp_path / "other")
    (tmp_path / "other" / WEIGHTS).replace(tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match="does not fit"):
        Autoencoder.load(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(settings | {"in_channels": 7}))
    with pytest.raises(CheckpointError, match="no AutoencoderKL"):
        Autoencoder.load(tmp_path)
