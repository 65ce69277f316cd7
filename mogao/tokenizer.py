"""Text to token ids and back: a byte-level BPE whose special tokens no text can reach.

In: Unicode text, `tokenizer.json`. Out: lists of ids that packing lays out and sampling extends.
It knows no tensors and no sequences.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import trainers

from mogao.errors import CheckpointError, ConfigError, RequestError
from mogao.files import atomic_write
from mogao.tokenizer_files import (
    BYTE_CHARS,
    SPECIAL_ENTRIES,
    SPECIAL_NAMES,
    TokenizerData,
    check,
    engine_of,
    merges_of,
    parse_json,
    read_file,
    read_own,
    special_entry,
    write_json,
)
from mogao.tokenizer_foreign import from_lists, new_names, read_foreign, write_foreign


class Tokenizer:
    """Byte-level BPE, our own or another model's, with special ids that `encode` never returns.

    Every string without lone surrogates round-trips exactly, unless the model that the tokenizer
    comes from composes text first (Qwen: Unicode form C) or lacks a byte, which `encode` refuses.

    Attributes:
        pad: Filler behind the end of a pack.
        begin: Opens a document.
        end: Closes a document, or a model turn of a conversation.
        image_open: Opens a picture; the token by which the model decides to draw.
        image_close: Closes a picture; appended by the runtime.
        user: Opens a turn of the user.
        model: Opens a turn of the model.
        system: Opens a turn of the system.
        reserved: Ids that are no text: special ones and those between that nothing has.
        new_names: Our special tokens that the model it comes from lacks; of our own, all.
    """

    def __init__(self, data: TokenizerData) -> None:
        """Build from vocabulary, merges and settings.

        Raises:
            CheckpointError: They do not fit together; see `mogao.tokenizer_files.check`.
        """
        check(data)
        self._data, self._engine = data, engine_of(data)
        special = [data.vocab[special_entry(name)] for name in SPECIAL_NAMES]
        self.pad, self.begin, self.end, self.image_open, self.image_close, *roles = special
        self.user, self.model, self.system = roles
        self.new_names = new_names(data)
        self._shown = dict(zip(special, (f"<{name}>" for name in SPECIAL_NAMES), strict=True))
        self._bytes: list[bytes | None] = [None] * (max(data.vocab.values()) + 1)
        for token in data.foreign:
            if token.id not in self._shown:
                self._shown[token.id] = token.content
                self._bytes[token.id] = b"" if token.special else token.content.encode()
        for entry, i in data.vocab.items():
            if i not in self._shown:
                self._bytes[i] = bytes(BYTE_CHARS[char] for char in entry)
        for i in special:
            self._bytes[i] = b""
        self.reserved = frozenset(i for i, shown in enumerate(self._bytes) if not shown)
        self._lost = frozenset(BYTE_CHARS[c] for c in BYTE_CHARS.keys() - data.vocab.keys())

    @property
    def vocab_size(self) -> int:
        """Rows that an embedding needs: the largest id, special or not, and one."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; none of them is special, whatever the text says.

        Raises:
            RequestError: The text holds a lone surrogate, which no UTF-8 text can, or a character
                that the model's vocabulary has no bytes for.
        """
        try:
            ids = self._engine.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            raise RequestError(
                f"text is not valid Unicode (lone surrogate) in {text[:40]!r}; decode it as UTF-8"
            ) from None
        if self._lost and not self._lost.isdisjoint(text.encode()):
            lost = next(char for char in text if not self._lost.isdisjoint(char.encode()))
            raise RequestError(f"this model's vocabulary has no token for {lost!r}; remove it")
        return ids

    def token_bytes(self, token: int, *, render_special: bool = False) -> bytes:
        """Return the bytes of one id; those of a special id are empty unless rendered.

        Raises:
            CheckpointError: Nothing has this id, so model and tokenizer differ.
        """
        data = self._bytes[token] if 0 <= token < len(self._bytes) else None
        if data is None:
            raise CheckpointError(
                f"token id {token} is outside the tokenizer's 0..{len(self._bytes) - 1} or has no "
                "entry; the model folder's tokenizer.json belongs to another model"
            )
        return self._shown[token].encode() if render_special and not data else data

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
        return write_json(self._data)

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Read what `to_json` returned.

        Raises:
            CheckpointError: The text is no JSON, or holds anything that this class would not write
                (added tokens, another normaliser or pre-tokenizer, ...).
        """
        return cls(read_own(parse_json(text)))

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`; see `to_json`."""
        atomic_write(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a `tokenizer.json` written by `save`.

        Raises:
            CheckpointError: The file is missing or unreadable, or as for `from_json`.
        """
        data = read_file(path)
        try:
            return cls(read_own(data))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None

    @classmethod
    def from_foreign(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        special: Mapping[str, str],
        first_free_id: int = 0,
    ) -> Tokenizer:
        """Read the tokenizer of another model; ordinary text gets the same ids.

        What stands for a token there (`<|im_end|>`) is nothing but characters here when a user
        types it. Our special tokens that are new (`new_names`) need rows in the embedding.

        Args:
            source: A folder with a `tokenizer.json`, the file itself, or the object in it.
            special: Added token of that model for each of our names, which are `SPECIAL_NAMES`;
                `mogao.tokenizer_foreign.standard_special` knows those of families.
            first_free_id: New ids are not below it, nor below any id of the model.

        Raises:
            ConfigError: `special` names what is not ours, or one token twice.
            CheckpointError: It is no byte-level BPE of a known kind, or not consistent.
        """
        return cls(read_foreign(source, special=special, first_free_id=first_free_id))

    @classmethod
    def from_parts(
        cls,
        tokens: Sequence[str],
        merges: Sequence[tuple[str, str]],
        *,
        words: str,
        special: Mapping[str, str],
    ) -> Tokenizer:
        """Build from lists, as a GGUF file has them.

        Args:
            tokens: Entries in the order of their ids; those that no merge makes and that are no
                byte become special.
            merges: Ordered pairs of entries.
            words: How text is cut into words, a key of `mogao.tokenizer_words.WORDS`.
            special: As for `from_foreign`.

        Raises:
            ConfigError: `words` or a name in `special` is not known.
            CheckpointError: Tokens and merges are not consistent.
        """
        return cls(from_lists(tokens, merges, words=words, special=special))

    def to_foreign(self) -> str:
        """Return a `tokenizer.json` for other programs, which find special tokens in text.

        Ordinary text and added tokens keep their ids; `new_names` become `<|mogao_name|>`.

        Raises:
            CheckpointError: An ordinary entry has the name of an added token.
        """
        return write_foreign(self._data)

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
        engine = engine_of(TokenizerData({}, []))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL_NAMES),
            min_frequency=2,
            initial_alphabet=sorted(BYTE_CHARS),
            show_progress=False,
        )
        engine.train_from_iterator(texts, trainer)
        learned = parse_json(engine.to_str())["model"]
        vocab = {entry: i for i, entry in enumerate(SPECIAL_ENTRIES)}
        for entry in sorted(learned["vocab"], key=learned["vocab"].__getitem__):
            vocab[entry] = len(vocab)
        return cls(TokenizerData(vocab, merges_of(learned["merges"])))


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
