"""Batch files: every mistake is named with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from mogao.commands.rows import picture_paths, read_rows
from mogao.errors import DataError

FIELDS: dict[str, dict[str, type]] = {"required": {"prompt": str}, "optional": {"images": list}}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    return path


def test_rows_come_back_in_order_without_empty_lines(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "b", "prompt": "x"}\n\n{"id": "a", "prompt": "y"}\n')
    assert [row["id"] for row in read_rows(path, **FIELDS)] == ["b", "a"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"id": "a"}', "'prompt' is missing"),
        ('{"prompt": "x"}', "'id' is missing"),
        ('{"id": "a", "prompt": 3}', "prompt must be str"),
        ('{"id": "a", "prompt": "x", "promt": "y"}', "did you mean 'prompt'"),
        ('{"id": "../a", "prompt": "x"}', "names files"),
        ('{"id": "", "prompt": "x"}', "names files"),
        ('{"id": "ok", "prompt": "x"}', "occurs twice"),
    ],
)
def test_broken_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "ok", "prompt": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=message) as caught:
        read_rows(path, **FIELDS)
    assert "rows.jsonl:2" in str(caught.value)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_rows(tmp_path / "none.jsonl", **FIELDS)
    with pytest.raises(DataError, match="no rows"):
        read_rows(write(tmp_path, "\n"), **FIELDS)


def test_pictures_are_relative_to_the_file_and_never_addresses(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert picture_paths({"id": "a", "images": ["b.png"]}, path) == [tmp_path / "b.png"]
    for wrong in ("https://example.org/b.png", 3):
        with pytest.raises(DataError, match="not a file path"):
            picture_paths({"id": "a", "images": [wrong]}, path)
