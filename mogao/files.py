"""Files that appear whole or not at all.

In: bytes or text and a path. Out: a file that was first written under a temporary name beside it
and then renamed, so that a full disk or an interruption leaves the old file as it was.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` when the block succeeds.

    Args:
        path: Final name; missing parent folders are made.

    Yields:
        A path that does not exist yet, with the same suffix, to be written as a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        temporary.replace(path)


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write a whole file, or leave what was there untouched."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_folder(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Write several files into a folder: all bytes reach the disk before the first name changes.

    Args:
        folder: Made when missing; other files in it are left alone.
        files: Plain file name to content; the last one is renamed last, so put the index there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=folder) as temporary:
        for name, data in files.items():
            (Path(temporary) / name).write_bytes(data)
        for name in files:
            (Path(temporary) / name).replace(folder / name)


def append_row(path: str | Path, row: Mapping[str, Any]) -> None:
    """Write one JSON object as a line at the end of a file."""
    with Path(path).open("a", encoding="utf-8") as log:
        log.write(to_json(row) + "\n")


def whole_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a file that `append_row` wrote; none where there is no file.

    A last line that an interruption cut short is removed from the file.
    """
    path = Path(path)
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        atomic_write(path, whole)
    # Not `splitlines`: a text may hold other characters that end lines.
    return [json.loads(line) for line in whole.split("\n") if line]


def to_json(value: Any) -> str:
    """One JSON object on one line; paths become strings, numpy and torch scalars numbers.

    What is no finite number becomes null: JSON knows no other.
    """
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    if "NaN" in text or "Infinity" in text:
        finite = json.loads(text, parse_constant=lambda _: None)
        text = json.dumps(finite, ensure_ascii=False)
    return text


def _plain(value: Any) -> Any:
    """What `json` cannot write by itself."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON: {value!r:.80}")
