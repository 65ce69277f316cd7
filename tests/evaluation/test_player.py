"""A model takes the suite through its sessions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from mogao.data.world.scene import render
from mogao.evaluation.__main__ import main
from mogao.evaluation.player import MAX_STORY_IMAGES, SessionPlayer, round_trip
from mogao.evaluation.prompts import make_items
from mogao.pipeline import Mogao


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Mogao:
    return Mogao.from_pretrained(tiny_model_folder, dtype="float32")


@pytest.mark.parametrize("task", ["colors", "edits"])
def test_one_picture_per_item_that_depends_on_the_seed_alone(model: Mogao, task: str):
    items = make_items(task, 2)
    first = list(SessionPlayer(model, seed=1).draw(items))
    again = list(SessionPlayer(model, seed=1).draw(items))
    other = list(SessionPlayer(model, seed=5).draw(items))
    assert [picture.shape for picture in first] == [(128, 128, 3)] * 2
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_one_answer_per_question(model: Mogao):
    answers = list(SessionPlayer(model).answer(make_items("questions", 3)))
    assert len(answers) == 3
    assert all(isinstance(answer, str) for answer in answers)


def test_a_story_has_no_more_pictures_than_allowed(model: Mogao):
    (pictures,) = SessionPlayer(model).tell(make_items("stories", 1))
    assert len(pictures) <= MAX_STORY_IMAGES


def test_the_round_trip_is_the_same_in_any_batch(model: Mogao):
    scenes = [item.target for item in make_items("single_object", 18)]
    pictures = [render(scene) for scene in scenes if scene is not None]
    together = round_trip(model.parts.autoencoder, pictures)
    alone = round_trip(model.parts.autoencoder, pictures[17:])
    assert len(together) == 18
    assert np.abs(together[17].astype(int) - alone[0].astype(int)).max() <= 1


def test_the_command_writes_a_summary(tiny_model_folder: Path, tmp_path: Path):
    app = Typer()
    app.command()(main)
    options = ["--quick", "--n", "1", "--task", "colors", "--task", "questions", "--num-steps", "1"]
    where = ["--model", str(tiny_model_folder), "--out", str(tmp_path), "--dtype", "float32"]
    result = CliRunner().invoke(app, [*where, *options], catch_exceptions=False)
    assert result.exit_code == 0
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert summary["scores"]["colors"]["ceiling"] is not None
    assert summary["scores"]["questions"]["n"] == 1
