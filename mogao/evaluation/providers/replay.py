"""Answers of providers on the disk: written while somebody is asked, read when nobody is there.

In: a provider and a JSON Lines file. Out: the same answers again, without asking. A line holds who
was asked what about which pictures, and the answer; its key has the provider's name and the
SHA-256 of the question and of the pixels. A crash loses at most the answer under way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mogao.errors import ConfigError, DataError, RequestError
from mogao.evaluation.providers.base import Detection, YesNoProbabilities
from mogao.evaluation.providers.masks import MaskedDetection
from mogao.sequence import Pixels

METHODS: dict[str, tuple[str, ...]] = {
    "detector": ("detect",),
    "colours": ("colour",),
    "questions": ("answer", "yes_no_probabilities"),
    "judge": ("ask",),
    "embedders": ("embed",),
    "text": ("read",),
}
"""What may be asked of each kind of tool."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One answer: who gave it to what, as JSON, and where it stands."""

    provider: str
    method: str
    answer: Any
    where: str
    served: tuple[str, ...] = ()


class _Answers:
    """A file of answers as every kind of provider; asks who is there, if anyone, for the rest.

    Attributes:
        name: Of the provider that answers or answered.
        served: What the servers behind the answers given so far said of their models.
    """

    def __init__(
        self, name: str, path: Path, *, records: dict[str, _Record], provider: Any
    ) -> None:
        self.name = name
        self.served: set[str] = set()
        self._path = path
        self._records = records
        self._provider = provider

    def detect(self, pixels: Pixels) -> list[Detection]:
        """As `Detector`."""
        return self._fetch("detect", lambda asked: asked.detect(pixels), pictures=[pixels])

    def colour(self, pixels: Pixels, detection: Detection) -> str:
        """As `ColourReader`."""
        question = json.dumps(_from_detection(detection))
        return self._fetch(
            "colour",
            lambda asked: asked.colour(pixels, detection),
            question=question,
            pictures=[pixels],
        )

    def answer(self, pixels: Pixels, question: str) -> str:
        """As `VisualQuestions`."""
        return self._fetch(
            "answer",
            lambda asked: asked.answer(pixels, question),
            question=question,
            pictures=[pixels],
        )

    def yes_no_probabilities(self, pixels: Pixels, question: str) -> YesNoProbabilities:
        """As `VisualQuestions`."""
        return self._fetch(
            "yes_no_probabilities",
            lambda asked: asked.yes_no_probabilities(pixels, question),
            question=question,
            pictures=[pixels],
        )

    def ask(self, text: str, *, pictures: Sequence[Pixels] = ()) -> str:
        """As `ChatJudge`."""
        return self._fetch(
            "ask",
            lambda asked: asked.ask(text, pictures=pictures),
            question=text,
            pictures=pictures,
        )

    def embed(self, pictures: Sequence[Pixels]) -> Float32[np.ndarray, "pictures features"]:
        """As `Embedder`; one picture at a time, so that batches do not matter."""
        rows = [self._embedding(pixels) for pixels in pictures]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def _embedding(self, pixels: Pixels) -> Float32[np.ndarray, " features"]:
        return self._fetch("embed", lambda asked: asked.embed([pixels]), pictures=[pixels])

    def read(self, pixels: Pixels) -> list[str]:
        """As `TextReader`."""
        return self._fetch("read", lambda asked: asked.read(pixels), pictures=[pixels])

    def _fetch(
        self,
        method: str,
        ask: Callable[[Any], Any],
        *,
        question: str = "",
        pictures: Sequence[Pixels],
    ) -> Any:
        """The recorded answer, after it was asked for and recorded where it is missing.

        An answer just given passes the file's form too, so that recorded and replayed are equal.
        """
        key = _key(self.name, method, question=question, pictures=pictures)
        if key not in self._records:
            if self._provider is None:
                about = ", ".join(_digest(one)[:12] for one in pictures) or "none"
                raise RequestError(
                    f"{self._path}: no answer of {self.name!r} to {method} {question!r:.80} "
                    f"about pictures {about}; record it first"
                )
            answer = _CODECS[method][0](ask(self._provider))
            row = {"key": key, "provider": self.name, "method": method, "question": question}
            served = sorted(getattr(self._provider, "served", ()))
            self._append(row | {"answer": answer} | ({"served": served} if served else {}))
            self._records[key] = _Record(self.name, method, answer, str(self._path), tuple(served))
        self.served.update(self._records[key].served)
        return _decoded(self._records[key])

    def _append(self, row: Mapping[str, Any]) -> None:
        """Write one line in one go, in ASCII: a reply may hold half of a surrogate pair."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as file:
            file.write((json.dumps(row) + "\n").encode())


class Recorder(_Answers):
    """A provider whose answers are kept; what the file has already is not asked again.

    Args:
        provider: Any provider; its name is this one's too.
        path: The file, made when missing; recorders of several providers may share it.

    Raises:
        DataError: The file holds a line that is not a record.
    """

    def __init__(self, provider: Any, path: str | Path) -> None:
        path = Path(path)
        records, whole = _read(path)
        if path.exists():
            with path.open("r+b") as file:
                file.truncate(whole)  # a cut line would swallow the next one
        super().__init__(provider.name, path, records=records, provider=provider)


class Replay(_Answers):
    """The provider of a file of `Recorder`; it asks nobody.

    Args:
        path: The file.
        kind: Kind of tool that is wanted, as in `METHODS`; only its answers count. None: any.
        source: Name of the provider whose answers count; empty for the only one in the file.

    Raises:
        RequestError: There is no such file.
        DataError: It holds a line that is not a record.
        ConfigError: It holds answers of several providers, or none.
    """

    def __init__(self, path: str | Path, *, kind: str | None = None, source: str = "") -> None:
        path = Path(path)
        if not path.is_file():
            raise RequestError(f"no file of recorded answers at {path}")
        records, _ = _read(path)
        wanted = METHODS[kind] if kind else tuple(_CODECS)
        known = sorted({one.provider for one in records.values() if one.method in wanted})
        if source not in known and (source or len(known) != 1):
            raise ConfigError(
                f"{path} holds answers to {', '.join(wanted)} of {known or 'nobody'}; "
                f"expected {source or 'one provider, or the name of one'}"
            )
        super().__init__(source or known[0], path, records=records, provider=None)


def _read(path: Path) -> tuple[dict[str, _Record], int]:
    """All records by key, the first of equal keys; and the number of bytes in whole lines."""
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    records: dict[str, _Record] = {}
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            record = _Record(
                str(row["provider"]),
                str(row["method"]),
                row["answer"],
                where,
                tuple(map(str, row.get("served", ()))),
            )
            records.setdefault(str(row["key"]), record)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{where}: not a recorded answer with key, provider, method and answer ({error!r})"
            ) from None
    return records, whole


def _decoded(record: _Record) -> Any:
    """An answer as the provider gave it."""
    try:
        return _CODECS[record.method][1](record.answer)
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise DataError(
            f"{record.where}: answer {record.answer!r:.80} is none to {record.method!r} ({error!r})"
        ) from None


def _key(name: str, method: str, *, question: str, pictures: Sequence[Pixels]) -> str:
    hashes = hashlib.sha256("".join(map(_digest, pictures)).encode()).hexdigest()
    text = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name}/{method}/{text}/{hashes}"


def _digest(pixels: Pixels) -> str:
    """SHA-256 of the shape and bytes of a picture."""
    shape = "x".join(map(str, pixels.shape))
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _from_detection(found: Detection) -> dict[str, Any]:
    row: dict[str, Any] = {"name": found.name, "box": [*map(float, found.box)]}
    row["score"] = float(found.score)
    if isinstance(found, MaskedDetection):
        bits = zlib.compress(np.packbits(found.mask).tobytes(), 9)
        row["mask"] = [*found.mask.shape, base64.b64encode(bits).decode()]
    return row


def _to_detection(row: Mapping[str, Any]) -> Detection:
    left, top, right, bottom = map(float, row["box"])
    name, box, score = _text(row["name"]), (left, top, right, bottom), float(row["score"])
    if "mask" not in row:
        return Detection(name, box, score)
    height, width, bits = row["mask"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(bits)), np.uint8)
    mask = np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)
    return MaskedDetection(name, box, score, mask=mask)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


_CODECS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "detect": (
        lambda found: [_from_detection(one) for one in found],
        lambda rows: [_to_detection(row) for row in rows],
    ),
    "colour": (_text, _text),
    "answer": (_text, _text),
    "yes_no_probabilities": (
        lambda found: {"yes": float(found.yes), "no": float(found.no)},
        lambda row: YesNoProbabilities(float(row["yes"]), float(row["no"])),
    ),
    "ask": (_text, _text),
    "embed": (
        lambda rows: [float(number) for number in rows[0]],
        lambda numbers: np.array([float(number) for number in numbers], np.float32),
    ),
    "read": (list, lambda lines: [_text(line) for line in lines]),
}
"""How the answer to each method becomes JSON, and back."""
