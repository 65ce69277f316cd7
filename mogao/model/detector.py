"""A small convolutional detector: which things lie where in a picture of the offline world.

In: pixels in [-1, 1]. Out: for each cell of a grid whether the centre of a thing lies there, and
what it is; for each picture its background. Points in place of boxes: arXiv 1904.07850.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from mogao.config import DetectorConfig, parse
from mogao.errors import CheckpointError
from mogao.files import atomic_write
from mogao.model.library import fill_weights, run_in, seeded, write_weights
from mogao.model.storage import read_object

WEIGHTS = "model.safetensors"
CELL = 8  # pixels of a picture's cell; the centre of cell i lies at pixel 8 * i
OFFSETS, SIZE = 2, 1  # columns of a cell: how far right and down of its centre, log2 of the size
UNIT_SIZE = 48  # pixels of a thing whose size column is 0


@dataclass(frozen=True, slots=True)
class Detections:
    """What the network says of pictures; all but `backgrounds` is [pictures, rows, cols, ...].

    Attributes:
        centre: Logit of a centre.
        place: Columns `OFFSETS` (right and down of the cell's centre, cells) and `SIZE`.
        concepts: Logits.
        styles: Logits.
        colours: Logits.
        backgrounds: Logits [pictures, backgrounds].
    """

    centre: Float32[Tensor, "pictures rows cols"]
    place: Float32[Tensor, "pictures rows cols 3"]
    concepts: Float32[Tensor, "pictures rows cols concepts"]
    styles: Float32[Tensor, "pictures rows cols styles"]
    colours: Float32[Tensor, "pictures rows cols colours"]
    backgrounds: Float32[Tensor, "pictures backgrounds"]


class Detector(nn.Module):
    """Two stages of residual blocks, at four and at eight pixels a cell, and one linear head.

    Attributes:
        config: Widths, depths and vocabularies.
        compute_dtype: Type inside the network; None is the type of the weights.
    """

    def __init__(
        self, config: DetectorConfig, *, compute_dtype: torch.dtype | None = None, seed: int = 0
    ) -> None:
        """Build a network with first weights that depend on `seed` only."""
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        fine, coarse = config.widths
        with seeded(seed):
            self.trunk = nn.Sequential(
                nn.PixelUnshuffle(CELL // 2),
                nn.Conv2d(3 * (CELL // 2) ** 2, fine, 3, padding=1),
                *(_Block(fine) for _ in range(config.depths[0])),
                nn.Conv2d(fine, coarse, 2, stride=2),
                *(_Block(coarse) for _ in range(config.depths[1])),
                nn.GroupNorm(1, coarse),
                nn.SiLU(),
            )
            self.cells = nn.Linear(coarse, sum(self._columns))
            self.pictures = nn.Linear(coarse, len(config.backgrounds))
        with torch.no_grad():
            self.cells.bias[0] = -4.0  # one cell in fifty holds a centre

    def forward(self, pixels: Float[Tensor, "pictures 3 height width"]) -> Detections:
        """Return what the network sees; sides are multiples of `CELL`."""
        dtype = self.compute_dtype or self.cells.weight.dtype
        features: Tensor = run_in(self.trunk, self.compute_dtype, pixels.to(dtype))
        rows = features.movedim(1, -1).float()
        cells = run_in(self.cells, torch.float32, rows)
        centre, place, concepts, styles, colours = cells.split(self._columns, -1)
        backgrounds = run_in(self.pictures, torch.float32, rows.mean(dim=(1, 2)))
        return Detections(centre[..., 0], place, concepts, styles, colours, backgrounds)

    @property
    def _columns(self) -> list[int]:
        known = self.config.concepts, self.config.styles, self.config.colours
        return [1, OFFSETS + SIZE, *map(len, known)]

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write `config.json` and the weights.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        write_weights(self, Path(folder) / WEIGHTS, dtype=dtype)
        atomic_write(Path(folder) / "config.json", self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Detector:
        """Open a folder of `save`; weights become float32.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit the config.
            ConfigError: The config has an unknown key or a value out of bounds.
        """
        where = Path(folder) / "config.json"
        if not where.is_file():
            raise CheckpointError(f"{where} is missing: {folder} holds no detector")
        detector = cls(parse(DetectorConfig, read_object(where), where=str(where)))
        fill_weights(detector, Path(folder) / WEIGHTS)
        return detector


class _Block(nn.Module):
    """Two convolutions behind norms, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(2))
        last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.convolutions = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1), last])

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            inner = convolution(F.silu(norm(inner)))
        return x + inner
