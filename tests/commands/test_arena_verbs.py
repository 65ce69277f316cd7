"""`mogao arena` as a user types it: a page, its votes, a judge, and what can go wrong."""

from __future__ import annotations

import csv
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mogao.cli import app
from mogao.commands.arena import result_lines
from mogao.data.images import save_png
from mogao.evaluation.arena import judge_pairs
from mogao.evaluation.arena_fit import Share
from mogao.evaluation.arena_votes import ASPECTS, ArenaResult
from mogao.evaluation.benchmark import Item
from mogao.evaluation.providers.replay import Recorder
from mogao.evaluation.tasks.records import document
from tests.evaluation.tasks.answering import write_lines

NAMES = ("northwind", "southgate")
GIVEN = np.full((16, 16, 3), 90, np.uint8)
NUM = 6


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["arena", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def facts(*arguments: object):
    found = json.loads(run(*arguments, "--json").stdout.splitlines()[-1])
    assert {"machine", "commit", "versions"} <= set(found)
    return found


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Rows as of `mogao sample`, the first with a picture."""
    save_png(GIVEN, tmp_path / "given.png")
    rows: list[dict[str, Any]] = [{"id": f"r{k}", "prompt": f"Tell of {k}"} for k in range(NUM)]
    rows[0]["images"] = ["given.png"]
    return write_lines(tmp_path / "prompts.jsonl", rows)


@pytest.fixture
def systems(tmp_path: Path) -> list[str]:
    """Folders that any program filled: a text a row, and a picture for the last."""
    for name in NAMES:
        (tmp_path / name).mkdir()
        for k in range(NUM - 1):
            (tmp_path / name / f"r{k}.txt").write_text(f"once {NAMES.index(name)}")
        save_png(GIVEN, tmp_path / name / f"r{NUM - 1}" / "0.png")
    return [f"{name}={tmp_path / name}" for name in NAMES]


def pope(folder: Path) -> Path:
    """Records of POPE, whose items are cheap."""
    folder.mkdir()
    save_png(GIVEN, folder / "a.png")
    row = {"category": "random", "text": "Is there a cat?", "label": "yes", "image": "a.png"}
    return write_lines(folder / "pope.jsonl", [row | {"question_id": k} for k in range(3)])


def vote(folder: Path, better: str) -> Path:
    """Write votes of Ann, for whom one system is always better."""
    pairs = json.loads((folder / "key.json").read_text())["pairs"]
    with (folder / "votes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rater", "pair", *ASPECTS])
        for pair in pairs:
            side = "left" if pair["left"] == better else "right"
            writer.writerow(["Ann", pair["id"], "", "", "", "", side])
    return folder / "votes.csv"


def test_a_page_is_voted_on_and_the_votes_become_strengths(prompts, systems, tmp_path: Path):
    out = tmp_path / "arena"
    made = facts("page", *systems, "--prompts", prompts, "--out", out, "--repeats", "0.5")
    assert (made["systems"], made["items"], made["pairs"]) == (list(NAMES), NUM, 9)
    page = (out / "arena.html").read_text()
    assert "Tell of 0" in page
    assert "once 1" in page
    assert page.count("<img") >= 3  # one that was given, two that were made
    assert not any(name in page for name in NAMES)

    votes = vote(out, "southgate")
    found = facts("fit", votes)
    strengths = found["aspects"]["overall"]["strengths"]
    assert strengths["southgate"]["value"] > 1 > strengths["northwind"]["value"]
    assert found["aspects"]["overall"]["tallies"] == [
        {"first": "northwind", "second": "southgate", "wins": 0, "ties": 0, "losses": NUM}
    ]
    assert found["left_wins"]["Ann"]["n"] == NUM
    assert found["left_wins"]["Ann"]["p_value"] <= 1
    assert (found["agreement"]["Ann"]["value"], found["agreement"]["Ann"]["n"]) == (1.0, 3)
    (tmp_path / "key.json").write_bytes((out / "key.json").read_bytes())
    (out / "key.json").unlink()
    said = run("fit", votes, "--key", tmp_path / "key.json").stdout
    lines = said.splitlines()
    assert lines[0] == "overall"
    assert lines[2].split()[:2] == ["southgate", f"{strengths['southgate']['value']:+.2f}"]
    assert "northwind against southgate: 0 won, 0 equal, 6 lost" in said
    assert "Ann: same vote with sides swapped in 100% [44%, 100%] of 3 pairs" in said


def test_several_raters_are_added_up(prompts, systems, tmp_path: Path):
    out = tmp_path / "arena"
    run("page", *systems, "--prompts", prompts, "--out", out, "--repeats", "0")
    first = vote(out, "northwind")
    second = out / "other.csv"
    second.write_text(vote(out, "southgate").read_text().replace("Ann", "Bob"))
    vote(out, "northwind")
    (tally,) = facts("fit", first, second)["aspects"]["overall"]["tallies"]
    assert (tally["wins"], tally["losses"]) == (NUM, NUM)


def test_runs_of_one_suite_need_no_name_of_it(tiny_model_folder: Path, tmp_path: Path):
    data = pope(tmp_path / "data")
    tiny = ["--model", tiny_model_folder, "--dtype", "float32", "--seed", 3]
    for name, tokens in zip(NAMES, (1, 3), strict=True):
        arguments = ["eval", "pope", "--data", data, "--stage", "generate", *tiny,
                     "--out", tmp_path / name, "--set", f"text.max_tokens={tokens}"]  # fmt: skip
        assert CliRunner().invoke(app, [*map(str, arguments)]).exit_code == 0
    both = [f"{name}={tmp_path / name}" for name in NAMES]
    made = facts("page", *both, "--data", data, "--out", tmp_path / "a", "--n", 2)
    assert made["items"] == 2
    assert "Is there a cat?" in (tmp_path / "a" / "arena.html").read_text()
    other = run("page", *both, "--suite", "mme", "--data", data, "--out", tmp_path / "b", code=2)
    assert "the folders hold runs of pope" in other.stderr


def test_a_judge_votes_in_both_orders(prompts, systems, tmp_path: Path):
    class Second:
        """Likes what system `southgate` says."""

        name = "second"

        def ask(self, text, *, pictures=()):  # noqa: ARG002
            first_made = text.split("What system 1 made:\n")[1]
            word = "2" if first_made.startswith("once 0") else "1"
            return "\n".join(f"{aspect}: {word}" for aspect in ASPECTS)

    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    items = [
        Item(
            row["id"],
            "any",
            row["prompt"],
            "document",
            partial(document, row["prompt"], pictures=[lambda: GIVEN] * len(row.get("images", []))),
        )
        for row in rows
    ]
    folders = dict(zip(NAMES, (tmp_path / name for name in NAMES), strict=True))
    record = tmp_path / "replies.jsonl"
    judge_pairs(items, folders, Recorder(Second(), record))

    found = facts("judge", *systems, "--prompts", prompts, "--tool", f"judge=replay:{record}")
    assert found["judge"] == "second"
    (tally,) = found["aspects"]["overall"]["tallies"]
    # Of equal pictures the first wins in both orders, which is a tie.
    assert (tally["wins"], tally["ties"], tally["losses"]) == (0, 1, NUM - 1)
    assert found["agreement"]["second"]["n"] == NUM
    assert found["unread"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["north"], 2, "'north' must look like NAME=FOLDER"),
        (["a=."], 2, "needs two systems and an item, got 1"),
        (["a=.", "a=."], 2, "there is a system 'a' already"),
        (["a=.", "b=./nowhere"], 4, "no folder at ./nowhere"),
        (["a=.", "b=.", "--prompts", "none.jsonl"], 4, "cannot read none.jsonl"),
        (["a=.", "b=.", "--suite", "pope"], 2, "leave out --suite"),
        (["a=.", "b=.", "--option", "x=y"], 2, "leave out --suite and its options"),
        (["a=.", "b=."], 4, "holds nothing for 'r0'"),
    ],
)
def test_wrong_requests_are_named(arguments, code: int, said: str, prompts, tmp_path: Path):
    rest = [] if "--prompts" in arguments else ["--prompts", prompts]
    result = run("page", *arguments, *rest, "--out", tmp_path / "o", code=code)
    assert said in result.stderr
    assert not (tmp_path / "o").exists()


def test_what_was_asked_must_be_known_and_the_same(tmp_path: Path):
    both = [f"{name}={tmp_path / name}" for name in NAMES]
    settings = [tmp_path / name / "settings.json" for name in NAMES]
    for path in settings:
        path.parent.mkdir()
    out = ["--out", tmp_path / "o"]
    assert "name it with --suite or --prompts" in run("page", *both, *out, code=2).stderr
    assert "did you mean 'pope'" in run("page", *both, *out, "--suite", "popo", code=2).stderr
    settings[0].write_text('{"suite": "pope", "seed": 0}')
    settings[1].write_text('{"suite": "pope", "seed": 1}')
    result = run("page", *both, *out, code=2)
    assert "northwind: pope, seed 0; southgate: pope, seed 1" in result.stderr
    settings[1].write_text('{"suite": ')
    assert f"{settings[1]} holds no settings" in run("page", *both, *out, code=4).stderr


def test_a_page_and_a_judge_are_told_in_the_same_words_what_is_compared():
    verbs = get_command(app).commands["arena"].commands  # type: ignore[attr-defined]
    page, judge = ({one.name: one for one in verbs[name].params} for name in ("page", "judge"))
    shared = {"systems", "suite", "prompts", "data", "pictures", "option", "group", "num"}
    for name in shared:
        one, other = page[name], judge[name]
        assert (one.opts, one.nargs, one.required) == (other.opts, other.nargs, other.required)
    assert set(page) - shared == {"out", "repeats", "seed", "as_json"}
    assert set(judge) - shared == {"tool", "record", "seed", "as_json"}


def test_the_key_to_a_page_that_is_out_is_not_overwritten(prompts, systems, tmp_path: Path):
    arguments = ["page", *systems, "--prompts", prompts, "--out", tmp_path / "o"]
    assert "raters must not see it" in run(*arguments).stdout
    before = (tmp_path / "o" / "key.json").read_bytes()
    assert "may be out for votes" in run(*arguments, "--seed", 1, code=2).stderr
    assert (tmp_path / "o" / "key.json").read_bytes() == before


def test_votes_without_a_key_and_pairs_without_a_judge_are_refused(
    prompts, systems, tmp_path: Path
):
    votes = tmp_path / "votes.csv"
    votes.write_text("rater\n")
    assert "--key names the file" in run("fit", votes, code=4).stderr
    (tmp_path / "key.json").write_text('{"systems": ["a", "b"], "pairs": []}')
    assert "line 1: the columns are" in run("fit", votes, code=4).stderr
    assert "cannot read votes" in run("fit", tmp_path / "none.csv", code=4).stderr
    judged = ["judge", *systems, "--prompts", prompts]
    assert "--tool judge=" in run(*judged, code=2).stderr
    assert "did you mean 'judge'" in run(*judged, "--tool", "judg=world", code=2).stderr


def test_raters_and_unread_votes_are_told_in_words():
    bias = Share.of(9, 10, against_half=True)
    assert math.isclose(bias.p_value or 0, 22 / 1024)
    assert result_lines(ArenaResult({}, {"Ann\x1b": bias}, {}, unread=2)) == [
        "Ann: left side won 90% [60%, 98%] of 10 decided votes, p = 0.0215 against one half",
        "votes that could not be read: 2",
    ]
