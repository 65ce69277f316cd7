"""GGUF files of Llama-type language models: the one form in which some small models are shipped.

In: a `.gguf` file. Out: what a Hugging Face folder of the same model would hold: its JSON files and
its tensors, dequantised to float32. Needs the extra `gguf`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mogao.errors import CheckpointError, ConfigError
from mogao.tokenizer_files import TokenizerData, frame_of

TYPE_CONTROL, TYPE_USER_DEFINED = 3, 4
"""Types of added tokens: hidden in text, and shown. Source: `TokenType` of the gguf package."""
WORDS_OF = {"smollm": "smollm"}
"""How text is cut into words: `tokenizer.ggml.pre` to a key of `mogao.tokenizer_words.WORDS`."""
SIZES = {
    "vocab_size": "vocab_size",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "rope.dimension_count": "head_dim",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True, slots=True, eq=False)
class GgufModel:
    """A language model out of a GGUF file.

    Attributes:
        settings: `config.json`, `tokenizer.json` and `tokenizer_config.json`, as a folder has them.
        tensors: Its weights under the names of transformers, float32.
    """

    settings: dict[str, dict[str, Any]]
    tensors: dict[str, Tensor]


def shipped_gguf(package: str) -> Path | None:
    """Return the GGUF file inside an installed package, which is not imported; None without it."""
    spec = find_spec(package)
    folders = [] if spec is None else map(Path, spec.submodule_search_locations or ())
    return next((file for folder in folders for file in sorted(folder.glob("*.gguf"))), None)


def read_gguf(path: str | Path) -> GgufModel:
    """Read a language model.

    Raises:
        CheckpointError: The file is missing, cut off or damaged, or its model is not of the Llama
            type, has a tensor that this type has not, or a tokenizer that is not known.
        ConfigError: The package gguf is missing.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ConfigError(
            "to read GGUF files the package gguf is needed: pip install 'mogao[gguf]'"
        ) from None
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: _dequantised(tensor) for tensor in reader.tensors}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, IndexError, KeyError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is no GGUF file, cut off or damaged: {error}") from None
    try:
        config = _config(fields, tied="output.weight" not in tensors)
        return GgufModel({"config.json": config} | _tokenizer(fields), _renamed(tensors, config))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error.args[0]}") from None


def _dequantised(tensor: Any) -> Tensor:
    from gguf.quants import dequantize

    values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
    # The file counts the fastest axis first.
    return values.reshape([int(size) for size in tensor.shape[::-1]])


def _config(fields: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    kind = fields["general.architecture"]
    if kind != "llama":
        raise CheckpointError(f"general.architecture is {kind!r}, only 'llama' can be read")
    scaling = fields.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise CheckpointError(f"llama.rope.scaling.type is {scaling!r}, only 'none' is known")
    if fields.get("llama.expert_count"):
        raise CheckpointError("llama.expert_count: a mixture of experts cannot be read")
    epsilon = torch.tensor(fields["llama.attention.layer_norm_rms_epsilon"], dtype=torch.float32)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{ours: fields[f"llama.{theirs}"] for theirs, ours in SIZES.items()},
        "hidden_act": "silu",
        # Stored as float32; its shortest spelling is what the model was made with.
        "rms_norm_eps": float(str(epsilon.numpy())),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "tie_word_embeddings": tied,
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
    }


def _renamed(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Names of transformers; rows of queries and keys in its order."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        *where, part, kind = name.split(".")
        is_layer = len(where) == 2 and where[0] == "blk" and part in LAYER
        if kind != "weight" or not (is_layer or (not where and part in TOP)):
            raise CheckpointError(f"tensor {name}, which a model of the Llama type has not")
        ours = f"model.layers.{where[1]}.{LAYER[part]}" if is_layer else TOP[part]
        found[f"{ours}.weight"] = _halved(tensor, heads[part]) if part in heads else tensor
    return found


def _halved(weight: Tensor, num_heads: int) -> Tensor:
    """Rows of queries or keys: llama.cpp turns neighbours, transformers the halves of a head."""
    pattern = "(heads pair half) columns -> (heads half pair) columns"
    return rearrange(weight, pattern, heads=num_heads, half=2)


def _tokenizer(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    kind, pre = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in WORDS_OF:
        raise CheckpointError(
            f"tokenizer {kind!r} with words of {pre!r}; known: 'gpt2' with {', '.join(WORDS_OF)}"
        )
    tokens = fields["tokenizer.ggml.tokens"]
    added = [
        dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        | {"id": i, "content": tokens[i], "special": kind == TYPE_CONTROL}
        for i, kind in enumerate(fields["tokenizer.ggml.token_type"])
        if kind in (TYPE_CONTROL, TYPE_USER_DEFINED)
    ]
    frame = frame_of(TokenizerData({}, [], words=WORDS_OF[pre]))
    vocabulary = {
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
    }
    tokenizer = frame | {"added_tokens": added, "model": frame["model"] | vocabulary}
    named = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    ids = {ours: fields.get(f"tokenizer.ggml.{name}_token_id") for ours, name in named.items()}
    return {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": fields.get("tokenizer.ggml.add_bos_token", False),
            "chat_template": fields.get("tokenizer.chat_template"),
            **{name: tokens[i] for name, i in ids.items() if i is not None},
        },
    }
