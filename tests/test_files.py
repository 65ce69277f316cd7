"""Files appear whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mogao.files import (
    append_row,
    atomic_path,
    atomic_write,
    to_json,
    whole_rows,
    write_folder,
)


def test_written_file_has_the_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    atomic_write(tmp_path / "deep" / "a.txt", "text")
    assert (tmp_path / "deep" / "a.txt").read_text() == "text"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted_write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk"):
        interrupted_write()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.txt": b"old"})
    with pytest.raises(FileNotFoundError):
        write_folder(tmp_path, {"a.txt": b"new", "missing/b.txt": b"x"})
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_json_takes_paths_and_numpy_values_on_one_line() -> None:
    line = to_json({"path": Path("a/b"), "count": np.int64(3), "row": np.arange(2), "text": "a\nb"})
    assert "\n" not in line
    assert json.loads(line) == {"path": "a/b", "count": 3, "row": [0, 1], "text": "a\nb"}


def test_json_refuses_what_it_cannot_say() -> None:
    with pytest.raises(TypeError, match="set"):
        to_json({"x": {1}})


def test_json_has_no_word_for_what_is_no_finite_number() -> None:
    values = {"a": float("nan"), "b": [float("inf"), -float("inf"), 1.5], "NaN": "NaN"}
    assert json.loads(to_json(values)) == {"a": None, "b": [None, None, 1.5], "NaN": "NaN"}


def test_a_log_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert whole_rows(path) == []
    append_row(path, {"a": 1})
    append_row(path, {"a": 2})
    with path.open("a") as log:
        log.write('{"a": 3')
    assert whole_rows(path) == [{"a": 1}, {"a": 2}]
    append_row(path, {"a": "\u2028 and \x85"})
    assert whole_rows(path) == [{"a": 1}, {"a": 2}, {"a": "\u2028 and \x85"}]
