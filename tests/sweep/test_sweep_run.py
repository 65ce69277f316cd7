"""A whole sweep as a user types it: interrupted, resumed, evaluated, compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from mogao import config as configs
from mogao.cli import app
from mogao.data.images import save_png
from mogao.training.checkpoint import latest_checkpoint, stored_progress
from tests.evaluation.tasks.answering import write_lines
from tests.tiny import picture
from tests.training import joint

setting = joint.setting
STEPS = 120
CLAUSE = {"class": "cat", "count": 1, "color": "red"}
TAGS = [{"tag": "colors", "include": [CLAUSE], "prompt": "a red cat"}]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)])


@pytest.fixture
def sweep(setting: Path, tmp_path: Path) -> Path:
    """Two arms of one layer, two questions about a picture to answer, one picture to draw."""
    base = joint.make_config(setting, max_steps=STEPS, optim={"kind": "adamw"})
    configs.save(base, tmp_path / "base.yaml")
    data = {
        "name": "tiny",
        "base": "base.yaml",
        "overrides": ["task.model.transformer.num_layers=1"],
        "arms": {"plain": [], "wide": ["task.model.transformer.ffn_hidden=256"]},
        "num_packs": 8,
        "evaluate": [
            {
                "suite": "pope",
                "num_per_group": 2,
                "options": pope(tmp_path),
                "protocol": "lmms-strict",
            },
            {
                "suite": "geneval",
                "options": {"data": str(write_lines(tmp_path / "tags.jsonl", TAGS))},
                "settings": ["image.num_steps=1", "image.height=32", "image.width=32"],
                "tools": ["detector=world", "colours=world"],
                "record": str(tmp_path / "record.jsonl"),
            },
        ],
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def pope(folder: Path) -> dict[str, str]:
    """Three records of POPE and their picture."""
    save_png(picture(0), folder / "a.png")
    rows = [
        {
            "question_id": n,
            "category": "popular",
            "text": "A cat?",
            "label": "yes",
            "image": "a.png",
        }
        for n in range(3)
    ]
    write_lines(folder / "pope.jsonl", rows)
    return {"data": str(folder / "pope.jsonl")}


def step_of(folder: Path) -> int:
    newest = latest_checkpoint(folder / "checkpoints")
    return 0 if newest is None else int(stored_progress(newest)["step"])


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: whoever starts the tests in the background has it ignored."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def interrupt_after_first_row(metrics: Path) -> None:
    """Press Ctrl-C once the training has begun."""
    until = time.monotonic() + 300
    while time.monotonic() < until and not metrics.is_file():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_dry_run_names_arms_steps_and_flops(sweep: Path, tmp_path: Path) -> None:
    result = run(sweep, "--out", tmp_path / "out", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    arms = json.loads(result.stdout.splitlines()[-1])["arms"]
    assert arms["plain"]["steps"] == [STEPS]
    assert arms["wide"]["overrides"][-1].endswith("ffn_hidden=256")
    assert arms["wide"]["steps"][0] < STEPS
    assert arms["wide"]["flops"] == pytest.approx(arms["plain"]["flops"], rel=0.01)
    assert not (tmp_path / "out").exists()
    said = run(sweep, "--dry-run").stdout
    assert "plain: 120 steps" in said
    assert "  task.model.transformer.ffn_hidden=256" in said


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupted_sweep_goes_on_and_compares_all_arms(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = out / "plain" / "seed-0"
    presser = threading.Thread(target=interrupt_after_first_row, args=[first / "metrics.csv"])
    presser.start()
    stopped = run(sweep, "--out", out)
    presser.join()
    assert stopped.exit_code == 130, stopped.output
    assert 0 < step_of(first) < STEPS
    assert not (out / "wide").exists()
    assert not (out / "table.md").exists()

    result = run(sweep, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout.splitlines()[-1])
    assert step_of(first) == STEPS
    rows = (first / "metrics.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(1, STEPS + 1))
    counted = {name: arm["runs"]["0"] for name, arm in facts["arms"].items()}
    assert counted["plain"]["steps"] == STEPS
    assert counted["wide"]["flops"] == pytest.approx(counted["plain"]["flops"], rel=0.1)
    lines = [line for line in facts["scores"] if line["score"] == "parse_failures"]
    assert [(line["suite"], line["arm"], line["num_prompts"]) for line in lines] == [
        ("pope", "plain", 2), ("pope", "wide", 2),
    ]  # fmt: skip
    assert "## pope" in (out / "table.md").read_text()
    assert json.loads((first / "sweep.json").read_text()) == {"processes": 1}
    assert (out / "plots" / "pope.svg").is_file()

    assert facts["suites"]["pope"]["protocol"] == "lmms-strict"
    assert set(facts["suites"]["geneval"]["tools"]) == {"detector", "colours"}
    assert (tmp_path / "record.jsonl").read_text().count('"detect"') > 0

    before = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-0/**/*.safetensors")}
    shutil.rmtree(first / "eval" / "pope")
    again = run(sweep, "--out", out)
    assert again.exit_code == 0, again.output
    assert (first / "eval" / "pope" / "summary.json").is_file()
    assert before == {path: path.stat().st_mtime_ns for path in before}
    other = run(sweep, "overrides=[task.model.transformer.num_layers=2]", "--out", out)
    assert other.exit_code == 2
    assert "num_layers" in other.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["arm={}"], "arms"),
        (["evaluate=[{suite: popo}]"], "pope"),
        (["evaluate=[{suite: world, options: {fast: 1}}]"], "fast"),
        (["evaluate=[{suite: pope, options: {data: DATA}, groups: [populr]}]"], "popular"),
        (["evaluate=[{suite: pope}]"], "--data"),
        (["evaluate=[{suite: world, groups: [colors]}]"], "is a collection"),
        (["evaluate=[{suite: world, settings: [image.num_stepz=2]}]"], "num_steps"),
        (["evaluate=[{suite: world}, {suite: world_dense}]"], "both hold world_dense"),
        (["evaluate=[{suite: world, protocol: world-dense-1}]"], "is a collection"),
        (["evaluate=[{suite: pope, options: {data: nowhere.jsonl}}]"], "nowhere.jsonl"),
        (["evaluate=[{suite: pope, options: {data: DATA, images: elsewhere}}]"], "a.png"),
        (["evaluate=[{suite: pope, protocol: strict, options: {data: DATA}}]"], "'strict'"),
        (["evaluate=[{suite: pope, tools: [judge=x], options: {data: DATA}}]"], "judge=x"),
        (["evaluate=[{suite: pope, tools: ['judge=replay:NO'], options: {data: DATA}}]"], "at NO"),
        (["evaluate=[{suite: geneval, options: {data: TAGS}}]"], "'detector'"),
        (
            ["evaluate=[{suite: geneval, tools: [detector=world], options: {data: TAGS}}]"],
            "'colours'",
        ),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_trained(
    sweep: Path, tmp_path: Path, changes: list[str], said: str
) -> None:
    files = {"DATA": tmp_path / "pope.jsonl", "TAGS": tmp_path / "tags.jsonl"}
    given = list(changes)
    for name, file in files.items():
        given = [change.replace(name, str(file)) for change in given]
    result = run(sweep, *given, "--out", tmp_path / "out")
    assert result.exit_code in (2, 3, 4), result.output
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_is_asked_for(sweep: Path) -> None:
    assert "--out" in run(sweep).stderr


def test_a_training_that_fails_ends_the_sweep(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "hollow" / "vision").mkdir(parents=True)
    hollow = f"overrides=[task.vision_from={tmp_path / 'hollow'}]"
    result = run(sweep, hollow, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "exit code" in result.stderr


def test_a_missing_encoder_is_found_before_anything_is_trained(sweep: Path, tmp_path: Path) -> None:
    result = run(sweep, "overrides=[task.vision_from=nowhere]", "--out", tmp_path / "out")
    assert result.exit_code == 5
    assert "task.vision_from is nowhere" in result.stderr
    assert not (tmp_path / "out").exists()
