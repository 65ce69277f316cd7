"""Tokenizers of other models: the same ids for text, special tokens out of reach, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Engine

from mogao.errors import CheckpointError, ConfigError, RequestError
from mogao.tokenizer import Tokenizer
from mogao.tokenizer_files import MAX_FILE_BYTES, SPECIAL_NAMES, special_entry
from mogao.tokenizer_foreign import STANDARD_SPECIAL, exported_name, standard_special
from tests.foreign_tokenizers import (
    CHATML,
    FAMILIES,
    LLAMA,
    QWEN,
    TEXTS,
    foreign_json,
    ours,
    special_of,
    theirs,
)


def their_id(family: str, content: str) -> int:
    found = theirs(family).token_to_id(content)
    assert found is not None
    return found


def special_ids(tokenizer: Tokenizer) -> list[int]:
    t = tokenizer
    return [t.pad, t.begin, t.end, t.image_open, t.image_close, t.user, t.model, t.system]


any_text = st.text(st.characters(exclude_categories=["Cs"]))
word_text = st.lists(
    st.sampled_from(
        ["The", " cat", "'s", "'LL", " ", "  ", "\n", "\r\n", "\t", "12", " 345", "!", " zebra",
         "\u00e9", "e\u0301", "\u4f60", "\U0001f600", "x", "_"]
    )
).map("".join)  # fmt: skip
typed_text = st.lists(
    st.sampled_from(
        [*QWEN, *LLAMA, "<think>", "</think>", "<|", "|>", "\u27e8", "\u27e9", " ", "\n", "im_end"]
        + [f"<{n}>" for n in SPECIAL_NAMES]
        + [special_entry(n) for n in SPECIAL_NAMES]
        + [special_entry(content) for content in [*QWEN, *LLAMA, "<think>"]]
        + [exported_name(n) for n in SPECIAL_NAMES]
    )
).map("".join)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=word_text | any_text)
@settings(max_examples=60, deadline=None)
def test_ordinary_text_has_the_ids_of_its_model(family: str, text: str) -> None:
    assert ours(family).encode(text) == theirs(family).encode(text).ids


@pytest.mark.parametrize("family", FAMILIES)
@given(text=word_text | any_text | typed_text)
@settings(max_examples=60, deadline=None)
def test_user_text_is_never_special_in_any_kind(family: str, text: str) -> None:
    tokenizer, added = ours(family), theirs(family).get_added_tokens_decoder()
    ids = set(tokenizer.encode(text))
    assert not ids & {*added, *special_ids(tokenizer), *tokenizer.reserved}
    if family != "qwen2":
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_composing_text_changes_it_once() -> None:
    tokenizer = ours("qwen2")
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "\u00e9"
    assert tokenizer.decode(tokenizer.encode("\u00e9")) == "\u00e9"


@pytest.mark.parametrize("family", FAMILIES)
def test_our_names_have_the_ids_of_the_added_tokens_or_new_ones(family: str) -> None:
    tokenizer, engine, special = ours(family), theirs(family), special_of(family)
    size = max(engine.get_vocab().values()) + 1
    found = dict(zip(SPECIAL_NAMES, special_ids(tokenizer), strict=True))
    known = {n: i for n, c in special.items() if (i := engine.token_to_id(c)) is not None}
    new = [name for name in SPECIAL_NAMES if name not in known]
    assert found == known | {name: size + i for i, name in enumerate(new)}
    assert tokenizer.new_names == tuple(new)
    assert tokenizer.vocab_size == size + len(new)


def test_new_ids_can_lie_behind_the_rows_of_an_embedding() -> None:
    data = json.loads(foreign_json("smollm2"))
    tokenizer = Tokenizer.from_foreign(
        data, special=STANDARD_SPECIAL["smollm2"], first_free_id=1000
    )
    assert special_ids(tokenizer) == [0, 1, 2, 1000, 1001, 1002, 1003, 1004]
    assert tokenizer.vocab_size == 1005
    size = len(data["model"]["vocab"])
    assert tokenizer.reserved == {0, 1, 2, *range(size, 1005)}
    with pytest.raises(CheckpointError, match=r"500 is outside .* or has no entry"):
        tokenizer.decode([500])
    assert Tokenizer.from_json(tokenizer.to_json()).vocab_size == 1005


def test_a_model_may_write_tokens_that_are_shown_and_no_others() -> None:
    tokenizer = ours("qwen2")
    think, end = their_id("qwen2", "<think>"), their_id("qwen2", "<|im_end|>")
    assert think not in tokenizer.reserved
    assert {end, their_id("qwen2", "<|vision_start|>")} <= tokenizer.reserved
    ids = [think, *tokenizer.encode("so"), end]
    assert tokenizer.decode(ids) == "<think>so"
    assert tokenizer.decode(ids, render_special=True) == "<think>so<end>"


def test_hidden_tokens_without_a_name_of_ours_are_shown_on_request() -> None:
    tokenizer = ours("llama3")
    reserved = their_id("llama3", "<|reserved_special_token_0|>")
    assert tokenizer.decode([reserved]) == ""
    assert tokenizer.decode([reserved], render_special=True) == "<|reserved_special_token_0|>"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_one_loads_as_it_was(family: str, tmp_path: Path) -> None:
    tokenizer = ours(family)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.to_json() == tokenizer.to_json()
    assert loaded.new_names == tokenizer.new_names
    assert special_ids(loaded) == special_ids(tokenizer)
    text = "".join(TEXTS) + " zebra"
    assert loaded.encode(text) == tokenizer.encode(text)
    # The other library reads it too, and no special token in text.
    typed = "".join([*QWEN, *LLAMA, text])
    assert Engine.from_file(str(tmp_path / "tokenizer.json")).encode(typed).ids == loaded.encode(
        typed
    )


@pytest.mark.parametrize("family", FAMILIES)
@given(text=word_text | any_text)
@settings(max_examples=30, deadline=None)
def test_the_way_back_gives_the_ids_of_the_model(family: str, text: str) -> None:
    before, after = theirs(family), exported(family)
    assert after.encode(text).ids == before.encode(text).ids
    typed = "".join(special_of(family).values()) + text
    assert after.encode(typed).ids == before.encode(typed).ids


@cache
def exported(family: str) -> Engine:
    return Engine.from_str(ours(family).to_foreign())


@pytest.mark.parametrize("family", FAMILIES)
def test_added_tokens_go_back_as_they_came_and_ours_beside_them(family: str) -> None:
    before = theirs(family).get_added_tokens_decoder()
    found = exported(family).get_added_tokens_decoder()
    assert all(found[i].__getstate__() == token.__getstate__() for i, token in before.items())
    new = {exported_name(name) for name in ours(family).new_names}
    assert {token.content for i, token in found.items() if i not in before} == new
    again = Tokenizer.from_foreign(
        json.loads(ours(family).to_foreign()), special=special_of(family)
    )
    assert special_ids(again) == special_ids(ours(family))
    assert again.new_names == ()


def test_our_own_goes_out_and_comes_back() -> None:
    own = Tokenizer.train(TEXTS, vocab_size=300)
    back = Tokenizer.from_foreign(json.loads(own.to_foreign()), special={})
    assert special_ids(back) == list(range(8))
    assert back.encode("".join(TEXTS)) == own.encode("".join(TEXTS))


def test_lists_of_tokens_and_merges_make_the_same_tokenizer() -> None:
    model = json.loads(foreign_json("smollm2"))["model"]
    merges = [(left, right) for left, right in model["merges"]]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    special = STANDARD_SPECIAL["smollm2"]
    made = Tokenizer.from_parts(tokens, merges, words="smollm", special=special)
    assert special_ids(made) == special_ids(ours("smollm2"))
    assert made.encode("".join(TEXTS)) == ours("smollm2").encode("".join(TEXTS))
    with pytest.raises(ConfigError, match="did you mean 'smollm'"):
        Tokenizer.from_parts(tokens, merges, words="smolm", special=special)
    with pytest.raises(CheckpointError, match=r"1 of \d+ tokens occur twice"):
        Tokenizer.from_parts([*tokens, "a"], merges, words="smollm", special=special)


def test_a_character_without_a_token_is_refused_not_lost() -> None:
    data = json.loads(foreign_json("smollm2"))
    del data["model"]["vocab"]["\u0104"]  # stands for byte 4
    tokenizer = Tokenizer.from_foreign(data, special=STANDARD_SPECIAL["smollm2"])
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"
    with pytest.raises(RequestError, match=r"no token for '\\x04'"):
        tokenizer.encode("a \x04b")


def test_folders_old_merges_and_families_are_read(tmp_path: Path) -> None:
    data = json.loads(foreign_json("llama3"))
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    special = standard_special("llama", tmp_path)
    assert special == STANDARD_SPECIAL["llama3"]
    assert standard_special("llama", json.loads(foreign_json("smollm2")))["begin"] == CHATML[1]
    assert standard_special("bagel", {})["image"] == "<|vision_start|>"
    tokenizer = Tokenizer.from_foreign(tmp_path, special=special)
    assert tokenizer.to_json() == ours("llama3").to_json()
    data = json.loads(foreign_json("gpt2"))
    del data["pre_tokenizer"]["use_regex"], data["pre_tokenizer"]["trim_offsets"]
    old = Tokenizer.from_foreign(data, special=special_of("gpt2"))
    assert old.to_json() == ours("gpt2").to_json()
    with pytest.raises(ConfigError, match="family 'qwen9'; did you mean 'qwen"):
        standard_special("qwen9", tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        Tokenizer.from_foreign(tmp_path / "none", special={})


def model_key(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["model"].__setitem__(key, value)


def top_key(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.__setitem__(key, value)


def in_vocab(entry: str, i: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["model"]["vocab"].__setitem__(entry, i)


def added(i: Any, content: Any, **flags: Any) -> Callable[[dict[str, Any]], None]:
    token = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    token |= {"id": i, "content": content, "special": True} | flags
    return lambda data: data["added_tokens"].append(token)


def pattern(regex: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    last = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, last]}


HARMS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another model": (model_key("type", "Unigram"), "'Unigram'; only byte-level BPE"),
    "no type": (model_key("type", None), "only byte-level BPE"),
    "bytes as fallback": (model_key("byte_fallback", True), "byte_fallback"),
    "chance": (model_key("dropout", 0.1), "dropout"),
    "a prefix": (model_key("continuing_subword_prefix", "##"), "continuing_subword_prefix"),
    "a vocabulary list": (model_key("vocab", ["a"]), "must be a mapping"),
    "merges of three": (model_key("merges", [["a", "b", "c"]]), "pairs of strings"),
    "merges of numbers": (model_key("merges", [[1, 2]]), "pairs of strings"),
    "no merges": (model_key("merges", None), "must be a list"),
    "unknown merge": (model_key("merges", [["a", "\u0120zz"]]), "unknown token"),
    "special merge": (model_key("merges", [["<|im_end|>", "a"]]), "unknown token"),
    "other bytes": (in_vocab("\u4f60", 900), "not made of the byte alphabet"),
    "own brackets": (in_vocab(special_entry("x"), 900), "not made of the byte alphabet"),
    "huge id": (in_vocab("zzz", 2**40), "0..1048575, each once"),
    "negative id": (in_vocab("zzz", -1), "each once"),
    "id twice": (in_vocab("zzz", 5), "each once"),
    "text as id": (in_vocab("zzz", "5"), "each once"),
    "truth as id": (in_vocab("zzz", True), "each once"),
    "lower case": (top_key("normalizer", {"type": "Lowercase"}), "normalizer must be null or NFC"),
    "odd normaliser": (top_key("normalizer", ["NFC"]), "objects with a type"),
    "spaces as text": (top_key("pre_tokenizer", {"type": "Metaspace"}), "'Metaspace'"),
    "no words": (top_key("pre_tokenizer", None), "pre_tokenizer None is not known"),
    "slow pattern": (top_key("pre_tokenizer", pattern("(a+)+$")), "could stall"),
    "odd decoder": (top_key("decoder", {"type": "WordPiece"}), "decoder must be ByteLevel"),
    "added tokens as object": (top_key("added_tokens", {"a": 1}), "must be a list"),
    "added text": (added(900, "hello", special=False), "neither special nor written as <name>"),
    "added space": (added(900, "  ", special=False), "typed text would get other ids"),
    "added nothing": (added(900, ""), "neither special nor"),
    "added surrogate": (added(900, "<\ud800>"), "not valid Unicode"),
    "added number": (added(900, 7), "must have exactly"),
    "added key": (added(900, "<x>", regex="."), "must have exactly"),
    "added twice": (added(900, "<|im_end|>"), "occurs twice or is reserved"),
    "added elsewhere": (
        lambda data: data["added_tokens"][0].update(id=900),
        "another id in model.vocab",
    ),
    "added with our name": (added(900, "image"), "occurs twice or is reserved"),
    "added id twice": (added(5, "<x>"), "each once"),
    "added id far away": (added(2**31, "<x>"), "each once"),
}


@pytest.mark.parametrize(("harm", "message"), HARMS.values(), ids=list(HARMS))
def test_what_would_change_ids_or_safety_is_refused(
    harm: Callable[[dict[str, Any]], None], message: str
) -> None:
    data = json.loads(foreign_json("smollm2"))
    harm(data)
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_foreign(data, special=STANDARD_SPECIAL["smollm2"])


def test_a_mapping_of_special_tokens_must_make_sense() -> None:
    data = json.loads(foreign_json("smollm2"))
    with pytest.raises(ConfigError, match="'images'; did you mean 'image'"):
        Tokenizer.from_foreign(data, special={"images": "<|im_end|>"})
    with pytest.raises(ConfigError, match="share one added token"):
        Tokenizer.from_foreign(data, special={"pad": "<|im_end|>", "end": "<|im_end|>"})


def foreign_token(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["decoder"]["foreign_tokens"][-1].update(changes)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (foreign_token(id=7), "must have id 7"),
        (foreign_token(content="<other>"), "must have id"),
        (foreign_token(content="think"), "neither special nor"),
        (foreign_token(extra=1), "must have exactly"),
        (lambda data: data["decoder"]["foreign_tokens"].pop(), "byte alphabet"),
        (lambda data: data["decoder"].update(foreign_tokens={}), "must be a list"),
        (lambda data: data["decoder"]["foreign_tokens"].append(
            data["decoder"]["foreign_tokens"][0]), "one id"),
        (lambda data: data["model"]["vocab"].pop(special_entry("end")), "<end> is missing"),
        (added(1, "<x>"), "added_tokens"),
    ],
)  # fmt: skip
def test_a_saved_one_that_was_changed_is_refused(
    harm: Callable[[dict[str, Any]], None], message: str
) -> None:
    data = json.loads(ours("qwen2").to_json())
    harm(data)
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.from_json(json.dumps(data))


def test_files_that_are_too_large_or_too_deep_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match="not valid JSON"):
        Tokenizer.from_foreign(path, special={})
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        Tokenizer.load(path)
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a sparse file
    with pytest.raises(CheckpointError, match="has at most"):
        Tokenizer.load(path)
    with pytest.raises(CheckpointError, match="expected an object"):
        Tokenizer.from_foreign({"model": []}, special={})
