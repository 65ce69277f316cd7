"""Dense prompts: real renders answer all questions, other pictures few, a white sheet none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mogao.data.world.language import describe
from mogao.data.world.splits import concept_is_held_out, is_held_out
from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.facts import read_caption
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.world.base import scene_of
from mogao.evaluation.tasks.world.dense import WorldDense, verdict_on

SUITE = WorldDense()
WANTED = read_caption("Two small red cats and a dog at night. The dog is at the top.")


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return SUITE.items()


class White:
    """A player that leaves the sheet white."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for _ in jobs:
            yield (np.full((128, 128, 3), 250, np.uint8),)


def table(items: Sequence[Item], player: Player, out: Path):
    generate(items, player, out)
    protocol = SUITE.protocols[0]
    rows = score(SUITE, items, read_outputs(items, out), tools=Tools(), protocol=protocol)
    return SUITE.table(rows, protocol=protocol), rows


def finding(concept: str, colour: str, *, x: float = 64.0, y: float = 64.0, size: float = 32.0):
    return Finding(concept, "noto", colour, size, x, y, 0.9)


def test_renders_meet_their_ceiling_and_those_of_other_prompts_do_not(items, tmp_path: Path):
    few = choose(items, most=3)
    scores, rows = table(few, Perfect(), tmp_path / "perfect")
    assert scores["score"].value >= 0.97
    assert scores["score"].ceiling == scores["score"].value
    assert scores["right"].ceiling == scores["right"].value
    assert scores["attribute"].ceiling == scores["attribute"].value
    assert scores["three_things"].n == scores["four_things"].n == 3
    assert not any(row.failures for row in rows)
    shuffled, _ = table(few, Shuffled(few), tmp_path / "shuffled")
    assert shuffled["score"].value < 0.25
    assert shuffled["right"].value == 0
    assert shuffled["score"].ceiling == scores["score"].ceiling


def test_a_white_sheet_or_none_scores_nothing_below_the_same_ceiling(items, tmp_path: Path):
    one = [item for item in items if item.truth["target"]["background"] != "white"][:1]
    scores, _ = table(one, White(), tmp_path)
    assert scores["score"].value == scores["right"].value == 0
    row = SUITE.score(one[0], [Output(())], tools=Tools(), protocol=SUITE.protocols[0])
    assert row.values["score"] == 0
    assert row.values["ceiling"] == scores["score"].ceiling > 0.9
    assert row.failures == ("output 0: no picture",)


def test_the_ceiling_sees_what_the_autoencoder_leaves(items):
    def lose_everything(pictures):
        return [np.full_like(picture, 250) for picture in pictures]

    item = next(item for item in items if item.truth["target"]["background"] != "white")
    suite = WorldDense(round_trip=lose_everything)
    row = suite.score(item, [Output(())], tools=Tools(), protocol=suite.protocols[0])
    assert row.values["ceiling"] == 0


def test_prompts_are_dense_and_unseen_and_of_known_things(items):
    assert Counter(item.group for item in items) == {"three_things": 50, "four_things": 50}
    assert len({item.id for item in items}) == 100
    assert {(item.want, item.num) for item in items} == {("picture", 1)}
    for item in items:
        scene = scene_of(item.truth, "target")
        assert scene is not None
        assert is_held_out(scene)
        assert not any(concept_is_held_out(one.concept) for one in scene.objects)
        assert item.prompt == describe(scene, level=3)
        kinds = {fact.kind for fact in read_caption(item.prompt)}
        assert {"thing", "count", "colour", "place", "background", "style"} <= kinds
    document = items[0].given()
    assert [(segment.role, document.text) for segment in document] == [("model", items[0].prompt)]


def test_the_same_call_gives_the_same_items(items):
    again = [(item.id, item.prompt, dict(item.truth)) for item in WorldDense().items()]
    assert again == [(item.id, item.prompt, dict(item.truth)) for item in items]


def test_a_picture_that_shows_all_is_right():
    cats = [finding("cat", "red", x=20.0), finding("cat", "red", x=100.0)]
    found = verdict_on(WANTED, Report("night", (finding("dog", "blue", y=20.0), *cats)))
    assert found.values == {
        "score": 1, "right": 1, "entity": 1, "count": 1, "attribute": 1, "size": 1, "place": 1,
        "global": 1,
    }  # fmt: skip
    assert found.facts["wrong"] == []


def test_what_is_wrong_is_counted_and_named():
    # One cat of three is blue, one is large; the dog stands elsewhere.
    cats = [finding("cat", "red"), finding("cat", "blue"), finding("cat", "red", size=60.0)]
    found = verdict_on(WANTED, Report("sea", (finding("dog", "blue", y=110.0), *cats)))
    assert found.values == {
        "score": 3 / 8, "right": 0, "entity": 1, "count": 0.5, "attribute": 0, "size": 0,
        "place": 0, "global": 0,
    }  # fmt: skip
    assert found.facts["wrong"] == [
        "count cat 2", "colour cat red", "size cat small", "place dog top", "background night",
    ]  # fmt: skip


def test_without_the_thing_nothing_about_it_is_right():
    found = verdict_on(WANTED, Report("night", (finding("dog", "red", y=20.0),)))
    assert found.values["score"] == 4 / 8
    assert found.values["attribute"] == found.values["size"] == 0
    assert found.values["entity"] == found.values["count"] == 0.5
