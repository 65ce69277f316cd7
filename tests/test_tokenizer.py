"""The tokenizer: exact round trips, specials out of reach of text, strict files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogao.errors import CheckpointError, ConfigError, RequestError
from mogao.tokenizer import Tokenizer
from mogao.tokenizer_files import BYTE_CHARS, SPECIAL_NAMES, special_entry

TEXTS = [
    "Draw two red apples left of a cat.",
    "Is there a dog? No, there is no dog.",
    "<pad><begin><end><image></image><user><model><system>",
    "\u27e8image\u27e9 \u27e8/image\u27e9 \u27e8end\u27e9",
    "12 birds sit on 345 chairs.",
] * 8
SPECIALS = range(len(SPECIAL_NAMES))
TOKENIZER = Tokenizer.train(TEXTS, vocab_size=500)

any_text = st.text(st.characters(exclude_categories=["Cs"]))
typed_text = st.lists(
    st.sampled_from(
        [f"<{n}>" for n in SPECIAL_NAMES]
        + [special_entry(n) for n in SPECIAL_NAMES]
        + [" ", "\n", "a", "1", "\U0001f600", "e\u0301", "\u200d", "\x00"]
    )
).map("".join)


@given(any_text | typed_text)
def test_any_text_round_trips(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(any_text | typed_text)
def test_user_text_is_never_special(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert all(len(SPECIAL_NAMES) <= i < TOKENIZER.vocab_size for i in ids)


def test_training_on_the_names_of_specials_does_not_make_them_reachable() -> None:
    greedy = Tokenizer.train(["<image>", special_entry("image")] * 50, vocab_size=300)
    assert len(greedy.encode("<image>")) <= 3  # learned as text ...
    assert not set(greedy.encode("<image> " + special_entry("image"))) & set(SPECIALS)


@given(any_text)
def test_stream_gives_whole_characters_that_join_to_the_text(text: str) -> None:
    stream = TOKENIZER.decode_stream()
    parts = [stream.push(i) for i in TOKENIZER.encode(text)]
    assert "\ufffd" in text or all("\ufffd" not in part for part in parts)
    assert "".join(parts) + stream.flush() == text


def test_stream_shows_a_character_that_never_gets_complete_at_the_end_only() -> None:
    stream = TOKENIZER.decode_stream()
    first_byte = TOKENIZER.encode("\U0001f600")[0]
    assert stream.push(first_byte) == ""
    assert stream.push(TOKENIZER.end) == ""
    assert stream.flush() == "\ufffd"


def test_special_ids_are_fixed_and_shown_only_on_request() -> None:
    t = TOKENIZER
    ids = [t.pad, t.begin, t.end, t.image_open, t.image_close, t.user, t.model, t.system]
    assert ids == list(SPECIALS)
    mixed = [t.begin, *t.encode("hi"), t.image_open, t.image_close, t.end]
    assert t.decode(mixed) == "hi"
    assert t.decode(mixed, render_special=True) == "<begin>hi<image></image><end>"


def test_digits_stand_alone_and_words_keep_their_space() -> None:
    pieces = [TOKENIZER.decode([i]) for i in TOKENIZER.encode("red 345 apples")]
    assert "".join(pieces) == "red 345 apples"
    assert pieces[-4:] == [" 3", "4", "5", " apples"]


def test_training_is_repeatable_and_bounded() -> None:
    again = Tokenizer.train(iter(TEXTS), vocab_size=500)
    assert again.encode("".join(TEXTS)) == TOKENIZER.encode("".join(TEXTS))
    assert Tokenizer.train(TEXTS, vocab_size=280).vocab_size == 280
    assert Tokenizer.train([], vocab_size=264).vocab_size == 264
    with pytest.raises(ConfigError, match="at least 264, got 100"):
        Tokenizer.train(TEXTS, vocab_size=100)


def test_save_and_load_keep_every_id(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    TOKENIZER.save(path)
    loaded = Tokenizer.load(path)
    text = "".join(TEXTS) + "\U0001f600 unseen \u00e9"
    assert loaded.encode(text) == TOKENIZER.encode(text)
    assert loaded.vocab_size == TOKENIZER.vocab_size
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def _added(data: dict[str, Any]) -> None:
    data["added_tokens"] = [{"id": 3, "content": "<image>", "special": True}]


def _normalised(data: dict[str, Any]) -> None:
    data["normalizer"] = {"type": "NFC"}


def _other_words(data: dict[str, Any]) -> None:
    data["pre_tokenizer"] = None


def _ignoring_merges(data: dict[str, Any]) -> None:
    data["model"]["ignore_merges"] = True


def _moved_special(data: dict[str, Any]) -> None:
    vocab = data["model"]["vocab"]
    vocab[special_entry("pad")], vocab[special_entry("end")] = 2, 0


def _lost_byte(data: dict[str, Any]) -> None:
    vocab = data["model"]["vocab"]
    vocab["zz" * 9] = vocab.pop(next(iter(BYTE_CHARS)))


def _odd_merge(data: dict[str, Any]) -> None:
    data["model"]["merges"].append(["q", "\u27e8"])


def _gap(data: dict[str, Any]) -> None:
    data["model"]["vocab"]["zzzz"] = 9999


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_added, "added_tokens"),
        (_normalised, "normalizer"),
        (_other_words, "pre_tokenizer"),
        (_ignoring_merges, "ignore_merges"),
        (_moved_special, "special token <pad> must have id 0"),
        (_lost_byte, "bytes without a token"),
        (_odd_merge, "unknown token"),
        (_gap, "each once"),
    ],
)
def test_a_file_that_would_change_encoding_is_refused(
    tmp_path: Path, harm: Any, message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    TOKENIZER.save(path)
    data = json.loads(path.read_text())
    harm(data)
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=message):
        Tokenizer.load(path)


@pytest.mark.parametrize("content", ["", "[]", '{"model": 1}', '{"model": {}}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match="tokenizer"):
        Tokenizer.load(path)


def test_errors_name_what_was_got(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read tokenizer"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(RequestError, match="lone surrogate"):
        TOKENIZER.encode("a \ud800")
    with pytest.raises(CheckpointError, match="token id 5000 is outside"):
        TOKENIZER.decode([5000])


def test_import_needs_no_torch() -> None:
    code = "import sys, mogao.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
