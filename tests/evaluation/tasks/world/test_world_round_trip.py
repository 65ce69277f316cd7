"""Round trips: what comes through whole is worth 1, what belongs to others little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.world.base import scene_of
from mogao.evaluation.tasks.world.captions import REQUESTS
from mogao.evaluation.tasks.world.round_trip import (
    PICTURE_TRIP,
    TEXT_TRIP,
    WorldRoundTrip,
    picture_facts,
    show_own_picture,
)

SUITE = WorldRoundTrip()
WHITE = np.full((128, 128, 3), 250, np.uint8)


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return SUITE.items()


class Nothing:
    """A player that is silent and leaves the sheet white."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for item, _ in jobs:
            yield ("", WHITE) if item.group == PICTURE_TRIP else (WHITE, "")


def table(items: Sequence[Item], player: Player, out: Path):
    generate(items, player, out)
    protocol = SUITE.protocols[0]
    rows = score(SUITE, items, read_outputs(items, out), tools=Tools(), protocol=protocol)
    return SUITE.table(rows, protocol=protocol), rows


def row_of(item: Item, *parts: str | Path):
    return SUITE.score(item, [Output(parts)], tools=Tools(), protocol=SUITE.protocols[0])


def test_a_perfect_trip_loses_nothing_and_a_strange_one_most(items, tmp_path: Path):
    few = choose(items, most=6)
    scores, rows = table(few, Perfect(), tmp_path / "perfect")
    assert scores[PICTURE_TRIP].value >= 0.97
    assert scores[PICTURE_TRIP].ceiling == scores[PICTURE_TRIP].value
    assert (scores[TEXT_TRIP].value, scores[TEXT_TRIP].ceiling) == (1, 1)
    assert scores["overall"].value == scores["overall"].ceiling >= 0.98
    assert not any(row.failures for row in rows)
    shuffled, _ = table(few, Shuffled(few), tmp_path / "shuffled")
    assert shuffled["overall"].value < 0.25
    assert shuffled[PICTURE_TRIP].ceiling == scores[PICTURE_TRIP].ceiling


def test_all_texts_come_through_and_strange_ones_do_not(items, tmp_path: Path):
    texts = [item for item in items if item.group == TEXT_TRIP]
    assert table(texts, Perfect(), tmp_path / "perfect")[0][TEXT_TRIP].value == 1
    assert table(texts, Shuffled(texts), tmp_path / "shuffled")[0][TEXT_TRIP].value < 0.25


def test_nothing_at_the_end_is_worth_nothing(items, tmp_path: Path):
    few = choose([item for item in items if '"white"' not in str(item.truth)], most=2)
    scores, rows = table(few, Nothing(), tmp_path)
    assert {score.value for score in scores.values()} == {0}
    assert scores[PICTURE_TRIP].ceiling == 1
    assert [row.failures for row in rows] == [(), (), ("no facts",), ("no facts",)]
    assert row_of(items[0]).failures == ("no picture",)
    assert row_of(items[0]).values["score"] == row_of(items[-1]).values["score"] == 0


def test_both_trips_go_from_the_same_scenes_and_are_the_same_each_time(items):
    assert [item.group for item in items] == [PICTURE_TRIP] * 40 + [TEXT_TRIP] * 40
    assert len({item.id for item in items}) == 80
    for ones, others in zip(items[:40], items[40:], strict=True):
        assert ones.truth["source"] == others.truth["target"]
        assert list(reversed(ones.truth["perfect"])) == others.truth["perfect"]
    again = WorldRoundTrip().items()
    assert [(item.id, item.prompt, dict(item.truth)) for item in again] == [
        (item.id, item.prompt, dict(item.truth)) for item in items
    ]


def test_a_drawing_sees_the_own_words_alone(items):
    item = items[0]
    assert (item.want, item.size, len(item.given().images)) == ("text", (128, 128), 1)
    assert item.given().text == REQUESTS[3]
    (turn,) = item.turns
    assert (turn.want, turn.is_fresh) == ("picture", True)
    document = turn.given(["A red cat."])
    assert [segment.role for segment in document] == ["model"]
    assert (document.text, document.images) == ("A red cat.", ())


def test_a_description_sees_the_own_picture_alone(items):
    item = items[40]
    assert (item.want, item.given().images, item.given().is_conversation) == ("picture", (), False)
    assert item.given().text == item.prompt
    (turn,) = item.turns
    assert (turn.want, turn.is_fresh) == ("text", True)
    document = show_own_picture([WHITE - 1, WHITE])
    assert [segment.role for segment in document] == ["user", "user"]
    assert (document.images[0].pixels == WHITE).all()
    assert len(document.images) == 1
    assert document.text == REQUESTS[3]


def test_things_colours_places_and_the_background_are_looked_for_in_a_picture(items, tmp_path):
    cat, dog = SceneObject("cat", "blue", "medium", 24, 24), SceneObject("dog", None, "large", 80)
    scene = Scene("sea", "noto", (cat, dog))
    assert set(map(str, picture_facts(scene))) == {
        "thing cat", "thing dog", "colour cat blue", "place cat top left", "background sea",
    }  # fmt: skip
    shown = scene_of(items[0].truth, "source")
    assert shown is not None
    path = tmp_path / "alone.png"
    save_png(render(Scene(shown.background, shown.style, ())), path)
    row = row_of(items[0], "words", path)
    assert row.values["score"] == pytest.approx(1 / len(picture_facts(shown)))
    assert "background sea" not in row.facts["missing"]
