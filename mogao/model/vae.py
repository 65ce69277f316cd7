"""The picture autoencoder: pixels to latents and back.

In: pixels in [-1, 1]. Out: latents of about zero mean and unit variance, and pixels again. The
network is `diffusers.AutoencoderKL` behind an optional space-to-depth, so that a folder `vae/`
opens in that library as it is (on the rearranged pixels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor, nn

from mogao.config import AutoencoderConfig
from mogao.errors import CheckpointError, RequestError
from mogao.model.library import fill_weights, run_in, seeded, write_weights
from mogao.model.storage import read_object
from mogao.model.weights.autoencoder import (
    LIBRARY_KEYS,
    current_name,
    library_settings,
    read_library,
)
from mogao.sequence import Pixels

WEIGHTS = "diffusion_pytorch_model.safetensors"

PixelTensor = Float[Tensor, "images 3 height width"]
Latents = Float[Tensor, "images channels rows cols"]


class Autoencoder(nn.Module):
    """Posterior mean of an AutoencoderKL, shifted and scaled.

    Attributes:
        kl: The library's network; `shift_factor` and `scaling_factor` live in its config.
        config: Shape of the network, and those two where they are known from the start.
        compute_dtype: Type inside the network; None is the type of the weights.
    """

    def __init__(
        self, config: AutoencoderConfig, *, compute_dtype: torch.dtype | None = None, seed: int = 0
    ) -> None:
        """Build a network with first weights that depend on `seed` only."""
        from diffusers import AutoencoderKL

        super().__init__()
        with seeded(seed):
            self.kl: Any = AutoencoderKL(**library_settings(config))
        with torch.no_grad():
            # A posterior that starts narrow lets the first steps see the picture, not noise.
            self.kl.encoder.conv_out.weight[config.latent_channels :] *= 0.1
            self.kl.encoder.conv_out.bias[config.latent_channels :] = -5.0
        self.config = config
        self.compute_dtype = compute_dtype

    def encode(self, pixels: PixelTensor) -> Float32[Tensor, "images channels rows cols"]:
        """Return latents: (posterior mean - shift) x scale.

        Args:
            pixels: In [-1, 1]; sides are multiples of the latent stride. Gradients flow if enabled.

        Raises:
            RequestError: A side is not a multiple of the latent stride.
        """
        mean, _ = self.posterior(pixels)
        return (mean - self._shift) * self._scale

    def decode(self, latents: Latents) -> Float32[Tensor, "images 3 height width"]:
        """Return pixels, about in [-1, 1]; `tensor_to_pixels` clips them."""
        return self.render(latents.float() / self._scale + self._shift)

    def posterior(self, pixels: PixelTensor) -> tuple[Latents, Latents]:
        """Return mean and log-variance of the latents before shift and scale, float32.

        Raises:
            RequestError: A side is not a multiple of the latent stride.
        """
        height, width = pixels.shape[-2:]
        stride = self.config.latent_stride
        if height % stride or width % stride or not height or not width:
            raise RequestError(
                f"the autoencoder got a picture of {height} x {width} pixels, but needs sides that "
                f"are multiples of {stride}; fit it with mogao.data.images first"
            )
        x = F.pixel_unshuffle(pixels, self.config.space_to_depth)
        moments = self._run("encoder", x)
        if self.kl.quant_conv is not None:
            moments = run_in(self.kl.quant_conv, self.compute_dtype, moments)
        mean, log_variance = moments.float().chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def render(self, latents: Latents) -> Float32[Tensor, "images 3 height width"]:
        """Return the pixels of latents as the network knows them, before shift and scale."""
        if self.kl.post_quant_conv is not None:
            latents = run_in(self.kl.post_quant_conv, self.compute_dtype, latents.to(self._dtype))
        y = self._run("decoder", latents)
        return F.pixel_shuffle(y, self.config.space_to_depth).float()

    def calibrate(self, pixels: Sequence[Float[Tensor, "_ 3 _ _"]]) -> None:
        """Choose shift and scale so that the latents of these batches have mean 0 and variance 1.

        Raises:
            CheckpointError: The latents are constant or not finite: the network is not trained.
        """
        with torch.no_grad():
            values = torch.cat([self.posterior(batch)[0].flatten() for batch in pixels])
        mean, std = values.mean().item(), values.std().item()
        if not math.isfinite(mean) or not 0 < std < math.inf:
            raise CheckpointError(
                f"latents have mean {mean} and standard deviation {std}; train the autoencoder "
                "before it is calibrated"
            )
        self.kl.register_to_config(scaling_factor=1.0 / std, shift_factor=mean)

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write a folder that `diffusers.AutoencoderKL.from_pretrained` opens.

        Args:
            folder: Made when missing.
            dtype: Type of the stored weights.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        write_weights(self.kl, Path(folder) / WEIGHTS, dtype=dtype)
        self.kl.save_config(folder)

    @classmethod
    def load(cls, folder: str | Path, *, compute_dtype: torch.dtype | None = None) -> Autoencoder:
        """Open a folder of `save` or of diffusers itself; weights become float32.

        Args:
            folder: Holds `config.json` and one safetensors file.
            compute_dtype: See the class; for fixed weights `.to(dtype)` is faster than a cast.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit the config.
        """
        path = Path(folder) / "config.json"
        settings = read_object(path)
        config = read_library(settings, where=str(path))
        with torch.device("meta"):
            model = cls(config, compute_dtype=compute_dtype)
        # What only the library reads stays in the folder when it is saved again.
        kept = {name: settings[name] for name in LIBRARY_KEYS if name in settings}
        model.kl.register_to_config(**kept)
        fill_weights(model.kl, Path(folder) / WEIGHTS, rename=current_name)
        return model

    @property
    def _dtype(self) -> torch.dtype:
        return self.compute_dtype or next(self.kl.parameters()).dtype

    @property
    def _shift(self) -> float:
        return float(self.kl.config.shift_factor or 0.0)

    @property
    def _scale(self) -> float:
        return float(self.kl.config.scaling_factor)

    def _run(self, half: str, x: Tensor) -> Tensor:
        x = x.to(dtype=self._dtype)
        if self._dtype != torch.float32 or self.config.space_to_depth > 1:
            # Rows of channels are the layout in which the CPU and tensor cores convolve. Float32 on
            # three channels gains nothing and keeps the library's own layout, and so its own bits.
            x = x.to(memory_format=torch.channels_last)
        out: Tensor = run_in(getattr(self.kl, half), self.compute_dtype, x)
        return out


def patchify(latents: Latents, *, patch: int = 2) -> Float[Tensor, "images tokens latent_dim"]:
    """Cut latents into generation tokens, row by row; a token holds (row, col, channel) values."""
    return rearrange(
        latents, "images c (rows p) (cols q) -> images (rows cols) (p q c)", p=patch, q=patch
    )


def unpatchify(
    tokens: Float[Tensor, "images tokens latent_dim"], *, grid: tuple[int, int], patch: int = 2
) -> Latents:
    """Undo `patchify`; `grid` is (rows, cols) in tokens."""
    return rearrange(
        tokens,
        "images (rows cols) (p q c) -> images c (rows p) (cols q)",
        rows=grid[0],
        cols=grid[1],
        p=patch,
        q=patch,
    )


def pixels_to_tensor(pictures: Sequence[Pixels]) -> Float32[Tensor, "images 3 height width"]:
    """Stack equally large RGB pictures as float32 in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(pictures))
    return rearrange(stacked, "images h w c -> images c h w").float().div_(127.5).sub_(1.0)


def tensor_to_pixels(pixels: PixelTensor) -> list[Pixels]:
    """Round pixels in [-1, 1] to RGB bytes; values outside are clipped."""
    levels = pixels.detach().float().clamp(-1.0, 1.0).add(1.0).mul(127.5).round()
    array = rearrange(levels.to(torch.uint8), "images c h w -> images h w c").cpu().numpy()
    return list(array)
