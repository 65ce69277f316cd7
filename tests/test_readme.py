"""What users are shown works: commands, the Python example, the demo."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
import typer.main

from mogao.cli import app
from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parent.parent
SHOWN = (
    "README.md", "CONTRIBUTING.md", "docs/start.md", "docs/training.md", "docs/data.md",
    "docs/sampling.md", "docs/evaluation.md", "docs/plan.md",
)  # fmt: skip


def code_blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"```(?:{language})\n(.*?)```", text, flags=re.DOTALL)


def shown_commands() -> list[tuple[str, ...]]:
    """Every `mogao` and `make` line of the code blocks, once."""
    blocks = [block for name in SHOWN for block in code_blocks(name, "bash|console")]
    lines = [line for block in blocks for line in block.splitlines()]
    words = [tuple(shlex.split(line.removeprefix("$ "), comments=True)) for line in lines]
    return list(dict.fromkeys(line for line in words if line[:1] in (("mogao",), ("make",))))


@pytest.mark.parametrize("command", shown_commands(), ids=" ".join)
def test_commands_shown_to_users_exist(command: tuple[str, ...]) -> None:
    program, *arguments = command
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{name}:", makefile, flags=re.MULTILINE) for name in arguments)
        return
    node = typer.main.get_command(app)
    while hasattr(node, "commands"):
        node = node.commands[arguments.pop(0)]
    with node.make_context("mogao", arguments):
        configs = [word for word in arguments if word.startswith("configs/")]
    assert all((ROOT / config).is_file() for config in configs)


def run_example(name: str, model: Path, folder: Path) -> None:
    """Run the Python examples of a document with another model than nano."""
    for example in code_blocks(name, "python"):
        assert 'from_pretrained("nano")' in example
        script = folder / "example.py"
        script.write_text(example.replace('"nano"', repr(str(model))), encoding="utf-8")
        runpy.run_path(str(script))


def test_python_example_of_the_readme_runs(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example("README.md", tiny_model_folder, tmp_path)
    assert capsys.readouterr().out


def test_python_example_of_the_sampling_page_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model().save_pretrained(tmp_path / "tiny", dtype=torch.float32)
    run_example("docs/sampling.md", tmp_path / "tiny", tmp_path)
    printed = re.search(r"(\d+)\n$", capsys.readouterr().out)
    assert printed is not None
    assert int(printed[1]) == 2 * 2  # steps x branches of the one picture


def test_demo_writes_a_page_with_pictures_and_text(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["demo.py", "--model", str(tiny_model_folder), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples/demo.py"), run_name="__main__")
    assert ended.value.code == 0
    page = (tmp_path / "index.html").read_text()
    # A source and its edit at least; how many a story opens is up to the model.
    assert page.count("<figure>") >= 3
    assert page.count("<h2>") == 4
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert {part["part"] for part in trace["parts"]} == {"draw", "look", "edit", "story"}


def test_demo_names_a_missing_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo.py", "--model", "./nowhere", "--out", str(tmp_path / "o")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples/demo.py"), run_name="__main__")
    assert ended.value.code == 5
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_demo_says_that_a_disk_is_full(
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("no folder")
    arguments = ["demo.py", "--model", str(tiny_model_folder), "--out", str(tmp_path / "file/o")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples/demo.py"), run_name="__main__")
    assert ended.value.code == 6
    assert "cannot write" in capsys.readouterr().err
