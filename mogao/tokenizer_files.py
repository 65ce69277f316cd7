"""What a `tokenizer.json` of ours holds: its parts, read, checked, written and made an engine.

In: the text of a file. Out: `TokenizerData`, or a `CheckpointError` for whatever would change what
texts become.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import models

from mogao.errors import CheckpointError
from mogao.tokenizer_words import OWN_WORDS, WORDS, is_nfc, words_of

SPECIAL_NAMES = ("pad", "begin", "end", "image", "/image", "user", "model", "system")
"""Names of our special tokens, ids 0 to 7 in our own tokenizers; rendered as `<name>`."""

MAX_FILE_BYTES = 64 << 20
"""Several times the largest known `tokenizer.json`."""
MAX_IDS = 1 << 20
"""Ids lie below; the largest known vocabularies have 262,144."""


def _byte_chars() -> dict[str, int]:
    """The byte-level alphabet of GPT-2: a visible character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    chars = {chr(byte): byte for byte in printable}
    chars.update({chr(256 + i): byte for i, byte in enumerate(hidden)})
    return chars


BYTE_CHARS = _byte_chars()
"""The visible stand-in of each byte in `tokenizer.json`."""


def special_entry(name: str) -> str:
    """How a special token stands in the vocabulary.

    The angle brackets U+27E8 and U+27E9 lie outside the byte alphabet, so neither a merge nor any
    text can produce the entry; a `<image>` typed by a user is seven ordinary bytes.
    """
    return f"\u27e8{name}\u27e9"


SPECIAL_ENTRIES = {special_entry(name): name for name in SPECIAL_NAMES}


@dataclass(frozen=True, slots=True)
class ForeignToken:
    """An added token of the model that a tokenizer comes from, as its `tokenizer.json` has it.

    Attributes:
        id: Its id, there and here.
        content: What stands for it there; the other library finds it in text, ours does not.
        single_word: The remaining fields only go back to the other library.
        lstrip: See there.
        rstrip: See there.
        normalized: See there.
        special: Whether decoding hides it; others, such as `<think>`, a model may write as text.
    """

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True

    @classmethod
    def from_json(cls, data: Any) -> ForeignToken:
        """Read one item.

        Raises:
            CheckpointError: A field is missing, unknown or of another type, or the token is text
                that anybody may type without meaning a token.
        """
        kinds = {field.name: bool for field in fields(cls)} | {"id": int, "content": str}
        if not isinstance(data, dict) or {k: type(v) for k, v in data.items()} != kinds:
            raise CheckpointError(
                f"an added token must have exactly {', '.join(kinds)}; got {data!r:.200}"
            )
        token = cls(**data)
        if re.search("[\ud800-\udfff]", token.content):
            raise CheckpointError(f"added token {token.content!r:.80} is not valid Unicode")
        if not token.content or not (token.special or is_marker(token.content)):
            raise CheckpointError(
                f"added token {token.content!r:.80} (id {token.id}) is neither special nor written "
                "as <name>: typed text would get other ids here than in its model"
            )
        return token


def is_marker(content: str) -> bool:
    """Return whether a text looks like a token, as `<think>` does."""
    return re.fullmatch(r"<[^\s<>]+>", content) is not None


@dataclass(frozen=True, slots=True)
class TokenizerData:
    """All that a tokenizer is.

    Attributes:
        vocab: Entry to id; special tokens stand there as `special_entry` of our name, or of what
            the foreign model calls those that we have no name for.
        merges: Ordered pairs of entries.
        words: How text is cut into words, a key of `WORDS`.
        nfc: Whether text is composed first (Unicode form C); then not every text round-trips.
        whole_words: Whether a word that is an entry becomes it without merges (Llama 3).
        foreign: Added tokens of the model that this one comes from.
    """

    vocab: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    words: str = OWN_WORDS
    nfc: bool = False
    whole_words: bool = False
    foreign: tuple[ForeignToken, ...] = ()


def engine_of(data: TokenizerData) -> Engine:
    """Return what turns text into ids; it knows no added tokens."""
    engine = Engine.from_str(json.dumps(frame_of(data)))
    engine.model = models.BPE(
        vocab=dict(data.vocab), merges=list(data.merges), ignore_merges=data.whole_words
    )
    return engine


def write_json(data: TokenizerData) -> str:
    """Return a file in the format of the `tokenizers` library, which can read it as well."""
    frame = frame_of(data)
    if data.foreign:
        # That library ignores what it does not know there, and refuses it elsewhere.
        frame["decoder"]["foreign_tokens"] = [asdict(token) for token in data.foreign]
    return dump(frame, data.vocab, merges=data.merges)


def dump(
    frame: dict[str, Any], vocab: Mapping[str, int], *, merges: Sequence[tuple[str, str]]
) -> str:
    """Return a frame with its vocabulary, ordered by id, and its merges as JSON text."""
    frame["model"]["vocab"] = {
        entry: vocab[entry] for entry in sorted(vocab, key=vocab.__getitem__)
    }
    frame["model"]["merges"] = [list(pair) for pair in merges]
    return json.dumps(frame, indent=1) + "\n"


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the object that a `tokenizer.json` is.

    Raises:
        CheckpointError: It is no JSON, or no object with a model.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not valid JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise CheckpointError("not a tokenizer: expected an object with a 'model'")
    return data


def read_file(path: str | Path) -> dict[str, Any]:
    """Return the object in a `tokenizer.json`.

    Raises:
        CheckpointError: The file is missing, too large or as for `parse_json`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise CheckpointError(f"cannot read tokenizer {path}: no such file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path} has {path.stat().st_size} bytes; a tokenizer.json has at most "
                f"{MAX_FILE_BYTES}"
            )
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read tokenizer {path}: {error.strerror}") from None
    try:
        return parse_json(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def read_own(data: dict[str, Any]) -> TokenizerData:
    """Take a tokenizer out of what `write_json` wrote and refuse whatever would change `encode`.

    Raises:
        CheckpointError: Anything in it is not as `write_json` writes it.
    """
    decoder, model = data.get("decoder"), data["model"]
    tokens = decoder.get("foreign_tokens", []) if isinstance(decoder, dict) else []
    if not isinstance(tokens, list):
        raise CheckpointError("decoder.foreign_tokens must be a list")
    result = TokenizerData(
        vocab_of(model),
        merges_of(model.get("merges")),
        words=words_of(data.get("pre_tokenizer")),
        nfc=is_nfc(data.get("normalizer")),
        whole_words=model.get("ignore_merges") is True,
        foreign=tuple(ForeignToken.from_json(token) for token in tokens),
    )
    wanted = frame_of(result)
    for key in ("added_tokens", "post_processor", "truncation", "padding"):
        if data.get(key) != wanted[key]:
            raise CheckpointError(f"{key!r} must be {wanted[key]!r}, got {data.get(key)!r:.200}")
    for key, value in wanted["model"].items():
        if key not in ("vocab", "merges") and model.get(key) != value:
            raise CheckpointError(f"model.{key} must be {value!r}, got {model.get(key)!r:.200}")
    return result


def vocab_of(model: dict[str, Any]) -> dict[str, int]:
    """Return the vocabulary of a model; `check` looks at the ids.

    Raises:
        CheckpointError: It is no mapping.
    """
    vocab = model.get("vocab")
    if not isinstance(vocab, dict):
        raise CheckpointError("model.vocab must be a mapping")
    return vocab


def merges_of(data: Any) -> list[tuple[str, str]]:
    """Return merges that stand as pairs or, as older files have them, joined by a space.

    Raises:
        CheckpointError: They are anything else.
    """
    if not isinstance(data, list):
        raise CheckpointError("model.merges must be a list")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in data]
    if any(not isinstance(p, list) or [type(part) for part in p] != [str, str] for p in pairs):
        raise CheckpointError("model.merges must be pairs of strings")
    return [(left, right) for left, right in pairs]


def check(data: TokenizerData) -> None:
    """Refuse a tokenizer whose parts do not fit together.

    Raises:
        CheckpointError: An id is used twice or out of range, a special token is missing, an entry
            is not made of the byte alphabet, a merge names an unknown entry; or the words are ours
            and special tokens, ids or bytes are not.
    """
    vocab, size = data.vocab, len(data.vocab)
    is_own = data.words == OWN_WORDS
    limit = size if is_own else MAX_IDS
    if (
        any(type(i) is not int or not 0 <= i < limit for i in vocab.values())
        or len(set(vocab.values())) < size
    ):
        raise CheckpointError(f"token ids must be whole numbers 0..{limit - 1}, each once")
    for i, name in enumerate(SPECIAL_NAMES):
        got = vocab.get(special_entry(name))
        if got is None or (is_own and got != i):
            wanted = f"must have id {i}" if is_own else "is missing"
            raise CheckpointError(f"special token <{name}> {wanted}")
    missing = [byte for char, byte in BYTE_CHARS.items() if char not in vocab]
    if is_own and (missing or data.nfc or data.whole_words):
        raise CheckpointError(
            f"bytes without a token: {missing[:8]}" if missing else
            f"normalizer and model.ignore_merges must not be set with the words of {OWN_WORDS}"
        )  # fmt: skip
    _check_entries(data)


def _check_entries(data: TokenizerData) -> None:
    special = dict.fromkeys(SPECIAL_ENTRIES)
    names = {data.vocab[entry] for entry in special}
    ids = [token.id for token in data.foreign]
    for token in data.foreign:
        entry = special_entry(token.content)
        if token.id not in names:
            if entry in special or data.vocab.get(entry) != token.id:
                raise CheckpointError(f"added token {token.content!r:.80} must have id {token.id}")
            special[entry] = None
    if len(set(ids)) < len(ids):
        raise CheckpointError("two added tokens have one id")
    for entry, i in data.vocab.items():
        if entry not in special and not (entry and set(entry) <= BYTE_CHARS.keys()):
            raise CheckpointError(f"token {i} {entry!r:.80} is not made of the byte alphabet")
    known = data.vocab.keys() - special.keys()
    for left, right in data.merges:
        if left not in known or right not in known or left + right not in known:
            raise CheckpointError(f"merge {left!r:.80} + {right!r:.80} names an unknown token")


def frame_of(data: TokenizerData) -> dict[str, Any]:
    """Return a file without vocabulary and merges."""
    steps = [dict(step) for step in WORDS[data.words]]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "NFC"} if data.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": data.whole_words,
            "vocab": {},
            "merges": [],
        },
    }
