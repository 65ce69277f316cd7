"""Into and out of the hidden states: tokens, understanding features, latents, time, heads.

In: token ids, vision features, latent patches and flow times. Out: hidden states; and from final
hidden states, text logits and velocities. Times condition only generation tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from mogao.config import InputTime, LowRankAdaLN, SharedAdaLN, TransformerConfig
from mogao.model.block import Hidden, Linear, RMSNorm, project

TIME_CHANNELS = 256
# t is in [0, 1]; the sinusoids are spaced for 0 to 1,000, so t is stretched before them.
TIME_STRETCH = 1000.0


def sinusoids(
    t: Float32[Tensor, " rows"], *, stretch: float = TIME_STRETCH
) -> Float32[Tensor, "rows 256"]:
    """Return cosines and sines of flow times at geometrically spaced frequencies.

    Source: arXiv 2212.09748 (DiT time embedding), after arXiv 1706.03762, section 3.5.
    """
    half = TIME_CHANNELS // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / half
    angles = stretch * t.float()[:, None] * 10_000.0**-exponents
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class TimeEmbedding(nn.Module):
    """Flow time to a hidden vector: sinusoids and a two-layer perceptron."""

    def __init__(self, hidden: int, *, stretch: float = TIME_STRETCH) -> None:
        super().__init__()
        self.stretch = stretch
        self.first = Linear(TIME_CHANNELS, hidden)
        self.second = Linear(hidden, hidden)

    def forward(self, t: Float32[Tensor, " rows"]) -> Float32[Tensor, "rows hidden"]:
        """Return one vector per time, float32."""
        out: Tensor = self.second(F.silu(self.first(sinusoids(t, stretch=self.stretch))))
        return out


def grid_table(side: int, hidden: int) -> Float32[Tensor, "cells hidden"]:
    """Return the sine-cosine table of a square of `side` x `side` cells, row by row.

    The first half of the channels tells the column, the second the row; in each half sines come
    before cosines. Source: arXiv 2111.06377 (fixed 2-D positions), as arXiv 2505.14683 uses it.
    """
    quarter = hidden // 4
    exponents = torch.arange(quarter, dtype=torch.float64) / quarter
    angles = torch.arange(side, dtype=torch.float64)[:, None] * 10_000.0**-exponents
    axis = torch.cat((angles.sin(), angles.cos()), dim=-1)
    return torch.cat((axis.repeat(side, 1), axis.repeat_interleave(side, dim=0)), dim=-1).float()


class GridTable(nn.Module):
    """A frozen table of 2-D positions; picture tokens add the row of their cell."""

    def __init__(self, side: int, hidden: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(grid_table(side, hidden), requires_grad=False)

    def forward(
        self, positions: Float32[Tensor, "tokens 3"], dtype: torch.dtype
    ) -> Float[Tensor, "tokens hidden"]:
        """Return the rows of cells given as (time, row, column)."""
        cells = (positions[:, 1] * self.side + positions[:, 2]).long()
        return self.weight.index_select(0, cells).to(dtype)


class Modulator(nn.Module):
    """From time embeddings to (shift, scale, gate) x (attention, feed-forward) of every layer.

    Both forms start at zero, so that a visual branch copied from a language model computes what
    the language model computed. Source: shared head with a table per layer as in arXiv 2310.00426
    (adaLN-single); low-rank form: own design, docs/decisions.md.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.hidden, self.num_layers = config.hidden, config.num_layers
        width = 6 * config.hidden
        self.head = self.table = self.downs = self.ups = None
        if isinstance(config.time, SharedAdaLN):
            self.head = Linear(config.hidden, width)
            self.table = nn.Parameter(torch.zeros(config.num_layers, width))
        elif isinstance(config.time, LowRankAdaLN):
            rank = config.time.rank
            layers = range(config.num_layers)
            self.downs = nn.ModuleList(Linear(config.hidden, rank, bias=False) for _ in layers)
            self.ups = nn.ModuleList(Linear(rank, width) for _ in layers)

    def forward(
        self, embedded: Float32[Tensor, "rows hidden"]
    ) -> list[Float32[Tensor, "rows 6 hidden"] | None]:
        """Return the modulation rows of each layer; None where time enters at the input."""
        active = F.silu(embedded)
        if self.head is not None and self.table is not None:
            shared = self.head(active)
            rows = [shared + row for row in self.table]
        elif self.downs is not None and self.ups is not None:
            rows = [up(down(active)) for down, up in zip(self.downs, self.ups, strict=True)]
        else:
            return [None] * self.num_layers
        return [row.unflatten(-1, (6, self.hidden)) for row in rows]


class Embedding(nn.Module):
    """Everything that enters the transformer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.hidden)
        self.connector_in = Linear(config.vision_dim, config.hidden)
        self.connector_out = Linear(config.hidden, config.hidden)
        self.connector_form = {"gelu": "none", "gelu_tanh": "tanh"}[config.connector_activation]
        self.latents = Linear(config.latent_dim, config.hidden)
        stretch = config.time.stretch if isinstance(config.time, InputTime) else TIME_STRETCH
        self.time = TimeEmbedding(config.hidden, stretch=stretch)
        self.vit_grid = self.latent_grid = None
        if (tables := config.grid_tables) is not None:
            self.vit_grid = GridTable(tables.vit_side, config.hidden)
            self.latent_grid = GridTable(tables.latent_side, config.hidden)

    def text(self, ids: Int64[Tensor, " tokens"], dtype: torch.dtype) -> Hidden:
        """Return the embedding of token ids."""
        return F.embedding(ids, self.tokens.weight).to(dtype)

    def vit(self, features: Float[Tensor, "tokens vision_dim"], dtype: torch.dtype) -> Hidden:
        """Return understanding features through the connector, a two-layer perceptron."""
        inner = F.gelu(self.connector_in(features.to(dtype)), approximate=self.connector_form)
        out: Tensor = self.connector_out(inner)
        return out

    def generation(self, latents: Float[Tensor, "tokens latent_dim"], dtype: torch.dtype) -> Hidden:
        """Return the embedding of latent patches, clean or noisy."""
        out: Tensor = self.latents(latents.to(dtype))
        return out


class TextHead(nn.Module):
    """Final norm and vocabulary projection; `tied` is the embedding where weights are shared."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden, eps=config.norm_eps)
        self.projection: Linear | None = None
        if not config.tied_embeddings:
            self.projection = Linear(config.hidden, config.vocab_size, bias=False)

    def forward(self, hidden: Hidden, tied: Tensor) -> Float32[Tensor, "tokens vocab"]:
        """Return logits, float32."""
        weight = tied if self.projection is None else self.projection.weight
        return project(self.norm(hidden), weight.to(hidden.dtype)).float()


class VelocityHead(nn.Module):
    """Final norm, time modulation and projection to latent patches; starts at zero.

    Where time enters at the input, it does not modulate here.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden, eps=config.norm_eps)
        self.modulation: Linear | None = None
        if not isinstance(config.time, InputTime):
            self.modulation = Linear(config.hidden, 2 * config.hidden)
        self.projection = Linear(config.hidden, config.latent_dim)

    def forward(
        self, hidden: Hidden, embedded: Float32[Tensor, "groups hidden"]
    ) -> Float32[Tensor, "tokens latent_dim"]:
        """Return velocities, float32; each row of `embedded` serves an equal stretch of tokens."""
        normed = self.norm(hidden)
        if self.modulation is not None:
            shift, scale = self.modulation(F.silu(embedded)).to(hidden.dtype).chunk(2, dim=-1)
            grouped = normed.unflatten(0, (embedded.shape[0], -1))
            normed = (grouped * (1 + scale[:, None]) + shift[:, None]).flatten(0, 1)
        out: Tensor = self.projection(normed)
        return out.float()
