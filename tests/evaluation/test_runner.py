"""Two stages with a folder between them: nothing is made twice, any program may fill the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import read_image, save_png
from mogao.data.world.scene import render
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item
from mogao.evaluation.controls import Perfect
from mogao.evaluation.player import Job, Made
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.results import Summary, row_json, write_results
from mogao.evaluation.runner import choose, find_outputs, generate, missing, read_outputs, score
from mogao.evaluation.tasks.world.base import perfect, scene_of
from mogao.evaluation.tasks.world.nano import SIZES, NanoSuite

GROUPS = ("single_object", "two_object", "counting", "position", "color_attr", "edits",
          "questions", "stories")  # fmt: skip
WHITE = np.full((128, 128, 3), 250, np.uint8)


class Nothing:
    """A player that draws a white sheet and is silent."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for item, _ in jobs:
            yield (WHITE,) if item.want == "picture" else ("",)


class Broken(Perfect):
    """A player that knows every answer and fails behind three outputs."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        yield from list(super().play(jobs))[:3]
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return choose(NanoSuite().items(), groups=GROUPS, most=2)


def scores(items: list[Item], player, out: Path, **options):
    suite = NanoSuite(**options)
    generate(items, player, out)
    rows = score(suite, items, read_outputs(items, out), tools=Tools(), protocol="mogao-world-2")
    return suite.table(rows, protocol="mogao-world-2"), rows


def test_the_truth_scores_one_and_meets_its_ceiling(items, tmp_path: Path):
    table, _ = scores(items, Perfect(), tmp_path)
    assert all(table[name].value == 1 for name in GROUPS)
    assert all(table[name].ceiling == 1 for name in GROUPS if name not in ("questions", "stories"))
    assert table["questions"].ceiling is None
    assert table["story_pictures"].value >= 3
    assert {table[name].n for name in GROUPS} == {2}


def test_nothing_scores_zero_below_the_same_ceiling(items, tmp_path: Path):
    table, rows = scores(items, Nothing(), tmp_path)
    assert all(table[name].value == 0 for name in GROUPS)
    assert table["single_object"].ceiling == 1
    assert json.loads(json.dumps(row_json(rows[0])))["values"]["right"] == 0


def test_the_ceiling_sees_what_the_autoencoder_leaves(items, tmp_path: Path):
    few = choose(items, groups=["single_object"])

    def lose_everything(pictures):
        return [np.full_like(picture, 250) for picture in pictures]

    table, _ = scores(few, Perfect(), tmp_path, round_trip=lose_everything)
    assert (table["single_object"].value, table["single_object"].ceiling) == (1, 0)


def test_an_interrupted_run_goes_on_where_it_stopped(items, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        generate(items, Broken(), tmp_path)
    with pytest.raises(DataError, match=items[3].id):
        read_outputs(items, tmp_path)
    shown = []
    made = generate(items, Perfect(), tmp_path, show=lambda *done: shown.append(done))
    assert made == len(items) - 3
    assert shown[-1] == ("made", len(items), len(items))
    assert generate(items, Perfect(), tmp_path) == 0
    outputs = read_outputs(items, tmp_path)
    assert [len(outputs[item.id]) for item in items] == [item.num for item in items]
    asked = next(item for item in items if item.group == "stories")
    told, kept = perfect(asked), outputs[asked.id][0]
    assert kept.text.splitlines() == [part for part in told if isinstance(part, str)]
    drawn = [part for part in told if not isinstance(part, str)]
    assert len(kept.pictures) == len(drawn) >= 3
    assert all((read_image(a) == b).all() for a, b in zip(kept.pictures, drawn, strict=True))


def test_pictures_of_any_program_are_scored_without_a_model(items, tmp_path: Path):
    drawn = [item for item in items if item.want == "picture"]
    for item in drawn[:2]:
        target = scene_of(item.truth, "target")
        assert target is not None
        (tmp_path / item.id).mkdir()
        save_png(render(target), tmp_path / item.id / "0.png")
    suite = NanoSuite()
    found = find_outputs(suite, items, tmp_path)
    rows = score(suite, items, found, tools=Tools(), protocol="mogao-world-2")
    assert [row.id for row in rows] == [item.id for item in drawn[:2]]
    outputs = sum(item.num for item in items)
    assert missing(items, found) == {
        "items": len(items) - 2, "of_items": len(items), "outputs": outputs - 2,
    }  # fmt: skip
    with pytest.raises(DataError, match="holds nothing"):
        find_outputs(suite, items, tmp_path / "other")


def test_texts_and_documents_of_any_program_are_scored(items, tmp_path: Path):
    asked = {item.group: item for item in items if item.group in ("questions", "stories")}
    (tmp_path / f"{asked['questions'].id}.txt").write_text(asked["questions"].truth["answer"])
    folder, lines = tmp_path / asked["stories"].id, []
    for number, part in enumerate(perfect(asked["stories"])):
        lines.append(part if isinstance(part, str) else f"![]({number}.png)")
        if not isinstance(part, str):
            folder.mkdir(exist_ok=True)
            save_png(part, folder / f"{number}.png")
    (folder / "index.md").write_text("\n\n".join(lines))
    suite, few = NanoSuite(), list(asked.values())
    rows = score(suite, few, find_outputs(suite, few, tmp_path), tools=Tools(), protocol="")
    assert [row.values["right"] for row in rows] == [1, 1]
    (folder / "index.md").write_text("![](../a.png)")
    with pytest.raises(DataError, match=r"index\.md: cannot read"):
        find_outputs(suite, few, tmp_path)


def test_unknown_groups_are_named(items):
    with pytest.raises(DataError, match="stories"):
        choose(items, groups=["story"])


def test_results_are_written_and_equal_but_for_where_and_when(items, tmp_path: Path):
    few = choose(items, groups=["color_attr", "questions"])
    table, rows = scores(few, Perfect(), tmp_path)
    summary = Summary("nano", "mogao-world-2", "truth & co", 0, table)
    outputs = read_outputs(few, tmp_path)
    facts = write_results(summary, rows, tmp_path, items=few, outputs=outputs)
    first = {name: (tmp_path / name).read_bytes() for name in ("items.jsonl", "report.html")}
    write_results(summary, rows, tmp_path, items=few, outputs=outputs)
    assert first == {name: (tmp_path / name).read_bytes() for name in first}
    assert json.loads((tmp_path / "summary.json").read_text()) == facts
    assert {"suite", "protocol", "model", "seed", "scores", "tools", "commit"} <= set(facts)
    assert set(facts["scores"]["color_attr"]) == {"value", "low", "high", "n", "ceiling"}
    page = first["report.html"].decode()
    assert "truth &amp; co" in page
    assert page.count("<img") == 4  # two are drawn, two are asked about
    assert "MISSING" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_sizes_are_those_promised():
    assert all(SIZES[task] == 300 for task in ("single_object", "two_object", "colors"))
    assert SIZES["questions"] >= 200
    assert len({item.id for item in NanoSuite().items()}) == sum(SIZES.values())
