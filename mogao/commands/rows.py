"""Rows of batch files: one JSON object a line, with the file and line in every message.

In: JSON Lines. Out: checked dictionaries and the paths of their pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mogao.errors import DataError, nearest

_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def read_rows(path: Path, *, required: Mapping[str, type], optional: Mapping[str, type]) -> list[
    dict[str, Any]
]:  # fmt: skip
    """Read and check every row of a JSON Lines file; "id" is always required and unique.

    Args:
        path: The file; empty lines are passed over.
        required: Field name to type.
        optional: The same for fields that may be missing.

    Raises:
        DataError: The file cannot be read or holds no row, or a row is not as expected; the
            message names file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text") from None
    required = {"id": str, **required}
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _check(line, f"{path}:{number}", required=required, optional=optional)
        if row["id"] in seen:
            raise DataError(f"{path}:{number}: id {row['id']!r} occurs twice")
        seen.add(row["id"])
        rows.append(row)
    if not rows:
        raise DataError(f"{path} holds no rows; write one JSON object a line")
    return rows


def picture_paths(row: Mapping[str, Any], path: Path) -> list[Path]:
    """The pictures of a row, relative to the folder of the batch file.

    Raises:
        DataError: An entry is not a text, or is an address.
    """
    pictures = row.get("images") or []
    for picture in pictures:
        if not isinstance(picture, str) or "://" in picture:
            raise DataError(
                f"{path}: row {row['id']!r}, images: {picture!r:.80} is not a file path"
            )
    return [path.parent / picture for picture in pictures]


def _check(
    line: str, where: str, *, required: Mapping[str, type], optional: Mapping[str, type]
) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, got {type(row).__name__}")
    known = {**required, **optional}
    for name, value in row.items():
        if name not in known:
            raise DataError(f"{where}: unknown field {name!r} ({nearest(name, known)})")
        if not isinstance(value, known[name]):
            got = type(value).__name__
            raise DataError(f"{where}: {name} must be {known[name].__name__}, got {got}")
    for name in required:
        if name not in row:
            raise DataError(f"{where}: field {name!r} is missing")
    if not _SAFE_ID.fullmatch(row["id"]):
        raise DataError(
            f"{where}: id {row['id']!r:.80} must be letters, digits, '_', '-', '.' (it names files)"
        )
    return row
