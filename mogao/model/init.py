"""How weights start: one rule for a weight of a name and a shape, for whole models and for parts.

Matrices are normal with standard deviation 1 / sqrt(inputs); projections that write into the
residual stream are scaled down by depth; the velocity head and the modulation start at zero, norms
at one.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from mogao.model.embed import grid_table
from mogao.model.transformer import MogaoTransformer

EMBEDDING_STD = 0.02
NEW_ROW_NOISE = 0.1
"""Noise of a new vocabulary row, in standard deviations of the rows that are there."""
ROWS_AT_ONCE = 1 << 13
ZEROS = ("velocity_head.modulation.", "velocity_head.projection.", "modulator.head.",
         "modulator.ups.", "modulator.table")  # fmt: skip
TABLES = ("embedding.vit_grid.weight", "embedding.latent_grid.weight")
"""Frozen: computed, never drawn."""


def initialise(transformer: MogaoTransformer, *, generator: torch.Generator) -> None:
    """Fill all weights in place from one generator.

    Source: depth scaling as in GPT-2 (Radford et al. 2019, section 2.3); zero heads by
    arXiv 2212.09748 and docs/decisions.md.
    """
    num_layers = transformer.config.num_layers
    with torch.no_grad():
        for name, weight in transformer.named_parameters():
            if name in TABLES:
                continue
            std = first_std(name, tuple(weight.shape), num_layers=num_layers)
            if weight.ndim == 2 and name.endswith(".weight"):
                # A matrix that starts at zero takes its draws too: those behind it stay the same.
                weight.normal_(0.0, std or 1.0, generator=generator)
            if not std:
                weight.fill_(first_value(name))


def first_weight(name: str, shape: tuple[int, ...], *, num_layers: int, seed: int = 0) -> Tensor:
    """Return how a weight starts, float32; its draws depend on `seed` and its name only.

    Args:
        name: In the state dict of `MogaoTransformer`.
        shape: Its shape.
        num_layers: Of the transformer.
        seed: Of the model.
    """
    if name in TABLES:
        return grid_table(math.isqrt(shape[0]), shape[1])
    std = first_std(name, shape, num_layers=num_layers)
    weight = torch.full(shape, first_value(name))
    return weight.normal_(0.0, std, generator=_generator(name, seed)) if std else weight


def first_std(name: str, shape: tuple[int, ...], *, num_layers: int) -> float:
    """Return the standard deviation of a weight's first values; 0 where they are all the same."""
    if len(shape) != 2 or name.startswith(ZEROS):
        return 0.0
    if name == "embedding.tokens.weight":
        return EMBEDDING_STD
    writes_residual = name.endswith((".out.weight", ".ffn.down.weight"))
    depth_scale: float = (2 * num_layers) ** -0.5
    return float(shape[1] ** -0.5) * (depth_scale if writes_residual else 1.0)


def first_value(name: str) -> float:
    """Return what a weight starts as that is not drawn: gains of norms 1, all else 0."""
    return 1.0 if name.endswith("norm.weight") else 0.0


def extended(rows: Tensor, num_rows: int, *, name: str, seed: int = 0) -> Tensor:
    """Return a vocabulary matrix with new rows: the mean of the old ones plus a little noise.

    A new token then starts as likely as an average one and not, as rows around zero would, above
    all others. Source: docs/decisions.md.

    Args:
        rows: The matrix of a language model.
        num_rows: Rows of the result; the first are those of `rows`, bit for bit.
        name: Of the weight; its draws depend on it and `seed` only.
        seed: Of the model.
    """
    blocks = rows.split(ROWS_AT_ONCE)
    mean = torch.stack([block.double().sum(dim=0) for block in blocks]).sum(dim=0) / len(rows)
    squares = sum(float((block.double() - mean).square().sum()) for block in blocks)
    shape = (num_rows - len(rows), rows.shape[1])
    noise = torch.randn(shape, generator=_generator(name, seed))
    new = mean + NEW_ROW_NOISE * (squares / rows.numel()) ** 0.5 * noise
    return torch.cat((rows, new.to(rows.dtype)))


def copy_text_to_visual(transformer: MogaoTransformer) -> None:
    """Copy every text-branch weight into the visual branch, in place: the language-model start."""
    with torch.no_grad():
        for block in transformer.layers:
            block.visual.load_state_dict(block.text.state_dict(), strict=True)


def _generator(name: str, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
