"""Rotary positions (time, row, column) of text and picture tokens.

In: a document's running time and the positions config. Out: float32 arrays [tokens, 3]; the
rotation itself is `mogao.model.rope`. Rows and columns restart at 0 for every picture, so all
pictures share one spatial frame; the three copies of a picture share all ids.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from mogao.config import IlRopeConfig, LayoutConfig, MRopeConfig, PositionsConfig

Positions = Float32[np.ndarray, "tokens 3"]


def text_positions(time: int, num_tokens: int, config: PositionsConfig) -> Positions:
    """Return positions of `num_tokens` text tokens whose first has time `time`.

    Source: arXiv 2505.05472, IL-RoPE (`text_axes: zero`); `same` equals the one-axis rotary
    embedding of a language model, docs/decisions.md.
    """
    spread = isinstance(config, MRopeConfig) or (
        isinstance(config, IlRopeConfig) and config.text_axes == "same"
    )
    positions = np.zeros((num_tokens, 3), np.float32)
    axes = slice(None) if spread else slice(1)
    positions[:, axes] = np.arange(time, time + num_tokens, dtype=np.float32)[:, None]
    return positions


def image_positions(time: int, grid: tuple[int, int], config: PositionsConfig) -> Positions:
    """Return positions of a picture of `grid` = (rows, cols) tokens, row-major.

    Source: arXiv 2505.05472, IL-RoPE; M-RoPE (arXiv 2409.12191, section 2.1) starts its rows and
    columns at the running time instead of 0.
    """
    rows, cols = np.indices(grid, dtype=np.float32).reshape(2, -1)
    times = np.full_like(rows, time)
    origin = time if isinstance(config, MRopeConfig) else 0
    return np.stack([times, rows + origin, cols + origin], axis=1)


def boundary_positions(time: int) -> Positions:
    """Return positions of the two boundary tokens of one copy of a picture, at its time."""
    return np.array([[time, 0, 0], [time, 0, 0]], np.float32)


def image_advance(grid: tuple[int, int], config: PositionsConfig, layout: LayoutConfig) -> int:
    """Return how far the running time moves behind a picture."""
    return max(grid) if isinstance(config, MRopeConfig) else layout.position_step
