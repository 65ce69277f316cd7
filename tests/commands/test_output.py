"""Results for people and for programs."""

from __future__ import annotations

import json

import pytest

from mogao.commands.output import finish, printable


def test_json_is_one_object_on_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    finish({"text": "a\nb", "long": "x" * 500, "emoji": ":smile: [b]"}, ["line"], as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == {"text": "a\nb", "long": "x" * 500, "emoji": ":smile: [b]"}


def test_lines_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    finish({"a": 1}, ["[bold]one", "two"], as_json=False)
    assert capsys.readouterr().out == "[bold]one\ntwo\n"


def test_terminal_commands_in_model_text_are_removed() -> None:
    assert printable("a\x1b[2Jb\x07\r\nc\td\x9b") == "a[2Jb\nc\td"
