"""The vision encoder equals the library's own forward and keeps picture order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from einops import rearrange
from transformers import Siglip2VisionModel

from mogao.config import VisionConfig
from mogao.errors import CheckpointError, RequestError
from mogao.model.vision import VisionEncoder
from tests.tolerances import BFLOAT16, FLOAT32

TINY = VisionConfig(hidden=16, num_layers=2, num_heads=2, ffn_hidden=32, num_positions=9)


def picture(rows: int, cols: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 16 * rows, 16 * cols, generator=generator) * 2 - 1


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    return VisionEncoder(TINY, seed=2).eval().requires_grad_(False)


def library_features(folder: Path, pictures: list[torch.Tensor]) -> torch.Tensor:
    """The library's way: pad to the longest picture, mask, resample positions per picture."""
    model = Siglip2VisionModel.from_pretrained(folder).eval()
    patches = [
        rearrange(x, "c (rows p) (cols q) -> (rows cols) (p q c)", p=16, q=16) for x in pictures
    ]
    longest = max(map(len, patches))
    padded = torch.zeros(len(pictures), longest, patches[0].shape[1])
    mask = torch.zeros(len(pictures), longest, dtype=torch.int64)
    for row, tokens in enumerate(patches):
        padded[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    shapes = torch.tensor([[x.shape[1] // 16, x.shape[2] // 16] for x in pictures])
    with torch.no_grad():
        out = model(padded, mask, shapes).last_hidden_state
    return torch.cat([out[row, : len(tokens)] for row, tokens in enumerate(patches)])


def test_mixed_sizes_equal_the_padded_library_forward(
    encoder: VisionEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path, dtype=torch.float32)
    pictures = [picture(3, 3), picture(2, 4, 1), picture(3, 3, 2), picture(1, 5, 3)]
    expected = library_features(tmp_path, pictures)
    torch.testing.assert_close(encoder(pictures), expected, atol=10 * FLOAT32, rtol=1e-4)


def test_a_batch_equals_a_list(encoder: VisionEncoder) -> None:
    pictures = [picture(2, 3, seed) for seed in range(3)]
    assert torch.equal(encoder(torch.stack(pictures)), encoder(pictures))


def test_features_do_not_depend_on_the_other_pictures(encoder: VisionEncoder) -> None:
    first, second = picture(2, 2), picture(3, 1, 1)
    both = encoder([first, second])
    torch.testing.assert_close(both[:4], encoder([first]), atol=FLOAT32, rtol=1e-4)
    torch.testing.assert_close(both[4:], encoder([second]), atol=FLOAT32, rtol=1e-4)


def test_rows_come_first() -> None:
    blank = torch.zeros(3, 32, 48)
    marked = blank.clone()
    marked[:, :16, 32:] = 1.0
    shallow = VisionEncoder(TINY.model_copy(update={"num_layers": 1}), seed=2)
    # Values are silenced, so a patch cannot reach another one.
    torch.nn.init.zeros_(shallow.model.encoder.layers[0].self_attn.out_proj.weight)
    changed = (shallow([blank]) - shallow([marked])).abs().sum(1) > 0
    assert changed.nonzero().flatten().tolist() == [2]


def test_no_pictures_give_no_features(encoder: VisionEncoder) -> None:
    assert encoder([]).shape == (0, 16)


def test_gradients_reach_weights_and_positions_in_float32() -> None:
    encoder = VisionEncoder(TINY, compute_dtype=torch.bfloat16, seed=2)
    features = encoder([picture(3, 3), picture(2, 2)])
    exact = VisionEncoder(TINY, seed=2)([picture(3, 3), picture(2, 2)])
    assert features.dtype == torch.bfloat16
    assert (features - exact).abs().max() < 3 * BFLOAT16 * exact.abs().max()
    features.float().square().mean().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


def test_saved_folder_opens_with_equal_results(encoder: VisionEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path, dtype=torch.float32)
    again = VisionEncoder.load(tmp_path)
    assert again.config == TINY
    assert torch.equal(again([picture(2, 3)]), encoder([picture(2, 3)]))


def test_a_pooling_head_in_the_file_is_left_out(tmp_path: Path) -> None:
    from transformers import Siglip2VisionConfig

    settings = Siglip2VisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=9,
    )
    Siglip2VisionModel(settings).save_pretrained(tmp_path)
    encoder = VisionEncoder.load(tmp_path)
    assert not any(name.startswith("model.head") for name, _ in encoder.named_parameters())


CROP = TINY.model_copy(update={"positions": "crop"})


def test_cut_positions_are_looked_up_by_row_and_column() -> None:
    encoder = VisionEncoder(CROP, seed=2).eval().requires_grad_(False)
    model, image = encoder.model, picture(2, 3)
    numbers = [row * 3 + col for row in range(2) for col in range(3)]  # the table is 3 x 3
    narrow = [row * 3 + col for row in range(3) for col in range(2)]
    for pixels, cols, ids in ((image, 3, numbers), (picture(3, 2), 2, narrow)):
        patches = [
            pixels[:, 16 * row : 16 * row + 16, 16 * col : 16 * col + 16].permute(1, 2, 0).flatten()
            for row, col in (divmod(place, cols) for place in range(6))
        ]
        hidden = model.embeddings.patch_embedding(torch.stack(patches))
        hidden = (hidden + model.embeddings.position_embedding.weight[ids])[None]
        for layer in model.encoder.layers:
            hidden = layer(hidden, None)
        expected = model.post_layernorm(hidden)[0]
        torch.testing.assert_close(encoder([pixels]), expected, atol=FLOAT32, rtol=1e-5)


def test_at_the_learned_grid_cut_and_resampled_positions_agree() -> None:
    cut, resampled = VisionEncoder(CROP, seed=2), VisionEncoder(TINY, seed=2)
    assert torch.equal(cut([picture(3, 3)]), resampled([picture(3, 3)]))
    assert not torch.equal(cut([picture(3, 2)]), resampled([picture(3, 2)]))


def test_a_picture_beyond_the_cut_positions_is_refused() -> None:
    encoder = VisionEncoder(CROP)
    with pytest.raises(RequestError, match="4 x 2 patches, but has positions for 3 x 3"):
        encoder([picture(4, 2)])


def test_cut_positions_are_kept_in_the_folder_that_the_library_opens(tmp_path: Path) -> None:
    encoder = VisionEncoder(CROP.model_copy(update={"norm_eps": 1e-5}), seed=2)
    encoder.save(tmp_path, dtype=torch.float32)
    again = VisionEncoder.load(tmp_path)
    assert again.config == encoder.config
    library = Siglip2VisionModel.from_pretrained(tmp_path)
    assert library.config.layer_norm_eps == 1e-5
    assert all(
        torch.equal(weight, library.state_dict()[name])
        for name, weight in again.model.state_dict().items()
    )


def test_positions_must_be_a_square_and_heads_must_share_the_width() -> None:
    with pytest.raises(ValueError, match="square number, got 8"):
        VisionConfig(num_positions=8)
    with pytest.raises(ValueError, match="multiple of num_heads"):
        VisionConfig(hidden=64, num_heads=3)


def test_a_folder_of_another_family_is_named(encoder: VisionEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(settings | {"model_type": "clip"}))
    with pytest.raises(CheckpointError, match="model_type is 'clip'"):
        VisionEncoder.load(tmp_path)


def test_sides_off_the_patch_size_are_refused(encoder: VisionEncoder) -> None:
    with pytest.raises(RequestError, match="multiples of 16"):
        encoder([torch.zeros(3, 16, 24)])


def test_missing_weights_are_named(encoder: VisionEncoder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        VisionEncoder.load(tmp_path)
    encoder.save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="weights"):
        VisionEncoder.load(tmp_path)
