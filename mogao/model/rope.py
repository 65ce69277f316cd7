"""Rotary embedding over (time, row, column): which axis turns which frequency, and the turn.

In: positions [tokens, 3]. Out: cosines and sines per token, and rotated queries and keys. The
pairing is that of Llama and Qwen2: pair i is channels i and i + head_dim / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from mogao.config import IlRopeConfig, MRopeConfig, PositionsConfig

TIME, ROW, COL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosines and sines of every token's angles, float32."""

    cos: Float32[Tensor, "tokens half_dim"]
    sin: Float32[Tensor, "tokens half_dim"]

    def slice(self, start: int, stop: int) -> Rotation:
        """Return the rotation of a range of tokens."""
        return Rotation(self.cos[start:stop], self.sin[start:stop])


def pair_axes(head_dim: int, config: PositionsConfig) -> Int64[Tensor, " half_dim"]:
    """Return the axis (0 time, 1 row, 2 column) that turns each channel pair.

    IL-RoPE interleaves time, row, column over the fast 3/8 of the pairs per head dimension and
    leaves the slowest pairs to time; M-RoPE cuts the pairs into chunks of 1/4, 3/8, 3/8.

    Source: arXiv 2505.05472, IL-RoPE (48 of 64 pairs interleaved at head_dim 128);
    arXiv 2409.12191, section 2.1 (sections 16, 24, 24).
    """
    pairs = torch.arange(head_dim // 2)
    if isinstance(config, IlRopeConfig):
        return torch.where(pairs < 3 * head_dim // 8, pairs % 3, TIME)
    if isinstance(config, MRopeConfig):
        return (pairs >= head_dim // 8).long() + (pairs >= 5 * head_dim // 16).long()
    return torch.zeros_like(pairs)


def rotation(
    positions: Float32[Tensor, "tokens 3"],
    config: PositionsConfig,
    *,
    head_dim: int,
    base: float,
) -> Rotation:
    """Return the rotation of each token: angle_i = position on the pair's axis x base^(-2i/d)."""
    axes = pair_axes(head_dim, config).to(positions.device)
    pairs = torch.arange(head_dim // 2, device=positions.device, dtype=torch.float32)
    frequencies = base ** (-2.0 * pairs / head_dim)
    angles = positions[:, axes] * frequencies
    return Rotation(angles.cos(), angles.sin())


def rotate(
    x: Float[Tensor, "tokens heads head_dim"], rotation: Rotation
) -> Float[Tensor, "tokens heads head_dim"]:
    """Turn queries or keys; computed in float32, returned in the input's dtype."""
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = rotation.cos[:, None], rotation.sin[:, None]
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)
