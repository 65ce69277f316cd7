"""Public record files of benchmarks: read, checked, and turned into prompts.

In: JSON, JSON Lines, CSV and TSV files, folders of pictures, base64. Out: plain rows, checked
fields, documents. Pictures are looked for when a document is made and not before, so answers that
exist can be scored without them. Every fault is a `DataError` that names the file, the row and the
field. Nothing here knows one benchmark from another.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mogao.data.images import read_image
from mogao.data.records import check_path
from mogao.errors import DataError, RequestError
from mogao.evaluation.benchmark import Item
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, Role, TextSegment

Picture = Callable[[], Pixels]
Value = TypeVar("Value")

_MOST_CELL_BYTES = 2**27  # pictures in base64 go far beyond the 128 KiB that `csv` allows
_LONGEST_ID = 80


def read_text(path: Path) -> str:
    """Return a UTF-8 file without its byte order mark.

    Raises:
        DataError: It cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot read the records: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: It cannot be read or is not JSON.
    """
    return _decoded(read_text(path), where=str(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file; empty lines are passed over.

    Raises:
        DataError: It cannot be read, or a line is not a JSON object.
    """
    rows = []
    # Not splitlines: JSON strings may hold line separators of Unicode as they are.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        row = _decoded(line, where=f"{path}: line {number}")
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number}: expected an object, got {_kind(row)}")
        rows.append(row)
    return rows


def read_table(path: Path, *, delimiter: str) -> list[dict[str, str]]:
    """Return the rows of a table whose first line names the columns.

    Args:
        path: CSV or TSV file; cells may be quoted and hold line breaks.
        delimiter: "," or a tab.

    Raises:
        DataError: It cannot be read, a quote stays open, or a row has too few or too many cells.
    """
    with _large_cells():
        reader = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter, strict=True)
        try:
            names = next(reader, [])
            rows = []
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise DataError(
                        f"{path}: line {reader.line_num}: {len(cells)} cells, "
                        f"expected {len(names)} as in the first line"
                    )
                rows.append(dict(zip(names, cells, strict=True)))
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num}: {error}") from None
    return rows


def read_records(path: Path, *, key: str) -> list[dict[str, Any]]:
    """Return records of JSON Lines, of a JSON list, or of a JSON object that maps keys to them.

    Args:
        path: A name that ends in ".jsonl" means JSON Lines.
        key: Field that takes the keys of a JSON object.

    Raises:
        DataError: It cannot be read, or a record is not an object.
    """
    if path.suffix == ".jsonl":
        return read_json_lines(path)
    found = read_json(path)
    if isinstance(found, dict):
        found = [
            {key: name, **record} if isinstance(record, dict) else record
            for name, record in found.items()
        ]
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a list or an object of records, got {_kind(found)}")
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise DataError(f"{path}: record {number}: expected an object, got {_kind(record)}")
    return found


def field(row: Any, name: str, kind: type[Value], *, where: str) -> Value:
    """Return one field of a row.

    Args:
        row: One record, or a part of one that may be no object at all.
        name: Of the field.
        kind: Type that it must have; a whole number passes as a float, true and false do not
            pass as numbers.
        where: File and row, for the message.

    Raises:
        DataError: It is missing or has another type.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, got {_kind(row)}")
    if name not in row:
        raise DataError(f"{where}: field {name!r} is missing; there are {', '.join(map(str, row))}")
    value = row[name]
    if kind is float and type(value) is int:
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{where}: field {name!r}: expected {kind.__name__}, got {_kind(value)}")
    return value


def name_field(row: Any, name: str, *, where: str) -> str:
    """Return a field that some files hold as a number and others as a text, as text.

    Raises:
        DataError: It is missing or neither.
    """
    value = field(row, name, object, where=where)
    return str(value) if type(value) is int else field(row, name, str, where=where)


def picture_file(folder: Path | None, name: str, *, where: str) -> Picture:
    """Return a function that reads a picture below a folder.

    Args:
        folder: Where the pictures of the benchmark lie.
        name: Relative path that the record gives.
        where: File and row, for the message.

    Returns:
        It raises `DataError` when there is no folder, the path leaves it, or the picture cannot be
        read.
    """

    def read() -> Pixels:
        if folder is None:
            raise DataError(f"{where}: picture {name!r} lies outside the records; name its folder")
        try:
            path = folder / check_path(name)
        except ValueError as error:
            raise DataError(f"{where}: picture {error}") from None
        return _read(path, where=where)

    return read


def picture_base64(text: str, *, where: str) -> Picture:
    """Return a function that decodes a picture in base64; it may raise `DataError`."""

    def read() -> Pixels:
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise DataError(f"{where}: the picture is not valid base64: {error}") from None
        return _read(data, where=where)

    return read


def picture_of(value: Any, folder: Path | None, *, where: str) -> Picture:
    """Return a function that reads a picture as records of this project give it.

    Args:
        value: A path below the folder, or {"base64": text}.
        folder: Where the pictures of the benchmark lie.
        where: File, row and field, for the message.

    Raises:
        DataError: The value has another form.
    """
    if isinstance(value, str):
        return picture_file(folder, value, where=where)
    if isinstance(value, Mapping) and isinstance(value.get("base64"), str):
        return picture_base64(value["base64"], where=where)
    raise DataError(f'{where}: expected a path or {{"base64": text}}, got {_kind(value)}')


def document(
    text: str, *, pictures: Sequence[Picture] = (), role: Role = "user"
) -> InterleavedSequence:
    """Return a prompt: pictures first, then the words.

    Raises:
        DataError: A picture cannot be read.
    """
    shown = tuple(ImageSegment(picture(), role=role) for picture in pictures)
    return InterleavedSequence((*shown, TextSegment(text, role=role)))


def safe_id(text: str) -> str:
    """Return an id that can name a file; different texts keep different ids.

    Letters, digits, "_", "-" and "." stay. Where anything had to change, a check sum of the text
    is put behind.
    """
    clean = re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:_LONGEST_ID].lstrip(".")
    return clean if clean and clean == text else f"{clean}-{zlib.crc32(text.encode()):08x}"


def distinct(items: Sequence[Item], *, path: Path) -> Sequence[Item]:
    """Return items as they are.

    Raises:
        DataError: There are none, or two have the same id.
    """
    if not items:
        raise DataError(f"{path}: no records")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DataError(f"{path}: two records have the id {item.id!r}")
        seen.add(item.id)
    return items


def _decoded(text: str, *, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None


def _read(source: Path | bytes, *, where: str) -> Pixels:
    try:
        return read_image(source, where=f"{where}: {source}" if isinstance(source, Path) else where)
    except RequestError as error:
        raise DataError(str(error)) from None


@contextmanager
def _large_cells() -> Iterator[None]:
    """Raise the limit of `csv`, which is one for the whole process, for the time of a block."""
    before = csv.field_size_limit(_MOST_CELL_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _kind(value: Any) -> str:
    """How a message names the type of a value."""
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.40}"
