"""BAGEL at toy size, written down from the facts of its public code and nothing of ours.

Tensors under its key names in, states out: one function over tokens whose mask, rotary ids and
experts the caller gives. It is the slow, obvious version that our configuration is compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB = 32, 2, 4, 2, 8, 48, 272
VIT_HIDDEN, VIT_LAYERS, VIT_HEADS, VIT_FFN, PATCH, VIT_SIDE = 16, 2, 2, 24, 14, 4
LATENT_CHANNELS, LATENT_SIDE, EPS, BASE = 4, 5, 1e-6, 1e6

SETTINGS: dict[str, dict[str, Any]] = {
    "llm_config.json": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "intermediate_size": FFN, "vocab_size": VOCAB, "rms_norm_eps": EPS, "rope_theta": BASE,
        "tie_word_embeddings": False, "hidden_act": "silu", "use_sliding_window": False,
        "qk_norm": True, "layer_module": "Qwen2MoTDecoderLayer",
    },
    "vit_config.json": {
        "model_type": "siglip_vision_model", "hidden_size": VIT_HIDDEN,
        "image_size": VIT_SIDE * PATCH, "intermediate_size": VIT_FFN,
        "num_attention_heads": VIT_HEADS, "num_hidden_layers": VIT_LAYERS + 1, "patch_size": PATCH,
    },
    "config.json": {
        "max_latent_size": LATENT_SIDE, "vit_max_num_patch_per_side": VIT_SIDE,
        "vae_config": {"z_channels": LATENT_CHANNELS, "downsample": 8},
    },
}  # fmt: skip
AE_SETTINGS = {"ae.json": {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1,
                           "z_channels": LATENT_CHANNELS}}  # fmt: skip


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of `ema.safetensors`, spelt out."""
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    found: dict[str, tuple[int, ...]] = {
        "language_model.model.embed_tokens.weight": (VOCAB, HIDDEN),
        "language_model.lm_head.weight": (VOCAB, HIDDEN),
        "language_model.model.norm.weight": (HIDDEN,),
        "language_model.model.norm_moe_gen.weight": (HIDDEN,),
        "time_embedder.mlp.0.weight": (HIDDEN, 256),
        "time_embedder.mlp.0.bias": (HIDDEN,),
        "time_embedder.mlp.2.weight": (HIDDEN, HIDDEN),
        "time_embedder.mlp.2.bias": (HIDDEN,),
        "vae2llm.weight": (HIDDEN, 4 * LATENT_CHANNELS),
        "vae2llm.bias": (HIDDEN,),
        "llm2vae.weight": (4 * LATENT_CHANNELS, HIDDEN),
        "llm2vae.bias": (4 * LATENT_CHANNELS,),
        "latent_pos_embed.pos_embed": (LATENT_SIDE**2, HIDDEN),
        "vit_pos_embed.pos_embed": (VIT_SIDE**2, HIDDEN),
        "connector.fc1.weight": (HIDDEN, VIT_HIDDEN),
        "connector.fc1.bias": (HIDDEN,),
        "connector.fc2.weight": (HIDDEN, HIDDEN),
        "connector.fc2.bias": (HIDDEN,),
    }
    for layer in range(LAYERS):
        name = f"language_model.model.layers.{layer}."
        for gen in ("", "_moe_gen"):
            for linear, rows in (("q", queries), ("k", keys), ("v", keys)):
                found[f"{name}self_attn.{linear}_proj{gen}.weight"] = (rows, HIDDEN)
                found[f"{name}self_attn.{linear}_proj{gen}.bias"] = (rows,)
            found[f"{name}self_attn.o_proj{gen}.weight"] = (HIDDEN, queries)
            found[f"{name}self_attn.q_norm{gen}.weight"] = (HEAD_DIM,)
            found[f"{name}self_attn.k_norm{gen}.weight"] = (HEAD_DIM,)
            found[f"{name}input_layernorm{gen}.weight"] = (HIDDEN,)
            found[f"{name}post_attention_layernorm{gen}.weight"] = (HIDDEN,)
            found[f"{name}mlp{gen}.gate_proj.weight"] = (FFN, HIDDEN)
            found[f"{name}mlp{gen}.up_proj.weight"] = (FFN, HIDDEN)
            found[f"{name}mlp{gen}.down_proj.weight"] = (HIDDEN, FFN)
    vit = "vit_model.vision_model."
    found |= {
        f"{vit}embeddings.patch_embedding.weight": (VIT_HIDDEN, 3 * PATCH**2),
        f"{vit}embeddings.patch_embedding.bias": (VIT_HIDDEN,),
        f"{vit}embeddings.position_embedding.weight": (VIT_SIDE**2, VIT_HIDDEN),
        f"{vit}post_layernorm.weight": (VIT_HIDDEN,),
        f"{vit}post_layernorm.bias": (VIT_HIDDEN,),
    }
    for layer in range(VIT_LAYERS):
        name = f"{vit}encoder.layers.{layer}."
        for norm in ("layer_norm1", "layer_norm2"):
            found |= {f"{name}{norm}.weight": (VIT_HIDDEN,), f"{name}{norm}.bias": (VIT_HIDDEN,)}
        for linear in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found[f"{name}self_attn.{linear}.weight"] = (VIT_HIDDEN, VIT_HIDDEN)
            found[f"{name}self_attn.{linear}.bias"] = (VIT_HIDDEN,)
        found |= {
            f"{name}mlp.fc1.weight": (VIT_FFN, VIT_HIDDEN), f"{name}mlp.fc1.bias": (VIT_FFN,),
            f"{name}mlp.fc2.weight": (VIT_HIDDEN, VIT_FFN), f"{name}mlp.fc2.bias": (VIT_HIDDEN,),
        }  # fmt: skip
    return found


def tensors(seed: int = 0) -> dict[str, Tensor]:
    """A toy checkpoint in which every tensor matters."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes().items():
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 0.3
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        found[name] = centre + scale * torch.randn(shape, generator=generator)
    return found


@dataclass(frozen=True)
class Tokens:
    """Some tokens of a sequence: hidden inputs, rotary ids, which expert, how the split attends."""

    inputs: Tensor
    ids: list[int]
    is_generation: list[bool]
    mode: str  # causal, full or noise


class Reference:
    """The toy model as functions of its tensors."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.w = weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def text(self, ids: list[int], start: int) -> Tokens:
        """A text with its boundary ids, whose first token has rotary id `start`."""
        embedded = self.w["language_model.model.embed_tokens.weight"][ids]
        return Tokens(embedded, list(range(start, start + len(ids))), [False] * len(ids), "causal")

    def vit(self, pixels: Tensor, boundary: tuple[int, int], rope: int) -> Tokens:
        """A picture [3, height, width] in [-1, 1] for understanding."""
        rows, cols = pixels.shape[1] // PATCH, pixels.shape[2] // PATCH
        patches = pixels.reshape(3, rows, PATCH, cols, PATCH).permute(1, 3, 2, 4, 0)
        places = (torch.arange(rows)[:, None] * VIT_SIDE + torch.arange(cols)).flatten()
        features = self.tower(patches.reshape(rows * cols, -1), places)
        inner = F.gelu(self.linear("connector.fc1", features), approximate="tanh")
        inside = self.linear("connector.fc2", inner) + self.w["vit_pos_embed.pos_embed"][places]
        return self._framed(inside, boundary, rope, is_generation=False, mode="full")

    def latents(
        self, latents: Tensor, grid: tuple[int, int], boundary: tuple[int, int], *, t: float,
        rope: int, mode: str,
    ) -> Tokens:  # fmt: skip
        """Latent patches at noise level t; 0 is clean."""
        places = (torch.arange(grid[0])[:, None] * LATENT_SIDE + torch.arange(grid[1])).flatten()
        angles = t * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        waves = torch.cat((angles.cos(), angles.sin()))
        time = self.linear("time_embedder.mlp.2", F.silu(self.linear("time_embedder.mlp.0", waves)))
        inside = self.linear("vae2llm", latents) + time
        inside = inside + self.w["latent_pos_embed.pos_embed"][places]
        return self._framed(inside, boundary, rope, is_generation=True, mode=mode)

    def tower(self, patches: Tensor, places: Tensor) -> Tensor:
        """Features of patches: all layers that the file holds, then the last norm."""
        name = "vit_model.vision_model."
        x = self.linear(f"{name}embeddings.patch_embedding", patches)
        x = x + self.w[f"{name}embeddings.position_embedding.weight"][places]
        for layer in range(VIT_LAYERS):
            at = f"{name}encoder.layers.{layer}."
            normed = self._layer_norm(f"{at}layer_norm1", x)
            q, k, v = (
                self.linear(f"{at}self_attn.{one}_proj", normed)
                .unflatten(-1, (VIT_HEADS, -1)).transpose(0, 1)
                for one in "qkv"
            )  # fmt: skip
            scores = (q @ k.mT / (VIT_HIDDEN / VIT_HEADS) ** 0.5).softmax(-1)
            x = x + self.linear(f"{at}self_attn.out_proj", (scores @ v).transpose(0, 1).flatten(1))
            normed = self._layer_norm(f"{at}layer_norm2", x)
            inner = F.gelu(self.linear(f"{at}mlp.fc1", normed), approximate="tanh")
            x = x + self.linear(f"{at}mlp.fc2", inner)
        return self._layer_norm(f"{name}post_layernorm", x)

    def states(self, parts: list[Tokens]) -> list[Tensor]:
        """Final states of each part, behind the last norm of its tokens' expert."""
        x = torch.cat([part.inputs for part in parts])
        ids = torch.tensor([i for part in parts for i in part.ids])
        gen = torch.tensor([g for part in parts for g in part.is_generation])
        mask = _mask(parts)
        for layer in range(LAYERS):
            x = self._layer(f"language_model.model.layers.{layer}.", x, gen, ids, mask)
        final = self._by_expert(x, gen, lambda n, y: self._rms(f"language_model.model.norm{n}", y))
        return list(final.split([len(part.ids) for part in parts]))

    def logits(self, states: Tensor) -> Tensor:
        return self.linear("language_model.lm_head", states)

    def velocity(self, states: Tensor) -> Tensor:
        """Of the states of a picture with its two boundary tokens."""
        return self.linear("llm2vae", states[1:-1])

    def _layer(self, at: str, x: Tensor, gen: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        def norm(name: str, y: Tensor) -> Tensor:
            return self._by_expert(y, gen, lambda n, z: self._rms(f"{at}{name}{n}", z))

        def project(name: str, y: Tensor) -> Tensor:
            return self._by_expert(y, gen, lambda n, z: self.linear(f"{at}self_attn.{name}{n}", z))

        normed = norm("input_layernorm", x)
        q, k, v = (project(f"{one}_proj", normed).unflatten(-1, (-1, HEAD_DIM)) for one in "qkv")
        q, k = _turned(norm("self_attn.q_norm", q), ids), _turned(norm("self_attn.k_norm", k), ids)
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, dim=1) for y in (k, v))
        scores = torch.einsum("qhe,khe->hqk", q, k) / HEAD_DIM**0.5
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        x = x + project("o_proj", torch.einsum("hqk,khe->qhe", weights, v).flatten(1))
        normed = norm("post_attention_layernorm", x)
        return x + self._by_expert(normed, gen, lambda n, y: self._mlp(f"{at}mlp{n}", y))

    def _framed(
        self,
        inside: Tensor,
        boundary: tuple[int, int],
        rope: int,
        *,
        is_generation: bool,
        mode: str,
    ) -> Tokens:
        before, behind = self.w["language_model.model.embed_tokens.weight"][list(boundary)]
        inputs = torch.cat((before[None], inside, behind[None]))
        count = len(inputs)
        experts = [False, *([is_generation] * (count - 2)), False]
        return Tokens(inputs, [rope] * count, experts, mode)

    def _by_expert(self, x: Tensor, gen: Tensor, function: Any) -> Tensor:
        understood, made = function("", x), function("_moe_gen", x)
        return torch.where(gen.view(-1, *[1] * (understood.dim() - 1)), made, understood)

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        gate = F.silu(self.linear(f"{name}.gate_proj", x))
        return self.linear(f"{name}.down_proj", gate * self.linear(f"{name}.up_proj", x))

    def _rms(self, name: str, x: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * self.w[f"{name}.weight"]

    def _layer_norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)


def _mask(parts: list[Tokens]) -> Tensor:
    """All of every earlier part but noise; the own part whole, or causal where it is text."""
    counts = [len(part.ids) for part in parts]
    mask = torch.zeros(sum(counts), sum(counts), dtype=torch.bool)
    start = 0
    for part, count in zip(parts, counts, strict=True):
        stop = start + count
        mask[start:stop, :start] = True
        own = torch.ones(count, count, dtype=torch.bool)
        mask[start:stop, start:stop] = own.tril() if part.mode == "causal" else own
        start = stop
    start = 0
    for part, count in zip(parts, counts, strict=True):
        if part.mode == "noise":
            mask[:start, start : start + count] = False
            mask[start + count :, start : start + count] = False
        start += count
    return mask


def _turned(x: Tensor, ids: Tensor) -> Tensor:
    frequencies = BASE ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angles = (ids[:, None] * frequencies).repeat(1, 2)[:, None]
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()
