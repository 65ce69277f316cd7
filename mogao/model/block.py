"""One layer: two sets of weights, one joint attention, time modulation of the visual branch.

In: the hidden states of each branch (a slice each, never mixed), their rotations and the
modulation rows. Out: the same after one layer. No weight of a branch ever meets a token of the
other; they meet only in the attention. Source: arXiv 2505.05472 (deep fusion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn

from mogao.config import Branch, TransformerConfig
from mogao.model.attention import Attend
from mogao.model.rope import Rotation, rotate

Hidden = Float[Tensor, "tokens hidden"]
EitherBranch = Float[Tensor, "_ hidden"]  # the branches have different numbers of tokens
# Shift, scale, gate of attention, then of the feed-forward: [groups, 6, hidden]; each group is
# an equally long stretch of the branch's tokens.
Modulation = Float[Tensor, "groups 6 hidden"]

LONG_ROW = 512  # measured at widths of 256 and 576; docs/lab.md


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input; weights may be kept in float32."""

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return x W^T + b."""
        bias: Tensor | None = getattr(self, "bias", None)
        weight = self.weight if self.weight.dtype == x.dtype else self.weight.to(x.dtype)
        return project(x, weight, None if bias is None else bias.to(x.dtype))


def project(
    x: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "*rows outputs"]:
    """Return x W^T + b; all of one dtype, sums in float32."""
    is_compiled = torch.compiler.is_compiling() and not torch.is_grad_enabled()
    if is_compiled and x.shape[:-1].numel() == 1:
        # One row: the compiler's own product, fused with what surrounds it, reads the weight once;
        # the library's packs it anew in every call, and that of 8 bits is not bound by memory.
        found = _stored(weight)
        if found is not None:
            rows, scale = found
            out = _row_product(rows, x.reshape(-1))
            out = (out if scale is None else out * scale).view(*x.shape[:-1], -1)
            return (out if bias is None else out + bias.float()).to(x.dtype)
    return F.linear(x, weight, bias)


def _row_product(
    rows: Shaped[Tensor, "outputs inputs"], x: Float[Tensor, " inputs"]
) -> Float32[Tensor, " outputs"]:
    """Return the product of a matrix, maybe of bytes, with a vector, as compilers make it fast.

    A plain sum waits for the addition before; four parts are added up before it has to. Short
    rows end before that pays.
    """
    length = rows.shape[1]
    parts = 4 if length >= LONG_ROW and length % 64 == 0 else 1
    pairs = zip(rows.chunk(parts, dim=1), x.chunk(parts), strict=True)
    return reduce(torch.add, [part.float() * y.float() for part, y in pairs]).sum(dim=-1)


def _stored(weight: Tensor) -> tuple[Tensor, Tensor | None] | None:
    """What a matrix is in memory, and a factor for each row; None for other quantised ones."""
    if type(weight) in (Tensor, nn.Parameter):
        return weight, None
    # As `mogao.model.ready` makes them: 8 bits around zero, one scale a row.
    stored, scale = getattr(weight, "qdata", None), getattr(weight, "scale", None)
    if stored is None or scale is None or scale.shape != (len(weight), 1):
        return None
    return stored, scale.flatten()


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned gain, computed in float32."""

    def __init__(self, size: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*rows size"]) -> Float[Tensor, "*rows size"]:
        """Return the normalised input in its own dtype."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


class FeedForward(nn.Module):
    """SwiGLU (language-model weights) or squared ReLU (two matrices, fewer passes over memory)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.is_gated = config.ffn == "swiglu"
        width = config.ffn_hidden * (2 if self.is_gated else 1)
        self.up = Linear(config.hidden, width, bias=False)
        self.down = Linear(config.ffn_hidden, config.hidden, bias=False)

    def forward(self, x: Hidden) -> Hidden:
        """Return the feed-forward output, without residual."""
        if self.is_gated:
            gate, value = self.up(x).chunk(2, dim=-1)
            return self.down(F.silu(gate) * value)
        return self.down(F.relu(self.up(x)).square())


class BranchLayer(nn.Module):
    """All weights of one branch in one layer."""

    def __init__(self, config: TransformerConfig, branch: Branch) -> None:
        super().__init__()
        self.heads = (config.num_heads, config.num_kv_heads, config.num_kv_heads)
        self.head_dim = config.head_dim
        queries = config.num_heads * config.head_dim
        self.attention_norm = RMSNorm(config.hidden, eps=config.norm_eps)
        self.qkv = Linear(config.hidden, sum(self.heads) * config.head_dim, bias=config.qkv_bias)
        self.query_norm = self.key_norm = None
        if config.qk_norm[branch]:
            self.query_norm = RMSNorm(config.head_dim, eps=config.norm_eps)
            self.key_norm = RMSNorm(config.head_dim, eps=config.norm_eps)
        self.out = Linear(queries, config.hidden, bias=False)
        self.ffn_norm = RMSNorm(config.hidden, eps=config.norm_eps)
        self.ffn = FeedForward(config)

    def before(
        self, x: Hidden, rotation: Rotation, modulation: Modulation | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries and keys, and values, of the branch's tokens."""
        normed = modulate(self.attention_norm(x), modulation, first=0)
        qkv = rearrange(self.qkv(normed), "t (h e) -> t h e", e=self.head_dim)
        q, k, v = qkv.split(self.heads, dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        return rotate(q, rotation), rotate(k, rotation), v

    def after(
        self,
        x: Hidden,
        attended: Float[Tensor, "tokens heads head_dim"],
        modulation: Modulation | None,
    ) -> Hidden:
        """Return the branch's hidden states behind attention output and feed-forward."""
        x = x + gate(self.out(attended.flatten(1)), modulation, row=2)
        normed = modulate(self.ffn_norm(x), modulation, first=3)
        return x + gate(self.ffn(normed), modulation, row=5)


@dataclass(frozen=True, slots=True)
class BranchInput:
    """What a layer needs of one branch besides its hidden states."""

    rotation: Rotation
    modulation: Modulation | None


class Block(nn.Module):
    """One layer of the joint transformer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.text = BranchLayer(config, "text")
        self.visual = BranchLayer(config, "visual")

    def forward(
        self,
        hidden: Sequence[EitherBranch],
        inputs: Sequence[BranchInput],
        attend: Attend,
        *,
        layer: int,
    ) -> list[EitherBranch]:
        """Return the hidden states of both branches after this layer."""
        # An empty branch is left out, unless its weights wait for a gradient: sampling is mostly
        # in one branch, and there every operation counts.
        active = [i for i, x in enumerate(hidden) if len(x) or x.requires_grad]
        branches = (self.text, self.visual)
        before = [
            branches[i].before(hidden[i], inputs[i].rotation, inputs[i].modulation) for i in active
        ]
        parts = zip(*before, strict=True)
        q, k, v = before[0] if len(before) == 1 else (torch.cat(part) for part in parts)
        attended = attend(q, k, v, layer=layer).split([len(hidden[i]) for i in active])
        after = list(hidden)
        for i, values in zip(active, attended, strict=True):
            after[i] = branches[i].after(hidden[i], values, inputs[i].modulation)
        return after


def modulate(x: Hidden, modulation: Modulation | None, *, first: int) -> Hidden:
    """Return x * (1 + scale) + shift per group of tokens; x where there is no modulation.

    Source: arXiv 2212.09748, section 3.2 (adaLN), identity start by docs/decisions.md.
    """
    if modulation is None:
        return x
    shift, scale = modulation[:, None, first], modulation[:, None, first + 1]
    grouped = x.unflatten(0, (modulation.shape[0], -1))
    return (grouped * (1 + scale) + shift).flatten(0, 1)


def gate(x: Hidden, modulation: Modulation | None, *, row: int) -> Hidden:
    """Return x * (1 + gate) per group of tokens; x where there is no modulation."""
    if modulation is None:
        return x
    grouped = x.unflatten(0, (modulation.shape[0], -1))
    return (grouped * (1 + modulation[:, None, row])).flatten(0, 1)
