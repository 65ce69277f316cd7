"""Common dataset rows to records: chat, LLaVA chat, captions, questions, edits, preferences.

In: decoded rows. Out: records of plain JSON values, already checked. Row forms: docs/data.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mogao.data.records import check_path, parse_record
from mogao.data.tables import Row, open_table
from mogao.data.violations import RecordError, Violation
from mogao.errors import ConfigError, DataError, nearest
from mogao.files import atomic_path

Segments = list[dict[str, Any]]


class _MisfitError(ValueError):
    """A row lacks what its form needs."""


_ROLES = {
    "user": "user", "human": "user", "model": "model", "assistant": "model", "gpt": "model",
    "system": "system", "developer": "system",
}  # fmt: skip


def from_chat(row: Mapping[str, Any]) -> list[Segments]:
    """`{"messages": [{"role", "content"}]}`; content is text or a list of text and image parts."""
    segments: Segments = []
    for message in _list(row, "messages"):
        role = _role(_text(message, "role"))
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            raise _MisfitError(f"messages: content must be text or a list, got {content!r:.60}")
        segments += [{**_chat_part(part), "from": role} for part in parts]
    return [segments]


def from_llava(row: Mapping[str, Any]) -> list[Segments]:
    """`{"image": ..., "conversations": [{"from", "value"}]}`; `<image>` marks the place."""
    images = row.get("images") or ([row["image"]] if row.get("image") is not None else [])
    waiting = list(images)
    segments: Segments = []
    for turn in _list(row, "conversations"):
        role = _role(_text(turn, "from"))
        for number, text in enumerate(_text(turn, "value").split("<image>")):
            if number:
                if not waiting:
                    raise _MisfitError(f"conversations: more <image> than the {len(images)} given")
                segments.append({"image": waiting.pop(0), "from": role})
            if text.strip():
                segments.append({"text": text.strip(), "from": role})
    if waiting:
        raise _MisfitError(f"{len(waiting)} of {len(images)} images have no <image> mark")
    return [segments]


def from_caption(row: Mapping[str, Any]) -> list[Segments]:
    """`{"image", "caption"}`: a plain document, the caption followed by the picture to draw."""
    return [[{"text": _text(row, "caption")}, {"image": _value(row, "image")}]]


def from_vqa(row: Mapping[str, Any]) -> list[Segments]:
    """`{"image" or "images", "question", "answer"}`: the user shows and asks, the model answers."""
    pictures = row.get("images") or [_value(row, "image")]
    segments: Segments = [{"image": picture, "from": "user"} for picture in pictures]
    segments.append({"text": _text(row, "question"), "from": "user"})
    return [[*segments, {"text": _text(row, "answer")}]]


def from_edit(row: Mapping[str, Any]) -> list[Segments]:
    """`{"source", "instruction", "target"}`: the user shows and asks, the model draws."""
    return [
        [
            {"image": _value(row, "source"), "from": "user"},
            {"text": _text(row, "instruction"), "from": "user"},
            {"image": _value(row, "target")},
        ]
    ]


def from_preference(row: Mapping[str, Any]) -> list[Segments]:
    """`{"prompt", "images"?, "chosen", "rejected"}`: two records whose answers carry a tag.

    An answer is text or `{"image": ...}`; its segment is tagged `chosen` or `rejected`.
    """
    shown: Segments = [{"image": i, "from": "user"} for i in row.get("images") or []]
    shown.append({"text": _text(row, "prompt"), "from": "user"})
    records = []
    for side in ("chosen", "rejected"):
        answer = _value(row, side)
        segment = {"text": answer} if isinstance(answer, str) else dict(answer)
        records.append([*shown, {**segment, "tags": [side]}])
    return records


FORMS: dict[str, Callable[[Mapping[str, Any]], list[Segments]]] = {
    "chat": from_chat,
    "llava": from_llava,
    "caption": from_caption,
    "vqa": from_vqa,
    "edit": from_edit,
    "preference": from_preference,
}
"""Row form to its conversion; one row can give several records."""


def convert_row(
    row: Mapping[str, Any], *, form: str, name: str, where: str
) -> list[dict[str, Any]]:
    """Convert one row to checked records.

    Args:
        row: The decoded row; its own `id` (text or number) is kept.
        form: A key of `FORMS`.
        name: The id to use when the row has none.
        where: File and line, for messages.

    Raises:
        ConfigError: There is no such form.
        RecordError: The row lacks a key of its form, or the result breaks the record schema.
    """
    if form not in FORMS:
        raise ConfigError(f"unknown form {form!r} ({nearest(form, FORMS)})")
    if not isinstance(row, Mapping):
        raise RecordError([Violation(where, "", f"must be an object, got {type(row).__name__}")])
    try:
        documents = FORMS[form](row)
    except ValueError as error:
        raise RecordError([Violation(where, "", f"not a {form} row: {error}")]) from None
    name = str(row["id"]) if row.get("id") is not None else name
    records = []
    for number, segments in enumerate(documents):
        record: dict[str, Any] = {"id": name, "segments": segments}
        if len(documents) > 1:
            side = segments[-1]["tags"][0]
            record |= {"id": f"{name}-{side}", "meta": {"pair": name, "number": number}}
        parse_record(record, where=where)
        records.append(record)
    return records


def convert_file(source: str, target: Path, *, form: str) -> int:
    """Convert every row of a file to records in JSON Lines; return the number of records.

    A picture's path is kept where `target` lies in the folder of `source`; other pictures are
    stored in the records as base64. `target` appears when everything is converted.

    Raises:
        ConfigError: There is no such form.
        DataError: A file cannot be read, or a row does not fit the form; names file and line.
    """
    table = open_table(source)
    beside = Path(source).parent.resolve() == target.parent.resolve()
    count = 0
    with atomic_path(target) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for index in range(len(table)):
            row = table.row(index)
            name = f"{Path(source).stem}-{index + 1:06d}"
            for record in convert_row(row.data, form=form, name=name, where=row.where):
                _store_pictures(record, row, keep_paths=beside)
                file.write(json.dumps(record) + "\n")
                count += 1
    return count


def _store_pictures(record: dict[str, Any], row: Row, *, keep_paths: bool) -> None:
    for index, item in enumerate(record["segments"]):
        value = item.get("image")
        data: bytes | None = None
        if isinstance(value, str) and not keep_paths:
            try:
                data = row.read(value)
            except DataError as error:
                field = f"segments[{index}].image"
                raise RecordError([Violation(row.where, field, str(error))]) from None
        elif isinstance(value, bytes):
            data = value
        elif isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
            data = value["bytes"]
        if data is not None:
            item["image"] = {"base64": base64.b64encode(data).decode("ascii")}


def _chat_part(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return {"text": _text(part, "text")}
    if kind == "image":
        return {"image": _value(part, "image")}
    if kind == "image_url":
        url = part["image_url"].get("url") if isinstance(part.get("image_url"), Mapping) else None
        head, comma, body = str(url).partition(",")
        if comma and head.startswith("data:image/") and head.endswith(";base64"):
            return {"image": {"base64": body}}
        return {"image": check_path(str(url))}
    raise _MisfitError(f"a content part must be text, image or image_url, got {part!r:.60}")


def _role(name: str) -> str:
    if name not in _ROLES:
        raise _MisfitError(f"unknown role {name!r} ({nearest(name, _ROLES)})")
    return _ROLES[name]


def _value(row: Mapping[str, Any], key: str) -> Any:
    if row.get(key) is None:
        raise _MisfitError(f"{key!r} is missing; the row has {', '.join(map(str, row))}")
    return row[key]


def _text(row: Mapping[str, Any], key: str) -> str:
    value = _value(row, key)
    if not isinstance(value, str):
        raise _MisfitError(f"{key!r} must be text, got {value!r:.60}")
    return value


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = _value(row, key)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise _MisfitError(f"{key!r} must be a list of objects, got {value!r:.60}")
    return value
