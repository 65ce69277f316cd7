"""Small tokenizers of other families, made by the library that those models use."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine

from mogao.tokenizer import Tokenizer
from mogao.tokenizer_files import BYTE_CHARS
from mogao.tokenizer_foreign import STANDARD_SPECIAL

TEXTS = [
    "The cat's dogs don't like 12345 apples, I'LL say!\r\n\r\n",
    "  def f(x):\n\treturn x + 10\n\n\n",
    "caf\u00e9 na\u00efve \u4f60\u597d \U0001f600 e\u0301 ",
] * 20
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN = [*CHATML, "<|vision_start|>", "<|vision_end|>"]
LLAMA = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|reserved_special_token_0|>"]
# As transformers' Qwen2Tokenizer and tiktoken's converter have them.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_PATTERN = QWEN_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")


def steps(pattern: str | None, *, digits: bool = False) -> Any:
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        return pre_tokenizers.Sequence([split, last])
    first = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([first, last]) if digits else last


@cache
def foreign_json(family: str) -> str:
    """A small tokenizer of a family, trained by the library itself."""
    engine = Engine(models.BPE(vocab={}, merges=[], ignore_merges=family == "llama3"))
    engine.decoder = decoders.ByteLevel()
    added, early = {
        "gpt2": (["<|endoftext|>"], False),
        "smollm2": (CHATML, True),
        "qwen2": (QWEN, False),
        "llama3": (LLAMA, False),
    }[family]
    if family == "qwen2":
        engine.normalizer = normalizers.NFC()
    pattern = {"qwen2": QWEN_PATTERN, "llama3": LLAMA_PATTERN}.get(family)
    engine.pre_tokenizer = steps(pattern, digits=family == "smollm2")
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(BYTE_CHARS),
        special_tokens=added if early else [],
        show_progress=False,
    )
    engine.train_from_iterator(TEXTS, trainer)
    if family == "llama3":
        # An entry that no merge makes: this kind takes it as a whole word all the same.
        data = json.loads(engine.to_str())
        data["model"]["vocab"]["\u0120zebra"] = len(data["model"]["vocab"])
        engine = Engine.from_str(json.dumps(data))
    engine.add_special_tokens([AddedToken(a, special=True, normalized=False) for a in added])
    if family == "qwen2":
        engine.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    return engine.to_str()


FAMILIES = ("gpt2", "smollm2", "qwen2", "llama3")


def special_of(family: str) -> dict[str, str]:
    return STANDARD_SPECIAL.get(family, {"end": "<|endoftext|>"})


@cache
def ours(family: str) -> Tokenizer:
    return Tokenizer.from_foreign(json.loads(foreign_json(family)), special=special_of(family))


@cache
def theirs(family: str) -> Engine:
    return Engine.from_str(foreign_json(family))
