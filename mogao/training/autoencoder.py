"""Training of the autoencoder on the pictures of any data source.

In: a `RunConfig` with an autoencoder task. Out: a `Task` whose model folder holds `vae/` alone.
Source of objective and posterior: arXiv 2112.10752, section 3.1, without its adversarial part;
weights, picture reuse and Muon on convolutions: own design, docs/decisions.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mogao.config import AutoencoderTask, RunConfig, reseeded
from mogao.data.images import save_png
from mogao.data.mixture import build_source
from mogao.files import atomic_write
from mogao.model.vae import (
    Autoencoder,
    Latents,
    PixelTensor,
    pixels_to_tensor,
    tensor_to_pixels,
)
from mogao.sequence import Pixels
from mogao.training.checkpoint import checkpoint_name
from mogao.training.pictures import (
    UNSEEN_SEED,
    PictureBatch,
    PictureFeed,
    draw_pictures,
    own_source,
)
from mogao.training.task import Metrics

SHEET_PICTURES = 16
CALIBRATION_PICTURES = 256


class AutoencoderTraining:
    """The autoencoder task; see `mogao.training.task.Task`."""

    def __init__(self, config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        """Build the network, or load the one whose decoder learns on, and open the data.

        Raises:
            CheckpointError: The folder of `decoder_of` is missing or damaged.
            ConfigError: The data config asks for something unknown.
            DataError: The data cannot be read.
        """
        assert isinstance(config.task, AutoencoderTask)
        self.task, self.device = config.task, device
        if config.task.decoder_of is None:
            shape = config.task.model.autoencoder
            self.module = Autoencoder(shape, compute_dtype=dtype, seed=config.seed).to(device)
        else:
            folder = Path(config.task.decoder_of) / "vae"
            self.module = Autoencoder.load(folder, compute_dtype=dtype).to(device)
            self.module.kl.encoder.requires_grad_(False)
        self._feed = PictureFeed(own_source(config.data), config.task, seed=config.seed)
        self._unseen = reseeded(config.data, by=UNSEEN_SEED)

    def matrices(self) -> dict[str, tuple[int, ...]]:
        """Return the convolutions but the two that touch pixels, each one matrix [out, in x 9]."""
        borders = ("encoder.conv_in.weight", "decoder.conv_out.weight")
        return {
            name: ()
            for name, parameter in self.module.named_parameters()
            if parameter.ndim == 4 and not name.endswith(borders)
        }

    def next_batch(self) -> PictureBatch:
        """Draw the next pictures."""
        return self._feed.next()

    def weights(self, batch: PictureBatch) -> dict[str, float]:
        """Return the number of pixel values."""
        return {"values": float(sum(pixels.numel() for pixels in batch))}

    def losses(
        self, batch: PictureBatch, normalisers: Mapping[str, float], generator: torch.Generator
    ) -> tuple[Float32[Tensor, ""], Metrics]:
        """Return the weighted sum of the losses, and each of them as a mean per value."""
        parts: dict[str, Tensor] = {}
        for pixels in batch:
            terms = self._terms(pixels.to(self.device), normalisers["values"], generator)
            parts = {name: parts.get(name, 0.0) + term for name, term in terms.items()}
        weights = {
            "squared": self.task.squared_weight, "l1": self.task.l1_weight,
            "gradient": self.task.gradient_weight, "kl": self.task.kl_weight,
            "shift": self.task.shift_weight,
        }  # fmt: skip
        total = torch.stack([weights[name] * term for name, term in parts.items()]).sum()
        return total, {name: term.detach() for name, term in parts.items()}

    def tokens(self, batch: PictureBatch) -> dict[str, int]:
        """Return counts; a token is a latent cell here."""
        stride = self.module.config.latent_stride
        cells = sum(pixels.numel() // (3 * stride**2) for pixels in batch)
        return {"tokens": cells, "padding": 0, "samples": sum(map(len, batch))}

    def state_dict(self) -> dict[str, Any]:
        """Return the data position."""
        return {"feed": self._feed.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], *, same_data: bool) -> None:
        """Continue behind the last batch; other data begins anew.

        Raises:
            CheckpointError: The data is another than when the state was saved.
        """
        if same_data:
            self._feed.load_state_dict(state["feed"])

    def write_samples(
        self,
        folder: Path,
        step: int,
        generator: torch.Generator,  # noqa: ARG002 - part of the Task protocol
    ) -> None:
        """Write `step-N.png`, unseen pictures above what is left of them, and `step-N.json`."""
        pictures = draw_pictures(build_source(self._unseen), SHEET_PICTURES)
        pairs = [(picture, self._round_trip(picture)) for picture in pictures]
        save_png(_sheet(pairs), folder / f"{checkpoint_name(step)}.png")
        decibels = [psnr(picture, again) for picture, again in pairs]
        report = {"step": step, "psnr": sum(decibels) / len(decibels), "worst": min(decibels)}
        atomic_write(folder / f"{checkpoint_name(step)}.json", json.dumps(report) + "\n")

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write `vae/`; shift and scale are measured on unseen pictures, or kept with the encoder.

        Raises:
            CheckpointError: The network is not trained, or the disk is full.
        """
        model = Autoencoder(self.module.config, compute_dtype=self.module.compute_dtype)
        model.load_state_dict(dict(weights))
        model.to(self.device)
        if self._encoder_is_frozen:
            model.kl.register_to_config(**latent_scale(self.module))
        else:
            pictures = draw_pictures(build_source(self._unseen), CALIBRATION_PICTURES)
            model.calibrate([pixels_to_tensor([picture]).to(self.device) for picture in pictures])
        model.save(folder / "vae")

    def _terms(
        self, pixels: PixelTensor, values: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Losses of pictures of one size by name, each a share of the mean over `values`."""
        mean, log_variance = self.module.posterior(pixels)
        sample = mean
        if not self._encoder_is_frozen:
            noise = torch.randn(mean.shape, generator=generator, device=self.device)
            # Any share of the posterior's noise: sampling decodes latents without it.
            share = torch.rand(len(mean), 1, 1, 1, generator=generator, device=self.device)
            sample = mean + share * noise * (0.5 * log_variance).exp()
        error = self.module.render(sample) - pixels
        terms = {
            "squared": error.square().sum() / values,
            "l1": error.abs().sum() / values,
            "gradient": gradient_sum(error) / values,
        }
        if not self._encoder_is_frozen:
            latent_values = values * mean.numel() / pixels.numel()
            terms["kl"] = divergence_sum(mean, log_variance) / latent_values
        if self.task.shift_weight:
            terms["shift"] = self._shift_sum(sample, pixels, generator) / values
        return terms

    @property
    def _encoder_is_frozen(self) -> bool:
        return self.task.decoder_of is not None

    def _shift_sum(
        self, latents: Latents, pixels: PixelTensor, generator: torch.Generator
    ) -> Float32[Tensor, ""]:
        """Squared error of pictures decoded from latents moved by a part of a cell, summed."""
        stride = self.module.config.latent_stride
        draw = torch.randint(stride, (2,), generator=generator, device=generator.device)
        down, right = draw.tolist()
        moved = shift_cells(latents, down / stride, right / stride)
        target = pixels[..., down : down - stride, right : right - stride]
        return (self.module.render(moved) - target).square().sum()

    @torch.no_grad()
    def _round_trip(self, picture: Pixels) -> Pixels:
        pixels = pixels_to_tensor([picture]).to(self.device)
        return tensor_to_pixels(self.module.decode(self.module.encode(pixels)))[0]


def latent_scale(model: Autoencoder) -> dict[str, float]:
    """Shift and scale of the latents, as the library's config names them."""
    config = model.kl.config
    return {"shift_factor": config.shift_factor, "scaling_factor": config.scaling_factor}


def gradient_sum(error: Float[Tensor, "images 3 height width"]) -> Float32[Tensor, ""]:
    """Sum of absolute differences of the error between neighbours, across and down."""
    across = error[..., 1:] - error[..., :-1]
    down = error[..., 1:, :] - error[..., :-1, :]
    return across.abs().sum() + down.abs().sum()


def shift_cells(
    latents: Float[Tensor, "images channels rows cols"], down: float, right: float
) -> Float[Tensor, "images channels fewer_rows fewer_cols"]:
    """Latents seen from a point `down` and `right` cells away, bilinear; one row and column less.

    Args:
        latents: At least two rows and two columns.
        down: In [0, 1).
        right: In [0, 1).
    """
    rows = torch.lerp(latents[..., :-1, :], latents[..., 1:, :], down)
    return torch.lerp(rows[..., :-1], rows[..., 1:], right)


def divergence_sum(
    mean: Float[Tensor, "images channels rows cols"],
    log_variance: Float[Tensor, "images channels rows cols"],
) -> Float32[Tensor, ""]:
    """Kullback-Leibler divergence of the posterior from the unit normal, summed, in nats.

    Source: arXiv 1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum()


def psnr(picture: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures in dB; infinite for equal ones."""
    error = np.square(picture.astype(np.float64) - other.astype(np.float64)).mean()
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def _sheet(pairs: list[tuple[Pixels, Pixels]]) -> Pixels:
    """Originals in the upper row, round trips below; smaller pictures lie on white."""
    height = max(picture.shape[0] for picture, _ in pairs)
    width = max(picture.shape[1] for picture, _ in pairs)
    sheet = np.full((2 * height, width * len(pairs), 3), 255, np.uint8)
    for column, pair in enumerate(pairs):
        for row, picture in enumerate(pair):
            top, left = row * height, column * width
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet
