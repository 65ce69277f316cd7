"""The record schema: one interleaved document as plain data, checked, and turned into a sequence.

In: decoded JSON, parquet rows, tar samples. Out: `Record`, `InterleavedSequence`, and back.
Schema with examples: docs/data.md. Pictures are local files, tar members, bytes or base64; never
a URL, and never a path that leaves the folder of the record.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from mogao.data.images import (
    DEFAULT_MAX_PIXELS,
    TOKEN_PIXELS,
    fit,
    png_bytes,
    read_image,
    read_loss_map,
    save_png,
)
from mogao.data.violations import RecordError, Violation
from mogao.errors import DataError, RequestError, nearest
from mogao.files import atomic_path
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, Role, Segment, TextSegment

IMAGE_KEYS = ("vit", "latents", "loss_map")
"""Segment keys that only a picture may have."""


def _as_source(value: Any) -> str | bytes:
    """Bring every allowed form of a picture to a relative path or to bytes."""
    if isinstance(value, Mapping):
        present = {key: item for key, item in value.items() if item is not None}
        if set(present) == {"base64"} and isinstance(present["base64"], str):
            try:
                return base64.b64decode(present["base64"], validate=True)
            except binascii.Error as error:
                raise ValueError(f"is not valid base64: {error}") from None
        if isinstance(present.get("bytes"), bytes) and set(present) <= {"bytes", "path"}:
            return present["bytes"]
        raise ValueError('must be {"base64": text} or, in parquet, {"bytes": ...}')
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return check_path(value)
    raise ValueError(f"must be a path, bytes or base64, got {type(value).__name__}")


def check_path(path: str) -> str:
    """Return a picture's path if it is relative and stays below the folder of its record.

    Raises:
        ValueError: It is empty, a URL, absolute, or has a `..` part or a backslash.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        raise ValueError(f"{path[:60]!r} is a URL or a drive; only local relative paths are read")
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or set(path) & {"\\", "\0"}:
        raise ValueError(f"{path[:60]!r} must be a relative path below the folder of the file")
    return path


def _some(segments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not segments:
        raise ValueError("needs at least one segment")
    return segments


def _unicode(value: Any) -> Any:
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("holds a lone surrogate, which no UTF-8 text can")
    return value


Source = Annotated[str | bytes, BeforeValidator(_as_source)]
Text = Annotated[StrictStr, BeforeValidator(_unicode)]


class SegmentRecord(BaseModel):
    """One text or one picture of a record; the meaning of each key is in docs/data.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text | None = None
    image: Source | None = None
    role: Role = Field("model", alias="from")
    loss: StrictBool | None = None
    weight: Annotated[StrictFloat | StrictInt, Field(ge=0, allow_inf_nan=False)] = 1.0
    tags: tuple[Text, ...] = ()
    vit: StrictBool = True
    latents: StrictBool = True
    loss_map: Source | None = None

    @model_validator(mode="after")
    def _one_content(self) -> SegmentRecord:
        if (self.text is None) == (self.image is None):
            raise ValueError("needs exactly one of 'text' and 'image'")
        wrong = [key for key in IMAGE_KEYS if key in self.model_fields_set]
        if self.text is not None and wrong:
            raise ValueError(f"only a picture can have {', '.join(wrong)}")
        return self


class Record(BaseModel):
    """One document; unknown top-level keys have been moved into `meta` by `check_record`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Text
    segments: Annotated[tuple[SegmentRecord, ...], AfterValidator(_some)]
    meta: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """How pictures of records are read.

    Attributes:
        max_pixels: A larger picture is refused before it is decoded.
        pixel_budget: Most pixels after scaling.
        token_pixels: Pixels per side of a token; sides become multiples of it.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    pixel_budget: int = 16_384
    token_pixels: int = TOKEN_PIXELS


def check_record(data: Any, *, where: str) -> tuple[Record | None, list[Violation]]:
    """Check one decoded record; return it, or None with every violation found.

    A null counts as absent (parquet fills missing keys with it). Top-level keys beside `id`,
    `segments` and `meta` are moved into `meta`; unknown keys of a segment are violations.
    """
    if not isinstance(data, Mapping):
        return None, [Violation(where, "", f"must be an object, got {type(data).__name__}")]
    plain = {key: value for key, value in data.items() if value is not None}
    meta, fault = _meta(plain)
    if fault:
        return None, [Violation(where, "meta", fault)]
    plain["meta"] = meta
    if isinstance(plain.get("segments"), list | tuple):
        plain["segments"] = [_without_nulls(item) for item in plain["segments"]]
    try:
        return Record.model_validate(plain), []
    except ValidationError as error:
        return None, [_violation(item, where=where, keys=meta) for item in error.errors()]


def parse_record(data: Any, *, where: str) -> Record:
    """Check one decoded record.

    Raises:
        RecordError: It violates the schema; the message names place, field and reason of each.
    """
    record, violations = check_record(data, where=where)
    if record is None:
        raise RecordError(violations)
    return record


def to_sequence(
    record: Record,
    *,
    read: Callable[[str], bytes],
    where: str,
    options: PictureOptions | None = None,
) -> InterleavedSequence:
    """Read the pictures of a record and return its sequence.

    Args:
        record: The checked record.
        read: Returns the bytes behind a picture's path.
        where: File and line, for messages.
        options: Limits and sizes of pictures.

    Returns:
        The sequence; `meta["fitted"]` maps the index of each rescaled picture to its change.

    Raises:
        RecordError: A picture is missing, refused or broken; names place, field and reason.
    """
    options = options or PictureOptions()
    meta = dict(record.meta)
    segments: list[Segment] = []
    for index, item in enumerate(record.segments):
        if item.text is not None:
            segments.append(
                TextSegment(item.text, item.role, item.loss, float(item.weight), item.tags)
            )
            continue
        try:
            segment, change = _image(item, read, options=options)
        except (RequestError, DataError) as error:
            violation = Violation(where, f"segments[{index}].image", str(error))
            raise RecordError([violation]) from None
        segments.append(segment)
        if change:
            meta.setdefault("fitted", {})[str(index)] = change
    return InterleavedSequence(tuple(segments), record.id, meta)


def as_base64(pixels: Pixels) -> dict[str, str]:
    """Return a picture in the base64 form of a record."""
    return {"base64": base64.b64encode(png_bytes(pixels)).decode("ascii")}


def from_sequence(
    sequence: InterleavedSequence, *, store: Callable[[Pixels], Any] = as_base64
) -> dict[str, Any]:
    """Return a sequence as a record of plain JSON values; keys with default values are left out.

    Args:
        sequence: The document.
        store: Keeps a picture and returns what stands for it in the record.

    Raises:
        DataError: A loss map has weights outside [0, 1], which a picture cannot hold.
    """
    segments = []
    for segment in sequence.segments:
        item: dict[str, Any]
        if isinstance(segment, TextSegment):
            item = {"text": segment.text}
        else:
            item = {"image": store(segment.pixels)}
            item.update({k: False for k in ("vit", "latents") if not getattr(segment, k)})
            if segment.loss_map is not None:
                item["loss_map"] = store(_loss_picture(segment, id_=sequence.id))
        if segment.role != "model":
            item["from"] = segment.role
        if segment.loss is not None:
            item["loss"] = segment.loss
        if segment.weight != 1.0:
            item["weight"] = segment.weight
        if segment.tags:
            item["tags"] = list(segment.tags)
        segments.append(item)
    record: dict[str, Any] = {"id": sequence.id, "segments": segments}
    if sequence.meta:
        record["meta"] = sequence.meta
    return record


def write_records(sequences: Iterable[InterleavedSequence], path: Path) -> int:
    """Write sequences as JSON Lines with PNG files in a folder `<stem>-images`; return how many.

    The file appears when everything is written; pictures lie beside it, numbered by record.
    """
    folder = path.with_name(path.stem + "-images")
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for number, sequence in enumerate(sequences, start=1):
            names = _Numbered(folder, prefix=f"{number:06d}")
            file.write(json.dumps(from_sequence(sequence, store=names.save)) + "\n")
    return number


class _Numbered:
    """Saves the pictures of one record as `<folder>/<prefix>-<n>.png`."""

    def __init__(self, folder: Path, *, prefix: str) -> None:
        self.folder, self.prefix, self.count = folder, prefix, 0

    def save(self, pixels: Pixels) -> str:
        self.count += 1
        name = f"{self.prefix}-{self.count:02d}.png"
        save_png(pixels, self.folder / name)
        return f"{self.folder.name}/{name}"


def _image(
    item: SegmentRecord, read: Callable[[str], bytes], *, options: PictureOptions
) -> tuple[ImageSegment, dict[str, list[int]] | None]:
    source = item.image
    assert source is not None
    name = source if isinstance(source, str) else "picture"
    data = read(source) if isinstance(source, str) else source
    raw = read_image(data, max_pixels=options.max_pixels, where=name)
    pixels, change = fit(raw, token_pixels=options.token_pixels, pixel_budget=options.pixel_budget)
    loss_map = None
    if item.loss_map is not None:
        grid = (pixels.shape[0] // options.token_pixels, pixels.shape[1] // options.token_pixels)
        weights = read(item.loss_map) if isinstance(item.loss_map, str) else item.loss_map
        loss_map = read_loss_map(weights, grid, where="loss_map")
    segment = ImageSegment(
        pixels,
        item.role,
        item.loss,
        float(item.weight),
        item.tags,
        vit=item.vit,
        latents=item.latents,
        loss_map=loss_map,
    )
    return segment, change


def _loss_picture(segment: ImageSegment, *, id_: str) -> Pixels:
    weights = segment.loss_map
    assert weights is not None
    if weights.min() < 0 or weights.max() > 1:
        raise DataError(
            f"record {id_!r}: loss_map spans {weights.min()} to {weights.max()}; only weights "
            "in [0, 1] can be written, scale them and use the segment's weight"
        )
    height, width = segment.size
    cell = np.ones((height // weights.shape[0], width // weights.shape[1]))
    grey = np.rint(np.kron(weights, cell) * 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _meta(plain: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Take the metadata out of a record: `meta` itself and every unknown top-level key."""
    meta = plain.pop("meta", {})
    if isinstance(meta, str):  # parquet columns often hold it as JSON text
        try:
            meta = json.loads(meta)
        except (ValueError, RecursionError):
            return {}, "is text but no JSON"
    if not isinstance(meta, Mapping):
        return {}, f"must be an object, got {type(meta).__name__}"
    extra = {key: plain.pop(key) for key in set(plain) - {"id", "segments"}}
    double = sorted(set(extra) & set(meta))
    if double:
        return {}, f"{', '.join(double)} stand both in meta and beside it"
    return {**meta, **extra}, ""


def _without_nulls(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    return {key: value for key, value in item.items() if value is not None}


def _violation(item: Any, *, where: str, keys: Iterable[str]) -> Violation:
    """One pydantic error in our words, with the nearest known key for a misspelt one."""
    field = ""
    for part in item["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else part
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if item["type"] == "extra_forbidden":
        known = [info.alias or name for name, info in SegmentRecord.model_fields.items()]
        message = f"unknown key ({nearest(str(item['loc'][-1]), known)})"
    elif item["type"] == "missing":
        message = f"is missing; the record has {', '.join(sorted(keys)) or 'nothing else'}"
    elif not item["type"].endswith("value_error"):
        message += f", got {item['input']!r:.60}"
    return Violation(where, field, message)
