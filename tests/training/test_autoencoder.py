"""The autoencoder task: pictures are reused as promised, resumed exactly, and learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mogao.config import (
    AutoencoderConfig,
    AutoencoderTask,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TransformerConfig,
    VisionConfig,
)
from mogao.errors import DataError
from mogao.model.vae import Autoencoder
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from mogao.training.autoencoder import AutoencoderTraining, psnr
from mogao.training.loop import train
from mogao.training.pictures import PictureFeed, draw_pictures

TINY = ModelConfig(
    autoencoder=AutoencoderConfig(
        space_to_depth=8, block_channels=(16,), latent_channels=4, norm_groups=4
    ),
    transformer=TransformerConfig(latent_dim=16, vision_dim=16),
    vision=VisionConfig(hidden=16, num_heads=1),
)


class Numbered:
    """A source whose pictures carry their number, two in a document, one document in three bare."""

    def __init__(self) -> None:
        self.at = 0

    def next(self) -> InterleavedSequence:
        self.at += 1
        if self.at % 3 == 0:
            return InterleavedSequence((TextSegment("no picture"),))
        images = [np.full((16, 16, 3), 2 * self.at + k, np.uint8) for k in (0, 1)]
        return InterleavedSequence(tuple(ImageSegment(pixels) for pixels in images))

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = int(state["at"])


def task(**changes: Any) -> AutoencoderTask:
    settings = {"model": TINY, "batch_images": 4, "reuse": 2, "pool_images": 8}
    return AutoencoderTask(**(settings | changes))


def run_config(**changes: Any) -> RunConfig:
    settings = {
        "task": task(),
        "data": {"kind": "world", "recipes": {"draw": 1.0}},
        "optim": OptimConfig(kind="muon", warmup_steps=1),
        "dtype": "float32",
        "max_steps": 6,
        "sample_minutes": 0,
        "log_every_steps": 2,
    }
    return RunConfig(**(settings | changes))


def numbers(batch: list[torch.Tensor]) -> list[int]:
    return [round((picture[0, 0, 0].item() + 1) * 127.5) for group in batch for picture in group]


def test_every_picture_of_the_running_pool_is_used_reuse_times() -> None:
    feed = PictureFeed(Numbered(), task(), seed=0)
    counts: dict[int, int] = {}
    for _ in range(30):
        batch = numbers(feed.next())
        assert len(batch) == 4
        for number in batch:
            counts[number] = counts.get(number, 0) + 1
    middle = list(counts)[12:-12]
    assert {counts[number] for number in middle} == {2}


def test_feed_resumes_exactly() -> None:
    straight = PictureFeed(Numbered(), task(), seed=4)
    for _ in range(9):
        straight.next()
    resumed = PictureFeed(Numbered(), task(), seed=4)
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    for _ in range(8):
        assert all(map(torch.equal, straight.next(), resumed.next()))


def test_a_source_without_pictures_is_refused() -> None:
    class Bare(Numbered):
        def next(self) -> InterleavedSequence:
            return InterleavedSequence((TextSegment("words"),))

    with pytest.raises(DataError, match="no picture"):
        draw_pictures(Bare(), 1)


def test_a_batch_in_two_parts_means_the_same() -> None:
    training = AutoencoderTraining(run_config(), device=torch.device("cpu"), dtype=torch.float32)
    with torch.no_grad():
        training.module.kl.encoder.conv_out.bias[4:] = -60.0  # no noise: parts draw other values
    generator = torch.Generator().manual_seed(0)
    pixels = torch.cat(training.next_batch())
    whole = training.weights([pixels])
    together, _ = training.losses([pixels], whole, generator)
    first, _ = training.losses([pixels[:1]], whole, generator)
    rest, _ = training.losses([pixels[1:]], whole, generator)
    torch.testing.assert_close(first + rest, together, rtol=1e-4, atol=1e-6)


def test_latents_moved_by_a_part_of_a_cell_show_the_moved_picture(monkeypatch) -> None:
    """On a slope that is decoded exactly, any move must cost nothing; on a flat decode it must."""
    config = run_config(task=task(shift_weight=1.0))
    training = AutoencoderTraining(config, device=torch.device("cpu"), dtype=torch.float32)
    across = torch.arange(32.0)
    pixels = (0.01 * across + 0.02 * across[:, None]).expand(1, 3, 32, 32)
    latents = pixels.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2))
    inside = 0.01 * (torch.arange(8.0) - 3.5) + 0.02 * (torch.arange(8.0)[:, None] - 3.5)

    def exact(moved: torch.Tensor) -> torch.Tensor:
        rows, cols = moved.shape[-2:]
        return moved.repeat_interleave(8, 2).repeat_interleave(8, 3) + inside.repeat(rows, cols)

    generator = torch.Generator().manual_seed(0)
    monkeypatch.setattr(training.module, "render", exact)
    for _ in range(5):
        assert float(training._shift_sum(latents, pixels, generator)) < 1e-6
    monkeypatch.setattr(training.module, "render", lambda z: exact(z * 0))
    assert float(training._shift_sum(latents, pixels, generator)) > 1


def test_muon_gets_every_convolution_but_those_on_pixels() -> None:
    training = AutoencoderTraining(run_config(), device=torch.device("cpu"), dtype=torch.float32)
    names = training.matrices()
    assert "kl.decoder.conv_in.weight" in names
    assert not {"kl.encoder.conv_in.weight", "kl.decoder.conv_out.weight"} & set(names)
    assert all(training.module.get_parameter(name).ndim == 4 for name in names)


def test_a_run_learns_and_leaves_a_calibrated_folder(tmp_path: Path) -> None:
    config = run_config(max_steps=24, log_every_steps=4, sample_minutes=10)
    report = train(config, tmp_path)
    rows = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split(",").index("squared")
    errors = [float(row.split(",")[column]) for row in rows[1:]]
    assert errors[-1] < 0.7 * errors[0]
    model = Autoencoder.load(report.model / "vae")
    assert TINY.autoencoder.admits(model.config)
    sheets = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert sheets == ["step-00000024.json", "step-00000024.png"]


def test_the_decoder_learns_on_while_latents_stay(tmp_path: Path) -> None:
    first = train(run_config(max_steps=30), tmp_path / "whole").model
    config = run_config(task=task(decoder_of=str(first)), max_steps=30, seed=1)
    second = train(config, tmp_path / "decoder").model
    before, after = (Autoencoder.load(folder / "vae") for folder in (first, second))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(before.encode(pixels), after.encode(pixels))
    moved = (before.kl.decoder.conv_in.weight - after.kl.decoder.conv_in.weight).abs().max()
    assert moved > 1e-3


def test_psnr_of_known_errors() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 255) == pytest.approx(0.0)
    assert psnr(black, black + 51) == pytest.approx(13.979, abs=1e-3)
