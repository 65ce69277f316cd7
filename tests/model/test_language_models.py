"""Invariant 9: with a language model's weights, text-only logits are the language model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from mogao.config import IlRopeConfig, OneDConfig, PositionsConfig, TransformerConfig
from mogao.flow import FlowInputs
from mogao.model.attention import Backend
from mogao.model.init import copy_text_to_visual, initialise
from mogao.model.transformer import MogaoTransformer
from mogao.packing.layout import lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.sequence import InterleavedSequence, TextSegment
from tests.packs import VOCABULARY, relative
from tests.tiny import tiny_config
from tests.tolerances import COPIED_WEIGHTS

ROPE_BASE = 500.0
TEXTS = ("a language model read this before", "and that")
SIZES = {"vocab_size": 160, "hidden": 48, "num_layers": 2, "num_heads": 6, "num_kv_heads": 2,
         "head_dim": 16, "ffn_hidden": 56}  # fmt: skip
POSITIONS: dict[str, PositionsConfig] = {
    "one_d": OneDConfig(),
    "same": IlRopeConfig(text_axes="same"),
}


@dataclass(frozen=True)
class Family:
    """A family of language models and what it has that others have not."""

    name: str
    qkv_bias: bool = False
    qk_norm: bool = False

    def model(self, *, tied: bool) -> nn.Module:
        """A random model in which no weight has the value it starts with."""
        config = getattr(transformers, f"{self.name}Config")(
            vocab_size=SIZES["vocab_size"],
            hidden_size=SIZES["hidden"],
            num_hidden_layers=SIZES["num_layers"],
            num_attention_heads=SIZES["num_heads"],
            num_key_value_heads=SIZES["num_kv_heads"],
            head_dim=SIZES["head_dim"],
            intermediate_size=SIZES["ffn_hidden"],
            max_position_embeddings=64,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
            tie_word_embeddings=tied,
            attn_implementation="eager",
        )
        found: nn.Module = getattr(transformers, f"{self.name}ForCausalLM")(config)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in found.parameters():
                weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
        return found.eval()

    def settings(self, positions: PositionsConfig, *, tied: bool) -> TransformerConfig:
        """The transformer that this family's weights fit; QK-norm of text only where it has it."""
        return tiny_config(
            **SIZES,
            ffn="swiglu",
            norm_eps=1e-5,
            qkv_bias=self.qkv_bias,
            qk_norm={"text": self.qk_norm, "visual": self.qk_norm},
            tied_embeddings=tied,
            rope_base=ROPE_BASE,
            positions=positions,
        ).transformer


FAMILIES = (Family("Llama"), Family("Qwen2", qkv_bias=True), Family("Qwen3", qk_norm=True))


def renamed(source: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a language model under our names.

    No row of a query or key moves: both sides pair channel i with i + head_dim / 2, and with
    `same` positions every pair is turned by the time, whatever axis it belongs to.
    """
    found = {"embedding.tokens.weight": source["model.embed_tokens.weight"],
             "text_head.norm.weight": source["model.norm.weight"],
             "text_head.projection.weight": source["lm_head.weight"]}  # fmt: skip
    for layer in range(SIZES["num_layers"]):
        theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}.text."
        attention = f"{theirs}self_attn."
        for kind in ("weight", "bias"):
            if f"{attention}q_proj.{kind}" in source:
                found[f"{ours}qkv.{kind}"] = torch.cat(
                    [source[f"{attention}{part}_proj.{kind}"] for part in "qkv"]
                )
        for their, our in (("q_norm", "query_norm"), ("k_norm", "key_norm")):
            if f"{attention}{their}.weight" in source:
                found[f"{ours}{our}.weight"] = source[f"{attention}{their}.weight"]
        found[f"{ours}out.weight"] = source[f"{attention}o_proj.weight"]
        found[f"{ours}attention_norm.weight"] = source[f"{theirs}input_layernorm.weight"]
        found[f"{ours}ffn_norm.weight"] = source[f"{theirs}post_attention_layernorm.weight"]
        found[f"{ours}ffn.up.weight"] = torch.cat(
            [source[f"{theirs}mlp.{part}_proj.weight"] for part in ("gate", "up")]
        )
        found[f"{ours}ffn.down.weight"] = source[f"{theirs}mlp.down_proj.weight"]
    return found


def with_weights_of(source: nn.Module, settings: TransformerConfig) -> MogaoTransformer:
    """Our transformer with all weights of text from a language model."""
    transformer = MogaoTransformer(settings)
    initialise(transformer, generator=torch.Generator().manual_seed(1))
    weights = renamed(dict(source.state_dict()))
    if settings.tied_embeddings:
        del weights["text_head.projection.weight"]
    own = {name for name in transformer.state_dict() if ".text." in name or "text_head" in name}
    assert own | {"embedding.tokens.weight"} == set(weights)
    transformer.load_state_dict(weights, strict=False)
    copy_text_to_visual(transformer)
    return transformer


def text_pack(settings: TransformerConfig) -> PackedBatch:
    """Two documents of nothing but text, in one pack."""
    layouts = [
        layout
        for text in TEXTS
        for layout in lay_out(InterleavedSequence((TextSegment(text),)), VOCABULARY, settings)
    ]
    return pack(layouts, settings, latents=lambda _: [])


@torch.inference_mode()
def our_logits(
    transformer: MogaoTransformer, batch: PackedBatch, *, backend: Backend = "auto"
) -> Tensor:
    nothing = torch.zeros(0, transformer.config.latent_dim)
    flow = FlowInputs(nothing, torch.zeros(0), nothing)
    features = torch.zeros(0, transformer.config.vision_dim)
    return transformer(batch, flow, vit_features=features, backend=backend).logits


@torch.inference_mode()
def their_logits(source: nn.Module) -> Tensor:
    """Logits of each document alone: the begin token and all of the text."""
    logits = []
    for text in TEXTS:
        ids = torch.tensor([[VOCABULARY.begin, *VOCABULARY.encode(text)]])
        logits.append(source(input_ids=ids, use_cache=False).logits[0])
    return torch.cat(logits)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("positions", list(POSITIONS))
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_copied_weights_give_the_logits_of_the_language_model(
    family: Family, positions: str, tied: bool
) -> None:
    source = family.model(tied=tied)
    settings = family.settings(POSITIONS[positions], tied=tied)
    transformer = with_weights_of(source, settings)
    batch = text_pack(settings)
    expected = their_logits(source)
    for backend in ("dense", "segments"):
        got = our_logits(transformer, batch, backend=backend)
        assert got.shape == expected.shape
        assert relative(got, expected) < COPIED_WEIGHTS


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": IlRopeConfig(text_axes="zero")},
        {"qk_norm": {"text": True, "visual": True}},
        {"rope_base": 10_000.0},
    ],
    ids=["the paper's text positions", "QK-norm", "another base"],
)
def test_what_the_language_model_has_not_changes_its_logits(changes: dict[str, Any]) -> None:
    # Without this the test above could pass because an input has no effect.
    (family, *_) = FAMILIES
    source = family.model(tied=True)
    settings = family.settings(POSITIONS["same"], tied=True)
    other = MogaoTransformer(settings.model_copy(update=changes))
    other.load_state_dict(with_weights_of(source, settings).state_dict(), strict=False)
    batch = text_pack(other.config)
    assert relative(our_logits(other, batch), their_logits(source)) > 100 * COPIED_WEIGHTS
