"""`mogao eval` as a user types it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from shutil import copytree

import pytest
from PIL import Image
from typer.testing import CliRunner

from mogao.cli import app
from mogao.model.storage import fingerprint

FEW = ["--n", "1", "--group", "colors", "--group", "questions", "--set", "image.num_steps=1"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


@pytest.fixture
def tiny(tiny_model_folder: Path) -> list[str]:
    return ["--model", str(tiny_model_folder), "--dtype", "float32"]


def test_both_stages_leave_a_summary_and_a_page(tiny, tmp_path: Path):
    result = run("nano", "--out", tmp_path, *FEW, *tiny, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["scores"]["colors"]["ceiling"] is not None
    assert summary["scores"]["questions"]["n"] == 1
    assert (tmp_path / "report.html").is_file()


def test_a_control_answers_in_place_of_the_model(tiny, tmp_path: Path):
    few = ["--n", "2", "--group", "questions"]
    result = run("nano", "--out", tmp_path, *few, *tiny, "--control", "perfect", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["model"] == "perfect"
    assert summary["scores"]["questions"]["value"] == 1
    again = run("nano", "--out", tmp_path, *few, *tiny)
    assert again.exit_code == 2
    assert "control" in again.stderr


def test_a_collection_takes_every_world_suite_and_writes_an_overview(tiny, tmp_path: Path):
    result = run("world", "--out", tmp_path, *tiny, "--n", "1", "--control", "perfect", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    names = [one["suite"] for one in summary["suites"]]
    assert {"world_geneval", "world_edits", "world_stories"} <= set(names)
    assert all((tmp_path / name / "report.html").is_file() for name in names)
    assert all(
        f'href="{name}/report.html"' in (tmp_path / "report.html").read_text() for name in names
    )


def test_the_stages_can_be_run_apart(tiny, tmp_path: Path):
    before = run("nano", "--out", tmp_path, *FEW, *tiny, "--stage", "score")
    assert before.exit_code == 4
    assert "generate" in before.stderr
    made = run("nano", "--out", tmp_path, *FEW, *tiny, "--stage", "generate", "--json")
    assert json.loads(made.stdout.splitlines()[-1])["made_now"] == 2
    assert not (tmp_path / "summary.json").exists()
    assert run("nano", "--out", tmp_path, *FEW, *tiny, "--stage", "score").exit_code == 0
    for stage in ("all", "score"):
        other = run("nano", "--out", tmp_path, *FEW, *tiny, "--seed", "1", "--stage", stage)
        assert other.exit_code == 2
        assert "another seed;" in other.stderr


def test_scores_name_who_made_the_outputs(tiny, tmp_path: Path):
    made = ["nano", "--out", tmp_path, *FEW[:4], "--stage"]
    assert run(*made, "generate", *tiny, "--control", "perfect").exit_code == 0
    other = run(*made, "score", "--model", "nano", "--control", "perfect")
    assert other.exit_code == 2
    assert "another model;" in other.stderr
    assert "another control;" in run(*made, "score").stderr
    result = run(*made, "score", "--control", "perfect", "--json")  # the model is known
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["model"], summary["dtype"]) == ("perfect", "float32")
    kept = json.loads((tmp_path / "settings.json").read_text())
    assert summary["weights"] == kept["weights"] == fingerprint(Path(tiny[1]))
    assert summary["asked"] == {"groups": ["colors"], "num_per_group": 1}
    assert summary["missing"] == {"items": 0, "of_items": 1, "outputs": 0}


def test_a_retrained_model_does_not_go_on_in_the_same_folder(tiny, tmp_path: Path):
    folder = tmp_path / "model"
    copytree(tiny[1], folder)
    asked = ["nano", "--out", tmp_path / "o", *FEW, "--model", folder, *tiny[2:]]
    assert run(*asked, "--stage", "generate").exit_code == 0
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    other = run(*asked)
    assert other.exit_code == 2
    assert "another weights;" in other.stderr


def test_missing_pictures_are_told(tmp_path: Path):
    (tmp_path / "single_object-000.png").write_bytes(png())
    asked = ["nano", "--images", tmp_path, "--group", "single_object", "--n", "3"]
    result = run(*asked, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert "2 of 3 items are not scored" in result.stdout
    assert "2 of 3 items are not scored" in (tmp_path / "o" / "report.html").read_text()


def png() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (128, 128), "white").save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nono"], 2, "nano"),
        (["pope"], 2, "--data"),
        (["nano", "--data", "x.json"], 2, "takes no --data"),
        (["nano", "--option", "fast=yes"], 2, "takes no --fast"),
        (["nano", "--option", "fast"], 2, "KEY=VALUE"),
        (["nano", "--stage", "draw"], 2, "generate"),
        (["nano", "--stage", "generate"], 2, "finished"),
        (["nano", "--protocol", "official"], 2, "mogao-world-2"),
        (["nano", "--group", "colours"], 4, "colors"),
        (["nano", "--tool", "detector=wurld"], 2, "world"),
        (["nano", "--option", "styles=photo"], 2, "noto"),
        (["nano", "--control", "best"], 2, "perfect"),
        (["nano", "--control", "perfect"], 2, "finished"),
        (["world"], 2, "collection"),
        (["nano"], 4, "holds nothing"),
    ],
)
def test_wrong_requests_are_named(arguments, code: int, said: str, tmp_path: Path):
    result = run(*arguments, "--images", tmp_path, "--out", tmp_path / "o")
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert not (tmp_path / "o").exists()
