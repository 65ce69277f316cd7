"""What a training step keeps for its backward pass, in bytes, piece by piece.

In: a config, `Work` and a compute type. Out: bytes. Each term names tensors that the layers of
`mogao.model` save; a test holds the sums against the tensors that autograd really keeps. They are
those of layers that are not compiled: fused kernels keep less. Table: docs/plan.md.
"""

from __future__ import annotations

from typing import Literal

import torch

from mogao.config import Branch, InputTime, ModelConfig, TransformerConfig, VisionConfig
from mogao.packing.layout import TokenKind
from mogao.plan.work import Work

Backend = Literal["dense", "segments", "flex"]
FLOAT32_BYTES = 4
INDEX_BYTES = 8


def backend_of(name: Literal["auto", "dense", "segments", "flex"], *, on_cuda: bool) -> Backend:
    """Return the attention back-end that a run's setting means."""
    if name == "auto":
        return "flex" if on_cuda else "segments"
    return name


def kept_bytes(
    model: ModelConfig,
    work: Work,
    *,
    dtype: torch.dtype,
    backend: Backend,
    recompute: bool,
    trains_vision: bool,
) -> dict[str, float]:
    """Return what is kept at the end of a forward pass: layers, encoder, inputs and heads."""
    config, size = model.transformer, dtype.itemsize
    layers = layer_bytes(config, work, dtype=dtype, backend=backend)
    if recompute:
        layers = size * work.total * config.hidden
    encoder = vision_bytes(model.vision, work.tokens[TokenKind.VIT], size=size)
    return {
        "layers": config.num_layers * layers,
        "encoder": encoder if trains_vision else 0.0,
        "ends": end_bytes(config, work, size=size),
    }


def layer_bytes(
    config: TransformerConfig, work: Work, *, dtype: torch.dtype, backend: Backend
) -> float:
    """Return what one layer keeps: both branches and the attention between them."""
    size = dtype.itemsize
    total = attention_bytes(config, work, size=size, backend=backend)
    branches: tuple[Branch, Branch] = ("text", "visual")
    for branch, tokens, groups in zip(branches, work.branches, work.time_groups, strict=True):
        total += tokens * _token_bytes(config, branch, size=size)
        if groups:
            # What each of the two modulations and two gates multiplies, and 1 + scale, 1 + gate.
            total += 4 * size * config.hidden * (tokens + groups)
    return total


def _token_bytes(config: TransformerConfig, branch: Branch, *, size: int) -> int:
    """What a branch of a layer keeps of one token, modulation apart."""
    queries, keys = _widths(config)
    # The input of each norm and the normed input, in float32, and the input of the matrix behind.
    total = 2 * (2 * FLOAT32_BYTES + size) * config.hidden
    if config.qk_norm[branch]:
        # In float32 the norm keeps the fused projection itself, otherwise a float32 copy.
        read = queries + (2 * keys if size == FLOAT32_BYTES else keys)
        total += FLOAT32_BYTES * (read + queries + keys)
    # The attended values, then gate, value, activated gate and product; or the two squared ones.
    widths = 4 if config.ffn == "swiglu" else 2
    return total + size * (queries + widths * config.ffn_hidden)


def attention_bytes(config: TransformerConfig, work: Work, *, size: int, backend: Backend) -> float:
    """Return what the attention of one layer keeps.

    `dense` and `segments` keep scaled queries, keys, values and all probabilities; `flex` keeps
    queries, keys, values, its output and one float32 number per query and head.
    """
    queries, keys = _widths(config)
    if backend == "flex":
        per_token = size * (2 * queries + 2 * keys) + FLOAT32_BYTES * config.num_heads
        return work.total * per_token
    rows, columns, area = work.padded
    if backend == "dense":
        rows, columns, area = work.total, work.total, work.total**2
    return size * (queries * rows + 2 * keys * columns + config.num_heads * area)


def vision_bytes(config: VisionConfig, tokens: float, *, size: int) -> float:
    """Return what the understanding encoder keeps for so many VIT tokens."""
    # Inputs and outputs of two norms, queries, keys, values, attended values; both sides of GELU.
    layer = size * (8 * config.hidden + 2 * config.ffn_hidden) + FLOAT32_BYTES * config.num_heads
    ends = size * (3 * config.patch_pixels**2 + config.hidden)
    return tokens * (config.num_layers * layer + ends)


def end_bytes(config: TransformerConfig, work: Work, *, size: int) -> float:
    """Return what lies before the first layer and behind the last one, losses included."""
    tokens, hidden = work.tokens, config.hidden
    latents = tokens[TokenKind.CLEAN] + tokens[TokenKind.NOISY]
    connector = tokens[TokenKind.VIT] * size * (config.vision_dim + 2 * hidden)
    indices = INDEX_BYTES * (work.total + tokens[TokenKind.TEXT])
    norm = (2 * FLOAT32_BYTES + size) * hidden
    modulated = 0 if isinstance(config.time, InputTime) else size * hidden
    velocity = norm + modulated + FLOAT32_BYTES * config.latent_dim
    # The loss keeps the logarithms of all probabilities.
    text = norm + FLOAT32_BYTES * config.vocab_size
    return (
        indices
        + connector
        + latents * size * config.latent_dim
        + tokens[TokenKind.NOISY] * velocity
        + work.predictions * text
    )


def _widths(config: TransformerConfig) -> tuple[int, int]:
    """Channels of all query heads and of all key heads."""
    return config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
