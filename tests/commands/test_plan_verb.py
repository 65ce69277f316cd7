"""`mogao plan` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mogao.cli import app
from mogao.config import AutoencoderTask, JointTask, ModelConfig, RunConfig, save
from mogao.plan.subject import open_subject


def plan(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["plan", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_the_plan_of_a_preset_has_the_promised_keys() -> None:
    facts = plan("7b", "--devices", "8", "--memory", "80")
    assert {"parameters", "flops_per_token", "memory_bytes", "fits"} <= facts.keys()
    assert {"machine", "threads", "dtype", "commit", "versions"} <= facts.keys()
    assert {"text", "vit", "clean", "noisy"} <= facts["flops_per_token"].keys()
    assert facts["fits"] == {
        "train": False, "train_recompute": True, "serve": True, "serve_sharded": True,
    }  # fmt: skip
    assert [row["devices"] for row in facts["train"]["rows"]] == [1, 2, 4, 8]
    rates = [row["tokens_per_second"] for row in facts["train"]["rows"]]
    assert rates == sorted(rates)


def test_the_largest_budget_fits_and_the_next_token_does_not() -> None:
    options = ("1.5b", "--devices", "4", "--memory", "40")
    most = plan(*options)["train"]["largest_token_budget"]["recomputed"]
    assert plan(*options, f"token_budget={most}")["fits"]["train_recompute"]
    assert not plan(*options, f"token_budget={most + 1}")["fits"]["train_recompute"]


def test_a_folder_is_planned_by_its_config_alone(tmp_path: Path) -> None:
    save(ModelConfig(name="mine"), tmp_path / "config.json")
    facts = plan(str(tmp_path))
    assert facts["name"] == "mine"
    assert facts["document"]["height"] == 128


def test_a_run_is_planned_with_its_changes(tmp_path: Path) -> None:
    save(RunConfig(task=JointTask()), tmp_path / "run.yaml")
    path = str(tmp_path / "run.yaml")
    assert plan(path)["train"]["token_budget"] == 8192
    changed = plan(
        path, "token_budget=512", "optim.kind=muon", "optim.ema_decay=0", "dtype=float32"
    )
    assert changed["train"]["token_budget"] == 512
    assert changed["dtype"] == "float32"
    before = plan(path)["memory_bytes"]["train"]["kept"]
    after = changed["memory_bytes"]["train"]["kept"]
    assert after["average"] == 0
    assert after["optimiser"] < before["optimiser"]


def test_changes_reach_the_shape_of_a_preset() -> None:
    subject = open_subject("0.5b", ["task.model.transformer.num_layers=2"])
    assert subject.model.transformer.num_layers == 2
    assert subject.document.height == 512


def test_tables_fit_a_hundred_columns() -> None:
    done = CliRunner().invoke(app, ["plan", "bagel-7b-mot", "--devices", "8"])
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert all(any(part in line for line in lines) for part in ("visual", "optimiser", "clean"))


@pytest.mark.parametrize(
    ("flag", "there", "gone"),
    [("--train", "optimiser", "documents at a"), ("--serve", "documents at a", "optimiser")],
)
def test_either_half_can_be_shown_alone(flag: str, there: str, gone: str) -> None:
    text = CliRunner().invoke(app, ["plan", "nano", flag]).stdout
    assert there in text
    assert gone not in text


def failure(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == 2
    return done.stderr


def test_an_unknown_name_is_answered_with_the_nearest_preset() -> None:
    assert "did you mean 'bagel-7b-mot'?" in failure("bagel-7b")


def test_a_wrong_key_is_named() -> None:
    assert "token_budgets" in failure("nano", "token_budgets=1")


def test_a_run_of_one_network_has_no_plan(tmp_path: Path) -> None:
    save(RunConfig(task=AutoencoderTask()), tmp_path / "run.yaml")
    assert "--dry-run" in failure(str(tmp_path / "run.yaml"))


def test_pictures_must_fit_the_grid() -> None:
    assert "multiples of 16" in failure("nano", "--picture", "100")
