"""Invariant 9: with a language model's weights, text-only logits are the language model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from mogao.config import (
    IlRopeConfig,
    OneDConfig,
    PositionsConfig,
    RoutingConfig,
    TransformerConfig,
)
from mogao.errors import CheckpointError
from mogao.flow import FlowInputs
from mogao.model.attention import Backend
from mogao.model.init import initialise
from mogao.model.transformer import MogaoTransformer
from mogao.model.weights.llama import LLAMA
from mogao.model.weights.qwen import QWEN2, QWEN3
from mogao.model.weights.rules import Family, check, to_ours, to_theirs
from mogao.packing.layout import lay_out
from mogao.packing.pack import PackedBatch, pack
from mogao.sequence import InterleavedSequence, TextSegment
from tests.packs import VOCABULARY, relative
from tests.tolerances import FLOAT32

FAMILIES = {"Llama": LLAMA, "Qwen2": QWEN2, "Qwen3": QWEN3}
TEXTS = ("a language model read this before", "and that")
# Two heads of keys under six of queries, which are wider than the hidden states.
SIZES = {"vocab_size": 160, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6,
         "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 56}  # fmt: skip
POSITIONS: dict[str, PositionsConfig] = {
    "one_d": OneDConfig(),
    "same": IlRopeConfig(text_axes="same"),
}
each_family = pytest.mark.parametrize("name", list(FAMILIES))
each_tie = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def language_model(name: str, *, tied: bool = True) -> nn.Module:
    """A random model of the library in which no weight has the value it starts with."""
    config = getattr(transformers, f"{name}Config")(
        **SIZES,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=tied,
        attn_implementation="eager",
    )
    found: nn.Module = getattr(transformers, f"{name}ForCausalLM")(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return found.eval()


def weights_of(source: Any) -> dict[str, Tensor]:
    """What its safetensors file holds: a tied head is not written."""
    state = dict(source.state_dict())
    if source.config.tie_word_embeddings:
        del state["lm_head.weight"]
    return state


def adapted(name: str, source: Any) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """Our config and weights of a model of the library."""
    family = FAMILIES[name]
    config = family.config({"config.json": source.config.to_dict()})
    return config, to_ours(weights_of(source), config, family=family, where="here")


def with_weights(config: TransformerConfig, weights: dict[str, Tensor]) -> MogaoTransformer:
    """Our transformer; what no rule makes is drawn."""
    transformer = MogaoTransformer(config)
    initialise(transformer, generator=torch.Generator().manual_seed(1))
    transformer.load_state_dict(transformer.state_dict() | weights, strict=True)
    return transformer


def text_pack(config: TransformerConfig) -> PackedBatch:
    """Two documents of nothing but text, in one pack."""
    layouts = [
        layout
        for text in TEXTS
        for layout in lay_out(InterleavedSequence((TextSegment(text),)), VOCABULARY, config)
    ]
    return pack(layouts, config, latents=lambda _: [])


@torch.inference_mode()
def our_logits(
    transformer: MogaoTransformer, batch: PackedBatch, *, backend: Backend = "dense"
) -> Tensor:
    nothing = torch.zeros(0, transformer.config.latent_dim)
    flow = FlowInputs(nothing, torch.zeros(0), nothing)
    features = torch.zeros(0, transformer.config.vision_dim)
    return transformer(batch, flow, vit_features=features, backend=backend).logits


@torch.inference_mode()
def their_logits(source: nn.Module, batch: PackedBatch) -> Tensor:
    """Logits of each document alone, where ours predict."""
    document = batch.meta.document
    alone = [batch.text_ids[document == number] for number in document.unique()]
    assert sum(len(ids) for ids in alone) == len(document) > 40
    logits = [source(input_ids=ids[None], use_cache=False).logits[0] for ids in alone]
    return torch.cat(logits)[batch.predict_index]


@each_tie
@pytest.mark.parametrize("positions", list(POSITIONS))
@each_family
def test_copied_weights_give_the_logits_of_the_language_model(
    name: str, positions: str, tied: bool
) -> None:
    source = language_model(name, tied=tied)
    config, weights = adapted(name, source)
    assert config.tied_embeddings == tied
    config = config.model_copy(update={"positions": POSITIONS[positions]})
    transformer = with_weights(config, weights)
    batch = text_pack(config)
    expected = their_logits(source, batch)
    for backend in ("dense", "segments"):
        assert relative(our_logits(transformer, batch, backend=backend), expected) < FLOAT32


@each_family
def test_the_visual_branch_begins_as_the_text_branch(name: str) -> None:
    # Text that is routed through the visual weights reads as the language model does.
    source = language_model(name)
    config, weights = adapted(name, source)
    config = config.model_copy(update={"routing": RoutingConfig(text="visual")})
    batch = text_pack(config)
    assert batch.num_text_branch == 0
    got = our_logits(with_weights(config, weights), batch)
    assert relative(got, their_logits(source, batch)) < FLOAT32
    assert torch.equal(weights["velocity_head.norm.weight"], weights["text_head.norm.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": IlRopeConfig(text_axes="zero")},
        {"qk_norm": {"text": True, "visual": True}},
        {"rope_base": 10_000.0},
        {"norm_eps": 1e-2},
    ],
    ids=["the paper's text positions", "QK-norm", "another base", "another epsilon"],
)
def test_what_the_language_model_has_not_changes_its_logits(changes: dict[str, Any]) -> None:
    # Without this the tests above could pass because an input has no effect.
    source = language_model("Llama")
    config, weights = adapted("Llama", source)
    other = with_weights(config.model_copy(update=changes), weights)
    batch = text_pack(other.config)
    assert relative(our_logits(other, batch), their_logits(source, batch)) > 100 * FLOAT32


@each_tie
@each_family
def test_every_key_is_used_and_none_is_invented(name: str, tied: bool) -> None:
    source = language_model(name, tied=tied)
    theirs = weights_of(source)
    config, weights = adapted(name, source)
    own = MogaoTransformer(config).state_dict()
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape
        for key, value in own.items()
        if key.startswith(("blocks.", "embedding.tokens", "text_head.", "velocity_head.norm"))
    }
    assert set(to_theirs(weights, config, family=FAMILIES[name])) == set(theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_tie
@each_family
def test_the_way_there_and_back_keeps_every_bit(name: str, tied: bool, dtype: torch.dtype) -> None:
    source = language_model(name, tied=tied).to(dtype)
    theirs = weights_of(source)
    config, weights = adapted(name, source)
    back = to_theirs(weights, config, family=FAMILIES[name])
    assert all(torch.equal(back[key], value) for key, value in theirs.items())
    assert all(back[key].dtype == dtype for key in theirs)


@each_tie
@each_family
def test_the_library_loads_settings_and_weights_that_are_written(
    name: str, tied: bool, tmp_path: Path
) -> None:
    source = language_model(name, tied=tied)
    config, weights = adapted(name, source)
    family = FAMILIES[name]
    settings = family.settings(config)
    assert family.config(settings) == config
    (tmp_path / "config.json").write_text(json.dumps(settings["config.json"]), encoding="utf-8")
    loaded = transformers.AutoConfig.from_pretrained(tmp_path)
    assert family.config({"config.json": loaded.to_dict()}) == config
    again = transformers.AutoModelForCausalLM.from_config(loaded, attn_implementation="eager")
    missing, unexpected = again.load_state_dict(
        to_theirs(weights, config, family=family), strict=False
    )
    assert (missing, unexpected) == (["lm_head.weight"] if tied else [], [])
    batch = text_pack(config)
    assert torch.equal(their_logits(again.eval(), batch), their_logits(source, batch))


def settings_of(name: str, **changes: Any) -> dict[str, dict[str, Any]]:
    """`config.json` as published models have it: rope in two keys, what is default left out."""
    values = {**SIZES, "model_type": name.lower(), "architectures": [f"{name}ForCausalLM"],
              "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 5e5, "rope_scaling": None,
              "tie_word_embeddings": True, "torch_dtype": "bfloat16"}  # fmt: skip
    return {"config.json": {key: x for key, x in (values | changes).items() if x != "absent"}}


def test_settings_of_older_files_are_read() -> None:
    config = QWEN2.config(
        settings_of("Qwen2", head_dim="absent", sliding_window=32768, use_sliding_window=False)
    )
    assert (config.head_dim, config.rope_base, config.norm_eps) == (8, 5e5, 1e-6)
    assert config.qkv_bias
    assert config.layout.turns == "chatml"
    assert not config.layout.begin
    assert QWEN3.config(settings_of("Qwen3", head_dim=None)).head_dim == 128
    absent = dict.fromkeys(("num_key_value_heads", "tie_word_embeddings", "rope_theta"), "absent")
    config = LLAMA.config(settings_of("Llama", **absent))
    assert (config.num_kv_heads, config.tied_embeddings, config.rope_base) == (6, False, 1e4)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral', expected 'qwen3'"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "ForSequenceClassification"),
        ({"use_sliding_window": True, "sliding_window": 4096}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope is 'yarn'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope is 'linear'"),
        ({"rope_theta": "big"}, "big"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"num_experts": 8}, "num_experts is 8"),
        ({"head_dim": 12}, "head_dim"),
        ({"num_key_value_heads": 4}, "num_kv_heads"),
        ({"num_attention_heads": "six"}, "num_heads"),
        ({"vocab_size": "absent"}, "must have vocab_size"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_core_cannot_express_is_refused_by_name(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        QWEN3.config(settings_of("Qwen3", **changes))
    assert named in str(caught.value)


def test_a_folder_without_its_config_or_without_heads_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"a llama folder needs config\.json"):
        LLAMA.config({"tokenizer.json": {}})
    for heads in (0, "six"):
        changes = {"num_attention_heads": heads, "head_dim": "absent"}
        with pytest.raises(CheckpointError, match=r"num_attention_heads .* above 0"):
            LLAMA.config(settings_of("Llama", **changes))


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        (QWEN2, {"ffn": "relu_squared"}, "ffn is relu_squared, not swiglu"),
        (LLAMA, {}, "qkv_bias is True, not False"),
        (QWEN3, {"qkv_bias": False}, "qk_norm.text is False, not True"),
        (QWEN2, {"positions": IlRopeConfig()}, "positions"),
        (QWEN2, {"routing": RoutingConfig(text="visual")}, "routing.text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_model_that_a_family_cannot_express_is_not_written(
    family: Family[TransformerConfig], changes: dict[str, Any], named: str
) -> None:
    config = QWEN2.config(settings_of("Qwen2")).model_copy(update=changes)
    with pytest.raises(CheckpointError, match=named):
        family.settings(config)


def test_a_tied_head_in_the_file_is_left_behind_and_other_keys_are_reported() -> None:
    source = language_model("Qwen2")
    config, _ = adapted("Qwen2", source)
    rules = QWEN2.rules(config)
    shapes = {key: tuple(value.shape) for key, value in source.state_dict().items()}
    assert "lm_head.weight" in shapes
    assert check(rules, shapes, family=QWEN2).fits
    del shapes["model.norm.weight"]
    shapes |= {"model.layers.0.self_attn.q_norm.weight": (16,), "model.embed_tokens.weight": (8, 8)}
    report = check(rules, shapes, family=QWEN2)
    assert report.missing == ("model.norm.weight",)
    assert report.unexpected == ("model.layers.0.self_attn.q_norm.weight",)
    assert report.misshaped == ("model.embed_tokens.weight [8, 8] instead of [160, 48]",)
