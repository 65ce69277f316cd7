"""What a sweep makes of a folder that is there already, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from mogao import config as configs
from mogao.cli import app
from mogao.config import SweepConfig
from mogao.data.images import save_png
from mogao.evaluation.benchmark import Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.results import Summary, write_results
from mogao.evaluation.tasks.pope import Pope
from mogao.sweep.plan import plan_arms, runs_of
from mogao.training.checkpoint import save_checkpoint
from tests.evaluation.tasks.answering import write_lines
from tests.tiny import picture
from tests.training import joint

setting = joint.setting
QUESTIONS = 8
ANSWERS = {
    "plain": ("ynynynyn", "yyyyyyyy", "ynynynyn"),
    "wide": ("ynynynyn", "ynynyyyy", "ynyyyyyn"),
}
"""Of each seed; every other question is to be affirmed."""
PROTOCOL = Pope.protocols[0]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)])


@pytest.fixture
def sweep(setting: Path, tmp_path: Path) -> Path:
    """Two arms with three seeds and eight questions."""
    configs.save(joint.make_config(setting, max_steps=40), tmp_path / "base.yaml")
    for n in range(QUESTIONS):  # questions about one picture would be drawn together
        save_png(picture(n), tmp_path / f"{n}.png")
    rows = [
        {
            "question_id": n,
            "category": "popular",
            "text": "A cat?",
            "label": label,
            "image": f"{n}.png",
        }
        for n, label in enumerate(["yes", "no"] * (QUESTIONS // 2))
    ]
    data = {
        "name": "tiny",
        "base": "base.yaml",
        "arms": {"plain": [], "wide": ["task.model.transformer.ffn_hidden=128"]},
        "num_packs": 4,
        "seeds": [0, 1, 2],
        "processes": 2,
        "evaluate": [
            {
                "suite": "pope",
                "num_per_group": QUESTIONS,
                "options": {"data": str(write_lines(tmp_path / "pope.jsonl", rows))},
            }
        ],
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def fill(path: Path, out: Path, *, seeds: tuple[int, ...] = (0, 1, 2), **changes: Any) -> None:
    """Make the folder that a sweep of the first version left when all was done.

    Args:
        path: Of the sweep file.
        out: The folder.
        seeds: Those that are done.
        changes: Of the summaries of arm "wide".
    """
    loaded = configs.load(SweepConfig, path)
    for arm in plan_arms(loaded, path.parent):
        for seed in seeds:
            (one,) = runs_of(arm, seed=seed, out=out)
            steps = one.config.max_steps
            counted = {"step": steps, "samples": 1, "tokens": 9, "flops": 1e9, "seconds": 6.0}
            state = {"config": one.config.model_dump(mode="json"), "progress": counted}
            save_checkpoint(one.folder / "checkpoints", state, step=steps, keep=1)
            (one.folder / "model").mkdir()
            evaluated(loaded, one.folder, ANSWERS[arm.name][seed])
            summary = one.folder / "eval" / "pope" / "summary.json"
            if arm.name == "wide":
                summary.write_text(json.dumps(json.loads(summary.read_text()) | changes))


def evaluated(loaded: SweepConfig, folder: Path, answers: str) -> None:
    """Write an evaluation and its mark, which knew no tools, protocol or record."""
    (asked,) = loaded.evaluate
    benchmark = Pope(Path(str(asked.options["data"])))
    items, words = benchmark.items(), {"y": "yes", "n": "no"}
    outputs = {item.id: [Output((words[one],))] for item, one in zip(items, answers, strict=True)}
    rows = [
        benchmark.score(item, outputs[item.id], tools=Tools(), protocol=PROTOCOL) for item in items
    ]
    scores = benchmark.table(rows, protocol=PROTOCOL)
    summary = Summary("pope", PROTOCOL, str(folder / "model"), 0, scores, dtype="float32")
    write_results(summary, rows, folder / "eval" / "pope", items=items, outputs=outputs)
    old = asked.model_dump(mode="json", exclude={"tools", "protocol", "record"})
    (folder / "eval" / "pope.json").write_text(json.dumps(old, indent=2) + "\n")


def facts_of(out: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return facts


def line_of(out: Path, score: str) -> dict[str, Any]:
    found = [
        one for one in facts_of(out)["scores"] if (one["arm"], one["score"]) == ("wide", score)
    ]
    line: dict[str, Any] = found[0]
    return line


def test_a_folder_of_the_first_version_gets_the_new_table_and_nothing_is_done_again(
    sweep: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fill(sweep, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    result = run(sweep, "--out", out)
    assert result.exit_code == 0, result.output
    table = (out / "table.md").read_text()
    assert (
        f"## pope\n\nProtocol {PROTOCOL}; evaluation seed 0; judged by rules alone; dtype" in table
    )
    accuracy = line_of(out, "popular/accuracy")["difference"]
    assert accuracy["by_seed"] == {"0": 0.0, "1": 25.0, "2": -25.0}
    low, high = accuracy["prompts"]
    assert low < accuracy["mean"] < high
    assert line_of(out, "f1")["difference"]["prompts"] is None
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    changed = {path.relative_to(out) for path in after if after[path] != before.get(path)}
    assert changed == {
        Path(name) for name in ("table.md", "table.csv", "summary.json", "plots", "plots/pope.svg")
    }


def test_a_seed_alone_keeps_the_others_in_the_table(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(sweep, out, seeds=(0, 1, 2))
    assert run(sweep, "--seed", "1", "--out", out).exit_code == 0
    assert facts_of(out)["seeds"] == [0, 1, 2]


def test_seeds_that_one_arm_lacks_stay_out_of_the_table(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(sweep, out, seeds=(0, 2))
    (out / "wide" / "seed-2" / "eval" / "pope.json").unlink()
    assert run(sweep, "--seed", "0", "--out", out).exit_code == 0
    facts = facts_of(out)
    assert facts["seeds"] == [0]
    difference = line_of(out, "popular/accuracy")["difference"]
    assert (difference["over_seeds"], difference["prompts"]) == (None, [0.0, 0.0])


def test_arms_that_were_scored_unlike_are_refused(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(sweep, out, seeds=(0,), protocol="other-1")
    result = run(sweep, "--seed", "0", "--out", out)
    assert result.exit_code == 4
    for part in (repr(PROTOCOL), "'other-1'", str(out / "wide" / "seed-0" / "eval" / "pope")):
        assert part in result.stderr
    assert not (out / "table.md").exists()


def test_another_number_of_processes_is_refused_where_it_is_known(
    sweep: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fill(sweep, out, seeds=(0,))
    assert run(sweep, "processes=1", "--seed", "0", "--out", out).exit_code == 0
    (out / "wide" / "seed-0" / "sweep.json").write_text('{"processes": 2}')
    result = run(sweep, "processes=1", "--seed", "0", "--out", out)
    assert result.exit_code == 2
    assert "wide/seed-0 was trained with processes: 2, but the sweep says 1" in result.stderr


def test_arms_that_spent_unlike_are_warned_of(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(sweep, out, seeds=(0,))
    state = next((out / "wide").rglob("state.json"))
    state.write_text(state.read_text().replace("1000000000.0", "950000000.0"))
    result = run(sweep, "--seed", "0", "--out", out)
    said = "wide, seed 0, spent 0.950 of the flops of plain"
    assert result.exit_code == 0
    assert f"warning: {said}" in result.stderr
    assert f"**Warning: {said}" in (out / "table.md").read_text()


@pytest.mark.parametrize("is_begun", [False, True])
def test_outputs_of_other_settings_are_named_with_their_folder(
    sweep: Path, tmp_path: Path, is_begun: bool
) -> None:
    out = tmp_path / "out"
    fill(sweep, out, seeds=(0,))
    folder = out / "plain" / "seed-0" / "eval"
    if is_begun:
        (folder / "pope.json").rename(folder / "pope" / "sweep.json")
    path = yaml.safe_load(sweep.read_text())
    path["evaluate"][0] |= {"settings": ["text.max_tokens=2"], "num_per_group": 2}
    sweep.write_text(yaml.safe_dump(path, sort_keys=False))
    result = run(sweep, "--seed", "0", "--out", out)
    assert result.exit_code == 2
    assert f"{folder / 'pope'} was made with another settings; remove that folder" in result.stderr
    assert "--out" not in result.stderr
