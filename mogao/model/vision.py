"""The understanding encoder: pixels to one feature per patch.

In: pictures of any sizes in [-1, 1]. Out: features in picture order, row by row. The network is
`transformers.Siglip2VisionModel` without its pooling head, at native resolution; a folder `vision/`
opens in that library as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mogao.config import VisionConfig
from mogao.errors import RequestError
from mogao.model.library import fill_weights, run_in, seeded, write_weights
from mogao.model.storage import read_object
from mogao.model.weights.siglip import SIGLIP2_TRAITS, read_tower, tower_settings

WEIGHTS = "model.safetensors"

Features = Float[Tensor, "tokens hidden"]


class VisionEncoder(nn.Module):
    """Siglip2 features of all patches.

    Attributes:
        model: The library's network.
        config: Shape of the network.
        compute_dtype: Type inside the network; None is the type of the weights.
    """

    def __init__(
        self, config: VisionConfig, *, compute_dtype: torch.dtype | None = None, seed: int = 0
    ) -> None:
        """Build a network with first weights that depend on `seed` only."""
        from transformers import Siglip2VisionConfig, Siglip2VisionModel

        super().__init__()
        with seeded(seed):
            model = Siglip2VisionModel(Siglip2VisionConfig(**tower_settings(config)))
        self.model = _one_grid(model, crop=config.positions == "crop")
        self.config = config
        self.compute_dtype = compute_dtype

    def forward(
        self, images: Float[Tensor, "images 3 height width"] | Sequence[Float[Tensor, "3 _ _"]]
    ) -> Features:
        """Return the features of every patch, picture after picture.

        Pictures of one size run as one batch, so nothing is padded and no mask is needed.

        Args:
            images: One batch, or pictures of any sizes in [-1, 1]; sides are multiples of the patch
                size in pixels.

        Raises:
            RequestError: A side is not a multiple of the patch size.
        """
        if isinstance(images, Tensor):
            return self._same_size(images).flatten(0, 1)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(tuple(image.shape), []).append(index)
        if len(by_size) == 1:
            return self._same_size(torch.stack(list(images))).flatten(0, 1)
        parts: dict[int, Tensor] = {}
        for indices in by_size.values():
            found = self._same_size(torch.stack([images[index] for index in indices]))
            parts.update(zip(indices, found, strict=True))
        if not parts:
            weight = next(self.model.parameters())
            return weight.new_zeros(0, self.config.hidden, dtype=self.compute_dtype)
        return torch.cat([parts[index] for index in range(len(images))])

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write a folder that `transformers.Siglip2VisionModel.from_pretrained` opens.

        Args:
            folder: Made when missing.
            dtype: Type of the stored weights.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        write_weights(self.model, Path(folder) / WEIGHTS, dtype=dtype)
        self.model.config.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path, *, compute_dtype: torch.dtype | None = None) -> VisionEncoder:
        """Open a folder of `save` or of transformers itself; weights become float32.

        Args:
            folder: Holds `config.json` and safetensors files; a pooling head in it is left out.
            compute_dtype: See the class; for fixed weights `.to(dtype)` is faster than a cast.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit the config.
        """
        path = Path(folder) / "config.json"
        config = read_tower(read_object(path), traits=SIGLIP2_TRAITS, where=str(path))
        with torch.device("meta"):
            encoder = cls(config, compute_dtype=compute_dtype)
        fill_weights(encoder.model, Path(folder) / WEIGHTS, ignore="head.")
        return encoder

    def _same_size(
        self, pixels: Float[Tensor, "images 3 height width"]
    ) -> Float[Tensor, "images tokens hidden"]:
        side = self.config.patch_pixels
        height, width = pixels.shape[-2:]
        if height % side or width % side or not height or not width:
            raise RequestError(
                f"the vision encoder got a picture of {height} x {width} pixels, but needs sides "
                f"that are multiples of {side}; fit it with mogao.data.images first"
            )
        rows, cols = height // side, width // side
        most = math.isqrt(self.config.num_positions)
        if self.config.positions == "crop" and max(rows, cols) > most:
            raise RequestError(
                f"the vision encoder got a picture of {rows} x {cols} patches, but has positions "
                f"for {most} x {most}; scale it to at most {most * side} pixels a side"
            )
        patches = rearrange(
            pixels, "n c (rows p) (cols q) -> n (rows cols) (p q c)", p=side, q=side
        )
        grid = torch.tensor([[rows, cols]])
        dtype = self.compute_dtype or next(self.model.parameters()).dtype
        out = run_in(self.model, self.compute_dtype, patches.to(dtype), None, grid)
        features: Tensor = out.last_hidden_state
        return features


def _one_grid(model: Any, *, crop: bool) -> Any:
    """Let the network make one position table for a batch whose pictures share a grid.

    The library resamples its table once per picture; for equal grids the result is the same, and
    where the grid is the learned one, resampling is the identity. With `crop` the table is cut:
    position row x side + col, as a tower has it that looks its positions up by number. Source:
    arXiv 2505.14683, siglip_navit.py of the public code.
    """
    resample = model.embeddings.resize_positional_embeddings

    def once(
        positions: Float[Tensor, "rows cols hidden"],
        grids: Int64[Tensor, "1 2"],
        max_length: int,
    ) -> Float[Tensor, "1 tokens hidden"]:
        rows, cols = grids[0].tolist()
        if crop or tuple(positions.shape[:2]) == (rows, cols):
            return positions[:rows, :cols].reshape(1, max_length, -1)
        table: Tensor = resample(positions, grids, max_length)
        return table

    model.embeddings.resize_positional_embeddings = once
    return model
