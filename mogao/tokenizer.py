"""Text to token ids and back: a byte-level BPE whose special tokens no text can reach.

In: Unicode text, `tokenizer.json`. Out: lists of ids that packing lays out and sampling extends.
It knows no tensors and no sequences.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine

from mogao.errors import CheckpointError, ConfigError, RequestError
from mogao.files import atomic_write

SPECIAL_NAMES = ("pad", "begin", "end", "image", "/image", "user", "model", "system")
"""Names of the ids 0 to 7; rendered as `<name>`."""

# A word keeps the space before it; a digit is a token of its own, also with a space before it.
_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


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


class Tokenizer:
    """Byte-level BPE with eight special ids that `encode` never returns.

    Every string without lone surrogates round-trips exactly.

    Attributes:
        pad: Filler behind the end of a pack.
        begin: Opens a document.
        end: Closes a document, or a model turn of a conversation.
        image_open: Opens a picture; the token by which the model decides to draw.
        image_close: Closes a picture; appended by the runtime.
        user: Opens a turn of the user.
        model: Opens a turn of the model.
        system: Opens a turn of the system.
    """

    pad, begin, end, image_open, image_close, user, model, system = range(len(SPECIAL_NAMES))

    def __init__(self, vocab: dict[str, int], merges: Sequence[tuple[str, str]]) -> None:
        """Build from a vocabulary (entry to id, special entries included) and ordered merges.

        Raises:
            CheckpointError: The ids are not 0..n-1, a special entry or a byte is missing, an
                entry is not made of the byte alphabet, or a merge names an unknown entry.
        """
        _check_vocab(vocab, merges)
        self._engine = _engine(vocab, merges)
        by_id = sorted(vocab, key=vocab.__getitem__)
        self._bytes = [b""] * len(SPECIAL_NAMES)
        self._bytes += [bytes(BYTE_CHARS[c] for c in entry) for entry in by_id[len(self._bytes) :]]

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; none of them is special, whatever the text says.

        Raises:
            RequestError: The text holds a lone surrogate, which no UTF-8 text can.
        """
        try:
            return self._engine.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            raise RequestError(
                f"text is not valid Unicode (lone surrogate) in {text[:40]!r}; decode it as UTF-8"
            ) from None

    def token_bytes(self, token: int, *, render_special: bool = False) -> bytes:
        """Return the bytes of one id; those of a special id are empty unless rendered.

        Raises:
            CheckpointError: The id is outside the vocabulary, so model and tokenizer differ.
        """
        if not 0 <= token < len(self._bytes):
            raise CheckpointError(
                f"token id {token} is outside the tokenizer's 0..{len(self._bytes) - 1}; "
                "the model folder's tokenizer.json belongs to another model"
            )
        if render_special and token < len(SPECIAL_NAMES):
            return f"<{SPECIAL_NAMES[token]}>".encode()
        return self._bytes[token]

    def decode(self, ids: Iterable[int], *, render_special: bool = False) -> str:
        """Return the text of ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: Token ids.
            render_special: Show special tokens as `<name>` (for people) instead of skipping them.
        """
        data = b"".join(self.token_bytes(i, render_special=render_special) for i in ids)
        return data.decode("utf-8", errors="replace")

    def decode_stream(self) -> StreamDecoder:
        """Return a decoder that takes ids one at a time and gives out whole characters only."""
        return StreamDecoder(self)

    def to_json(self) -> str:
        """Return the tokenizer in the plain format of the `tokenizers` library."""
        return json.dumps(json.loads(self._engine.to_str()), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Read what `to_json` returned.

        Raises:
            CheckpointError: The text is no JSON, or holds anything that this class would not write
                (added tokens, a normaliser, another pre-tokenizer, ...).
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f"not valid JSON: {error}") from None
        vocab, merges = _read(data)
        return cls(vocab, merges)

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`; see `to_json`."""
        atomic_write(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a `tokenizer.json` written by `save`.

        Raises:
            CheckpointError: The file is missing or unreadable, or as for `from_json`.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"cannot read tokenizer {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path} is not valid JSON: {error}") from None
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int = 2048) -> Tokenizer:
        """Learn merges from texts; the same texts give the same tokenizer.

        Args:
            texts: The training texts; read once.
            vocab_size: Most ids, at least 264 (8 special tokens and 256 bytes); fewer result
                where the texts have no more pairs that occur twice.

        Raises:
            ConfigError: `vocab_size` is below 264.
        """
        least = len(SPECIAL_NAMES) + len(BYTE_CHARS)
        if vocab_size < least:
            raise ConfigError(f"vocab_size must be at least {least}, got {vocab_size}")
        engine = _engine({}, [])
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL_NAMES),
            min_frequency=2,
            initial_alphabet=sorted(BYTE_CHARS),
            show_progress=False,
        )
        engine.train_from_iterator(texts, trainer)
        learned = json.loads(engine.to_str())["model"]
        vocab = {special_entry(name): i for i, name in enumerate(SPECIAL_NAMES)}
        for entry in sorted(learned["vocab"], key=learned["vocab"].__getitem__):
            vocab[entry] = len(vocab)
        return cls(vocab, [(left, right) for left, right in learned["merges"]])


class StreamDecoder:
    """Turns ids into text as they arrive; an incomplete UTF-8 character is held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Take one id and return the characters that it completes, possibly none."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """End the text: return U+FFFD for a character that never got complete, else nothing."""
        return self._decoder.decode(b"", final=True)


def _engine(vocab: dict[str, int], merges: Sequence[tuple[str, str]]) -> Engine:
    engine = Engine(models.BPE(vocab=vocab, merges=list(merges)))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    return engine


def _read(data: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Take vocabulary and merges out of the JSON and refuse whatever would change `encode`."""
    wanted = json.loads(_engine({}, []).to_str())
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise CheckpointError("not a tokenizer: expected an object with a 'model'")
    for key in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "truncation"):
        if data.get(key) != wanted[key]:
            raise CheckpointError(f"{key!r} must be {wanted[key]!r}, got {data.get(key)!r:.200}")
    model = dict(data["model"])
    vocab, merges = model.pop("vocab", None), model.pop("merges", None)
    for key, value in wanted["model"].items():
        if key not in ("vocab", "merges") and model.get(key) != value:
            raise CheckpointError(f"model.{key} must be {value!r}, got {model.get(key)!r:.200}")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise CheckpointError("model.vocab must be a mapping and model.merges a list")
    if any(not isinstance(m, list) or [type(part) for part in m] != [str, str] for m in merges):
        raise CheckpointError("model.merges must be pairs of strings")
    return vocab, [(left, right) for left, right in merges]


def _check_vocab(vocab: dict[str, int], merges: Sequence[tuple[str, str]]) -> None:
    if any(type(i) is not int for i in vocab.values()) or sorted(vocab.values()) != list(
        range(len(vocab))
    ):
        raise CheckpointError(f"token ids must be 0..{len(vocab) - 1}, each once")
    for i, name in enumerate(SPECIAL_NAMES):
        if vocab.get(special_entry(name)) != i:
            raise CheckpointError(f"special token <{name}> must have id {i}")
    missing = [byte for char, byte in BYTE_CHARS.items() if char not in vocab]
    if missing:
        raise CheckpointError(f"bytes without a token: {missing[:8]}")
    for entry, i in vocab.items():
        if i >= len(SPECIAL_NAMES) and not (entry and set(entry) <= BYTE_CHARS.keys()):
            raise CheckpointError(f"token {i} {entry!r} is not made of the byte alphabet")
    for left, right in merges:
        if left not in vocab or right not in vocab or left + right not in vocab:
            raise CheckpointError(f"merge {left!r} + {right!r} names an unknown token")
