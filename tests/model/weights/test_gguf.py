"""GGUF files of Llama-type models; skipped without the package gguf (the extra `gguf`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from mogao.errors import CheckpointError
from mogao.model.library import seeded
from mogao.model.weights.gguf import read_gguf, shipped_gguf
from mogao.model.weights.llama import LLAMA
from mogao.model.weights.rules import to_ours
from mogao.tokenizer import Tokenizer
from mogao.tokenizer_files import BYTE_CHARS
from mogao.tokenizer_foreign import standard_special

gguf: Any = pytest.importorskip("gguf", reason="needs the extra gguf")

HEADS, KV_HEADS = 4, 2
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOKENS = [*SPECIAL, *sorted(BYTE_CHARS), "ab", "abc"]
LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip

TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def llama(*, tied: bool) -> Any:
    """A random model of two layers."""
    config = transformers.LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, rms_norm_eps=1e-5,
        max_position_embeddings=64, tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 5e4},
    )  # fmt: skip
    with seeded(0):
        return transformers.LlamaForCausalLM(config)


def gguf_name(name: str) -> str:
    """The name that llama.cpp has for a weight of transformers."""
    place = name.removesuffix(".weight")
    if place in TOP:
        return f"{TOP[place]}.weight"
    _, _, layer, part = place.split(".", maxsplit=3)
    return f"blk.{layer}.{LAYER[part]}.weight"


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query or key as llama.cpp has them: the two halves of a head take turns."""
    rows = weight.view(heads, 2, -1, weight.shape[1])
    return torch.stack((rows[:, 0], rows[:, 1]), dim=2).reshape(weight.shape)


def write(path: Path, model: Any, *, kind: Any = None, **changes: Any) -> None:
    """Write a model as llama.cpp does; `kind` quantises its matrices."""
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_vocab_size(len(TOKENS))
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_context_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(5e4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(changes.get("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if "scaling" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType(changes["scaling"]))
    tensors = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    for name, weight in tensors.items():
        rows = weight
        if "q_proj" in name or "k_proj" in name:
            rows = interleaved(weight, HEADS if "q_proj" in name else KV_HEADS)
        values = rows.numpy()
        if kind is not None and rows.ndim == 2:
            writer.add_tensor(gguf_name(name), gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), values)
    for name, shape in changes.get("more", {}).items():
        writer.add_tensor(name, torch.ones(shape).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_file_holds_what_the_folder_of_the_model_holds(tmp_path: Path, tied: bool) -> None:
    model = llama(tied=tied)
    write(tmp_path / "m.gguf", model)
    found = read_gguf(tmp_path / "m.gguf")
    expected = dict(model.state_dict())
    if tied:
        del expected["lm_head.weight"]
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.items())
    config = LLAMA.config(found.settings)
    assert config == LLAMA.config({"config.json": model.config.to_dict()})
    to_ours(found.tensors, config, family=LLAMA, where="m.gguf")


def test_quantised_matrices_come_back_within_their_step(tmp_path: Path) -> None:
    model = llama(tied=True)
    write(tmp_path / "m.gguf", model, kind=gguf.GGMLQuantizationType.Q8_0)
    found = read_gguf(tmp_path / "m.gguf").tensors
    for name, value in model.state_dict().items():
        if name in found:
            # A block of 32 has one scale: its largest value over 127.
            assert (found[name] - value).abs().max() <= value.abs().max() / 127


def test_the_tokenizer_is_that_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", llama(tied=True))
    settings = read_gguf(tmp_path / "m.gguf").settings
    source = settings["tokenizer.json"]
    tokenizer = Tokenizer.from_foreign(source, special=standard_special("llama", source))
    assert (tokenizer.begin, tokenizer.end) == (1, 2)
    assert tokenizer.encode("abc") == [len(TOKENS) - 1]
    assert not set(tokenizer.encode("<|im_end|>")) & {0, 1, 2}
    names = settings["tokenizer_config.json"]
    assert (names["bos_token"], names["eos_token"]) == SPECIAL[1:]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architecture": "qwen2"}, "general.architecture is 'qwen2'"),
        ({"scaling": "yarn"}, "rope.scaling.type is 'yarn'"),
        ({"pre": "unheard-of"}, "unheard-of"),
        ({"more": {"rope_freqs.weight": (4,)}}, "rope_freqs.weight"),
        ({"more": {"blk.0.attn_q.bias": (32,)}}, "blk.0.attn_q.bias"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_read_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    path = tmp_path / "m.gguf"
    write(path, llama(tied=True), **changes)
    with pytest.raises(CheckpointError) as caught:
        read_gguf(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "m.gguf"
    write(whole, llama(tied=True))
    data = whole.read_bytes()
    for size in (0, 3, 30, 1000, len(data) // 2, len(data) - 40):
        (tmp_path / "cut.gguf").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf"):
            read_gguf(tmp_path / "cut.gguf")
    with pytest.raises(CheckpointError, match="No such file"):
        read_gguf(tmp_path / "none.gguf")


def test_a_package_that_ships_no_file_has_none() -> None:
    assert shipped_gguf("no_such_package") is None
    assert shipped_gguf("mogao") is None
