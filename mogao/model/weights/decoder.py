"""What the language models of Qwen and Llama share: key names, settings, and what is refused.

In: `config.json` of a language model folder. Out: our transformer's config, and rules by which its
weights fill the text branch and, as copies, the visual branch. No row of a query or key moves: both
sides pair channel i with i + head_dim / 2. Source of names and formulas: `modeling_qwen2.py`,
`modeling_qwen3.py` and `modeling_llama.py` of transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mogao.config import (
    Branch,
    IlRopeConfig,
    LayoutConfig,
    OneDConfig,
    TransformerConfig,
    parse,
)
from mogao.errors import CheckpointError, ConfigError
from mogao.model.weights.rules import Family, Foreign, Rule, Settings

CONFIG = "config.json"
DEFAULT_ROPE_BASE = 10_000.0
LAYOUT = LayoutConfig(begin=False, turns="chatml")
"""That of Qwen and SmolLM2; where a tokenizer differs, whoever joins the two says so."""
# Buffers of old files; and a head that only repeats the embedding where weights are tied.
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"lm_head\.weight")


@dataclass(frozen=True, slots=True)
class Traits:
    """In what one family of decoders differs from another.

    Attributes:
        name: `model_type` in its `config.json`.
        architecture: Its class in transformers.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_norm: Whether queries and keys are normalised.
        head_dim: Where `config.json` does not say; None is hidden_size / num_attention_heads.
    """

    name: str
    architecture: str
    qkv_bias: bool = False
    qk_norm: bool = False
    head_dim: int | None = None


def decoder_family(traits: Traits) -> Family[TransformerConfig]:
    """Return the adapter of a family of decoders."""
    return Family(
        name=traits.name,
        part="transformer",
        config=partial(read_config, traits=traits),
        settings=partial(write_settings, traits=traits),
        rules=decoder_rules,
        ignored=IGNORED,
    )


def decoder_rules(config: TransformerConfig) -> tuple[Rule, ...]:
    """Return the rules of a whole model; the visual branch is a copy of the text branch.

    `config.vocab_size` counts the rows of the foreign model. What no rule makes (connector,
    latents, times, modulation, velocity projection) is drawn anew.
    """
    rows = (config.vocab_size, config.hidden)
    rules = [Rule("embedding.tokens.weight", (Foreign("model.embed_tokens.weight", rows),))]
    if not config.tied_embeddings:
        rules.append(Rule("text_head.projection.weight", (Foreign("lm_head.weight", rows),)))
    for layer in range(config.num_layers):
        for branch in ("text", "visual"):
            rules += layer_rules(config, layer, branch=branch)
    norm = (Foreign("model.norm.weight", (config.hidden,)),)
    rules.append(Rule("text_head.norm.weight", norm))
    rules.append(Rule("velocity_head.norm.weight", norm, is_copy=True))
    return tuple(rules)


def layer_rules(config: TransformerConfig, layer: int, *, branch: Branch) -> Iterator[Rule]:
    """Yield the rules of one branch of one layer; those of the visual branch are copies."""
    theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}.{branch}."
    hidden, wide = config.hidden, config.ffn_hidden
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    qkv = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    table: dict[str, dict[str, tuple[int, ...]]] = {
        "attention_norm.weight": {"input_layernorm.weight": (hidden,)},
        "qkv.weight": {f"self_attn.{name}.weight": (rows, hidden) for name, rows in qkv.items()},
        "out.weight": {"self_attn.o_proj.weight": (hidden, queries)},
        "ffn_norm.weight": {"post_attention_layernorm.weight": (hidden,)},
        "ffn.up.weight": {f"mlp.{name}_proj.weight": (wide, hidden) for name in ("gate", "up")},
        "ffn.down.weight": {"mlp.down_proj.weight": (hidden, wide)},
    }  # fmt: skip
    if config.qkv_bias:
        table["qkv.bias"] = {f"self_attn.{name}.bias": (rows,) for name, rows in qkv.items()}
    if config.qk_norm["text"] and config.qk_norm[branch]:
        table["query_norm.weight"] = {"self_attn.q_norm.weight": (config.head_dim,)}
        table["key_norm.weight"] = {"self_attn.k_norm.weight": (config.head_dim,)}
    for name, parts in table.items():
        foreign = tuple(Foreign(theirs + part, shape) for part, shape in parts.items())
        yield Rule(ours + name, foreign, is_copy=branch == "visual")


def read_config(settings: Settings, *, traits: Traits) -> TransformerConfig:
    """Return the transformer that `config.json` of a folder describes.

    Raises:
        CheckpointError: It is another family, a value is missing, or it has something that the core
            cannot express; each is named.
    """
    values = settings.get(CONFIG)
    if values is None:
        raise CheckpointError(f"a {traits.name} folder needs {CONFIG}")
    found = [*_wrong_family(values, traits), *_inexpressible(values)]
    if found:
        raise CheckpointError(f"{CONFIG} cannot be taken as {traits.name}: " + "; ".join(found))
    try:
        heads = values["num_attention_heads"]
        head_dim = values.get("head_dim") or traits.head_dim or values["hidden_size"] // heads
        data = {
            "vocab_size": values["vocab_size"],
            "hidden": values["hidden_size"],
            "num_layers": values["num_hidden_layers"],
            "num_heads": heads,
            "num_kv_heads": values.get("num_key_value_heads") or heads,
            "head_dim": head_dim,
            "ffn_hidden": values["intermediate_size"],
        }
    except KeyError as error:
        raise CheckpointError(f"{CONFIG} of {traits.name} must have {error.args[0]}") from None
    except (TypeError, ZeroDivisionError):
        raise CheckpointError(
            f"{CONFIG} of {traits.name}: hidden_size {values['hidden_size']!r} and "
            f"num_attention_heads {heads!r} must be numbers above 0"
        ) from None
    data |= {
        "ffn": "swiglu",
        "norm_eps": values.get("rms_norm_eps", 1e-6),
        "qkv_bias": traits.qkv_bias,
        "qk_norm": {"text": traits.qk_norm, "visual": traits.qk_norm},
        "tied_embeddings": values.get("tie_word_embeddings", False),
        "rope_base": _rope(values).get("rope_theta", DEFAULT_ROPE_BASE),
        "positions": IlRopeConfig(text_axes="same"),
        "layout": LAYOUT,
    }
    try:
        return parse(TransformerConfig, data, where=f"{CONFIG} of {traits.name}")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def write_settings(config: TransformerConfig, *, traits: Traits) -> dict[str, dict[str, Any]]:
    """Return `config.json` for the text branch of a transformer.

    The longest context is no part of our config: it stays at the library's default.

    Raises:
        CheckpointError: The text branch computes something that the family does not.
    """
    same = isinstance(config.positions, OneDConfig) or config.positions == LANGUAGE_POSITIONS
    wanted = {
        "ffn": (config.ffn, "swiglu"),
        "qkv_bias": (config.qkv_bias, traits.qkv_bias),
        "qk_norm.text": (config.qk_norm["text"], traits.qk_norm),
        "routing.text": (config.routing.text, "text"),
        "positions of text are those of a language model": (same, True),
    }
    found = [f"{name} is {got}, not {one}" for name, (got, one) in wanted.items() if got != one]
    if found:
        raise CheckpointError(f"{traits.name} cannot express this model: " + "; ".join(found))
    values = {
        "architectures": [traits.architecture],
        "model_type": traits.name,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn_hidden,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "tie_word_embeddings": config.tied_embeddings,
    }
    return {CONFIG: values}


LANGUAGE_POSITIONS = IlRopeConfig(text_axes="same")


def _rope(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rope settings as transformers 5 writes them; older files spread them over two keys."""
    older = {"rope_theta": values.get("rope_theta", DEFAULT_ROPE_BASE)}
    return older | (values.get("rope_scaling") or {}) | (values.get("rope_parameters") or {})


def _wrong_family(values: Mapping[str, Any], traits: Traits) -> Iterator[str]:
    if values.get("model_type") != traits.name:
        yield f"model_type is {values.get('model_type')!r}, expected {traits.name!r}"
    named = values.get("architectures") or [traits.architecture]
    if named != [traits.architecture]:
        yield f"architectures is {named}, expected [{traits.architecture!r}]"


def _inexpressible(values: Mapping[str, Any]) -> Iterator[str]:
    """Name what the core has no field for."""
    rope = _rope(values)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default" or not isinstance(rope["rope_theta"], int | float):
        yield f"rope is {kind!r} ({rope}), only the default rope is known"
    if rope.get("partial_rotary_factor", values.get("partial_rotary_factor", 1.0)) != 1.0:
        yield "partial_rotary_factor must be 1"
    if values.get("use_sliding_window") and values.get("sliding_window") is not None:
        yield "use_sliding_window is true; every token must see all before it"
    other = sorted(set(values.get("layer_types") or ()) - {"full_attention"})
    if other:
        yield f"layer_types has {', '.join(map(str, other))}, only full_attention is known"
    if values.get("hidden_act", "silu") != "silu":
        yield f"hidden_act is {values['hidden_act']!r}, only silu is known"
    for name in ("attention_bias", "mlp_bias", "quantization_config"):
        if values.get(name):
            yield f"{name} is {values[name]!r:.80}, which the core does not have"
    for name in ("num_experts", "num_local_experts", "n_routed_experts"):
        if values.get(name):
            yield f"{name} is {values[name]}: a mixture of experts"
