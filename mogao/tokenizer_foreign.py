"""Tokenizers of other models, and back: their added tokens become special tokens of ours.

In: the `tokenizer.json` of a language model, or its lists of tokens and merges. Out: a
`TokenizerData` that gives the same ids for ordinary text, in which no text reaches a special token.
What is lost: templates around whole texts (`post_processor`), truncation and padding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mogao.errors import CheckpointError, ConfigError, nearest
from mogao.tokenizer_files import (
    BYTE_CHARS,
    SPECIAL_ENTRIES,
    SPECIAL_NAMES,
    ForeignToken,
    TokenizerData,
    dump,
    frame_of,
    merges_of,
    read_file,
    special_entry,
    vocab_of,
)
from mogao.tokenizer_words import WORDS, is_nfc, words_of

_CHATML = {"pad": "<|endoftext|>", "begin": "<|im_start|>", "end": "<|im_end|>"}
_QWEN = _CHATML | {"image": "<|vision_start|>", "/image": "<|vision_end|>"}
_LLAMA3 = {
    "pad": "<|finetune_right_pad_id|>", "begin": "<|begin_of_text|>", "end": "<|eot_id|>",
}  # fmt: skip

STANDARD_SPECIAL: dict[str, dict[str, str]] = {
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "bagel": _QWEN,
    "smollm2": _CHATML,
    "llama3": _LLAMA3,
}
"""Our special tokens among the added tokens of each family; what is missing gets a new id.

Source: `tokenizer_config.json` of the models; for BAGEL, `add_special_tokens` of its data code.
"""

# Families whose text is composed first, and those that take a whole word before any merge.
_NFC = ("qwen2",)
_WHOLE_WORDS = ("llama3",)


def standard_special(family: str, source: str | Path | Mapping[str, Any]) -> dict[str, str]:
    """Return what `Tokenizer.from_foreign` needs to know of a family.

    Args:
        family: A key of `STANDARD_SPECIAL`, or "llama" for either of its two kinds.
        source: See `read_foreign`; which of the two kinds it is shows in its added tokens.

    Raises:
        ConfigError: The family is not known.
        CheckpointError: The file cannot be read.
    """
    if family == "llama":
        contents = {token.content for token in _added(_object(source))}
        family = "llama3" if _LLAMA3["begin"] in contents else "smollm2"
    if family not in STANDARD_SPECIAL:
        known = [*STANDARD_SPECIAL, "llama"]
        raise ConfigError(f"no special tokens known of family {family!r}; {nearest(family, known)}")
    return dict(STANDARD_SPECIAL[family])


def read_foreign(
    source: str | Path | Mapping[str, Any],
    *,
    special: Mapping[str, str],
    first_free_id: int = 0,
) -> TokenizerData:
    """Read a byte-level BPE of another model.

    Args:
        source: A folder with a `tokenizer.json`, the file itself, or the object in it.
        special: Added token of the model for each of our names; see `STANDARD_SPECIAL`.
        first_free_id: New ids are not below it, nor below any id of the model.

    Raises:
        ConfigError: `special` has a name that is not ours, or one token twice.
        CheckpointError: It is no byte-level BPE of a known kind, or not consistent.
    """
    data = _object(source)
    model = data["model"]
    if model.get("type") != "BPE":
        raise CheckpointError(
            f"model.type is {model.get('type')!r:.80}; only byte-level BPE can be read"
        )
    # What a token for unknown characters is for cannot happen: `encode` refuses a missing byte.
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise CheckpointError(f"model.{key} must not be set, got {model[key]!r:.80}")
    decoder = data.get("decoder")
    if not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel":
        raise CheckpointError(f"decoder must be ByteLevel, got {decoder!r:.200}")
    result = TokenizerData(
        dict(vocab_of(model)),
        merges_of(model.get("merges")),
        words=words_of(data.get("pre_tokenizer")),
        nfc=is_nfc(data.get("normalizer")),
        whole_words=model.get("ignore_merges") is True,
        foreign=tuple(_added(data)),
    )
    return _with_special(result, special, first_free_id=first_free_id)


def from_lists(
    tokens: Sequence[str],
    merges: Sequence[tuple[str, str]],
    *,
    words: str,
    special: Mapping[str, str],
) -> TokenizerData:
    """Make a tokenizer from lists, as GGUF files have them.

    What is neither a byte nor made by a merge can come from no text: it is an added token.

    Args:
        tokens: Entries in the order of their ids.
        merges: Ordered pairs of entries.
        words: A key of `WORDS`.
        special: As for `read_foreign`.

    Raises:
        ConfigError: `words` is not known, or as for `read_foreign`.
        CheckpointError: A token occurs twice.
    """
    if words not in WORDS:
        raise ConfigError(f"words {words!r} are not known; {nearest(words, WORDS)}")
    vocab = {entry: i for i, entry in enumerate(tokens)}
    if len(vocab) < len(tokens):
        raise CheckpointError(f"{len(tokens) - len(vocab)} of {len(tokens)} tokens occur twice")
    made = {left + right for left, right in merges} | BYTE_CHARS.keys()
    added = [ForeignToken(i, entry) for entry, i in vocab.items() if entry not in made]
    result = TokenizerData(
        vocab,
        merges,
        words=words,
        nfc=words in _NFC,
        whole_words=words in _WHOLE_WORDS,
        foreign=tuple(added),
    )
    return _with_special(result, special, first_free_id=0)


def write_foreign(data: TokenizerData) -> str:
    """Return the `tokenizer.json` of the other library, special tokens as added tokens again.

    Ours that the model did not have are added as `exported_name` says.

    Raises:
        CheckpointError: An ordinary entry has the name of an added token.
    """
    contents = {token.id: token for token in data.foreign}
    for name in new_names(data):
        new_id = data.vocab[special_entry(name)]
        contents[new_id] = ForeignToken(new_id, exported_name(name))
    # They stand in the vocabulary too: that library gives other added tokens ids of its own.
    vocab = {token.content: token.id for token in contents.values()}
    vocab |= {entry: i for entry, i in data.vocab.items() if i not in contents}
    if len(vocab) < len(data.vocab):
        raise CheckpointError("an entry of the vocabulary has the name of an added token")
    frame = frame_of(data)
    frame["added_tokens"] = [asdict(contents[i]) for i in sorted(contents)]
    return dump(frame, vocab, merges=data.merges)


def new_names(data: TokenizerData) -> tuple[str, ...]:
    """Return our names for which the model that a tokenizer comes from has no token."""
    known = {token.id for token in data.foreign}
    return tuple(n for n in SPECIAL_NAMES if data.vocab[special_entry(n)] not in known)


def exported_name(name: str) -> str:
    """Return what stands for one of our special tokens in other programs."""
    return f"<|mogao_{name}|>"


def _with_special(
    data: TokenizerData, special: Mapping[str, str], *, first_free_id: int
) -> TokenizerData:
    """Take added tokens out of the reach of text and give all our names an id."""
    names = _names(special, {token.content for token in data.foreign})
    vocab = dict(data.vocab)
    for token in data.foreign:
        if vocab.pop(token.content, token.id) != token.id:
            raise CheckpointError(
                f"added token {token.content!r:.80} has another id in model.vocab"
            )
        entry = special_entry(names.get(token.content, token.content))
        if entry in vocab or (entry in SPECIAL_ENTRIES and token.content not in names):
            raise CheckpointError(f"added token {token.content!r:.80} occurs twice or is reserved")
        vocab[entry] = token.id
    ids = [i for i in vocab.values() if type(i) is int]
    free = max([first_free_id - 1, *ids])
    for name in SPECIAL_NAMES:
        if special_entry(name) not in vocab:
            free += 1
            vocab[special_entry(name)] = free
    return replace(data, vocab=vocab)


def _names(special: Mapping[str, str], contents: Collection[str]) -> dict[str, str]:
    """Our name of each added token that has one."""
    for name in special:
        if name not in SPECIAL_NAMES:
            raise ConfigError(f"no special token {name!r}; {nearest(name, SPECIAL_NAMES)}")
    if len(set(special.values())) < len(special):
        raise ConfigError(f"two special tokens share one added token: {dict(special)}")
    exported = {exported_name(name): name for name in SPECIAL_NAMES}
    ours = {content: name for name, content in special.items() if content in contents}
    again = {c: name for c, name in exported.items() if c in contents and name not in ours.values()}
    return again | ours


def _object(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(source, Mapping):
        data = dict(source)
        if not isinstance(data.get("model"), dict):
            raise CheckpointError("not a tokenizer: expected an object with a 'model'")
        return data
    path = Path(source)
    return read_file(path / "tokenizer.json" if path.is_dir() else path)


def _added(data: Mapping[str, Any]) -> list[ForeignToken]:
    tokens = data.get("added_tokens") or []
    if not isinstance(tokens, list):
        raise CheckpointError(f"added_tokens must be a list, got {tokens!r:.200}")
    return [ForeignToken.from_json(token) for token in tokens]
