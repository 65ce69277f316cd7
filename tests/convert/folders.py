"""Toy folders of other programs for the tests of conversion."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from mogao.tokenizer_files import BYTE_CHARS, ForeignToken, TokenizerData, dump, frame_of
from tests.tiny import tiny_config

CONTENTS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ROWS = 260
"""Vocabulary of the toy models: 256 bytes, three special tokens, a row without a token."""


SMALL: dict[str, Any] = {
    "vision": tiny_config().vision.model_dump(mode="json"),
    "autoencoder": tiny_config().autoencoder.model_dump(mode="json"),
}
"""Encoders of a few thousand weights instead of the default ones."""


def shaken(model: Any, *, seed: int = 0) -> Any:
    """The model, in which no weight has the value that it starts with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def language_model(kind: str = "Qwen2", *, tied: bool = True, **changes: Any) -> Any:
    """A random language model of two layers."""
    sizes: dict[str, Any] = {
        "vocab_size": ROWS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48,
        "max_position_embeddings": 64, "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**(sizes | changes))
    with torch.random.fork_rng():
        return shaken(getattr(transformers, f"{kind}ForCausalLM")(config))


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer with the special tokens of ChatML."""
    vocab = {char: number for number, char in enumerate(sorted(BYTE_CHARS))}
    tokens = tuple(ForeignToken(len(vocab) + i, content) for i, content in enumerate(CONTENTS))
    frame = frame_of(TokenizerData(vocab, [], words="qwen2"))
    frame["added_tokens"] = [asdict(token) for token in tokens]
    text = dump(frame, vocab | {token.content: token.id for token in tokens}, merges=[])
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")


def language_folder(folder: Path, model: nn.Module, *, shards: int = 1) -> Path:
    """A folder as transformers writes it, in one file or in some."""
    saved: Any = model
    saved.save_pretrained(folder)
    write_tokenizer(folder)
    if shards > 1:
        split(folder, shards)
    return folder


def split(folder: Path, shards: int) -> dict[str, str]:
    """Turn `model.safetensors` into shards with an index, which is returned."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(weights)
    named: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        save_file({name: weights[name] for name in part}, folder / file, {"format": "pt"})
        named |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": named})
    (folder / "model.safetensors.index.json").write_text(text)
    return named
