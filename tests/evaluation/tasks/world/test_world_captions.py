"""Captions: the truth is right at each level, other truths are not, silence is worth nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mogao.data.world.draw import caption
from mogao.data.world.scene import Scene, SceneObject
from mogao.data.world.splits import (
    Settings,
    concept_is_held_out,
    is_held_out,
    known_concepts,
    style_is_held_out,
)
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.runner import generate, read_outputs, score
from mogao.evaluation.tasks.world.base import scene_of
from mogao.evaluation.tasks.world.captions import REQUESTS, WorldCaptions
from mogao.evaluation.tasks.world.scenes import scene_of_split

SUITE = WorldCaptions()


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return SUITE.items()


class Silent:
    """A player that says nothing."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for _ in jobs:
            yield ("",)


def table(items: Sequence[Item], player: Player, out: Path):
    out.mkdir(exist_ok=True)
    generate(items, player, out)
    protocol = SUITE.protocols[0]
    rows = score(SUITE, items, read_outputs(items, out), tools=Tools(), protocol=protocol)
    return SUITE.table(rows, protocol=protocol), rows


def said(item: Item, text: str):
    return SUITE.score(item, [Output((text,))], tools=Tools(), protocol=SUITE.protocols[0])


def test_true_captions_are_right_and_those_of_other_pictures_are_not(items, tmp_path: Path):
    scores, rows = table(items, Perfect(), tmp_path / "perfect")
    assert {score.value for score in scores.values()} == {1.0}
    assert scores["right"].ceiling is None
    assert scores["level_2/f1"].n == 40
    assert not any(row.failures for row in rows)
    shuffled, _ = table(items, Shuffled(items), tmp_path / "shuffled")
    assert shuffled["f1"].value < 0.25
    assert shuffled["right"].value < 0.05


def test_silence_scores_zero_and_is_a_failure(items, tmp_path: Path):
    scores, rows = table(items[:3], Silent(), tmp_path)
    assert {score.value for score in scores.values()} == {0.0}
    assert {row.failures for row in rows} == {("no facts",)}
    assert said(items[0], "I do not know.").values["f1"] == 0
    blank = SUITE.score(items[0], [Output(())], tools=Tools(), protocol=SUITE.protocols[0])
    assert blank.values["precision"] == 0


def test_each_level_asks_about_the_same_unseen_scenes_of_known_things(items):
    assert Counter(item.group for item in items) == {f"level_{level}": 40 for level in REQUESTS}
    assert len({item.id for item in items}) == len(items)
    sources = [item.truth["source"] for item in items]
    assert sources[:40] == sources[40:80] == sources[80:]
    for item in items[:40]:
        scene = scene_of(item.truth, "source")
        assert scene is not None
        assert is_held_out(scene)
        assert not any(concept_is_held_out(one.concept) for one in scene.objects)
        assert not any(style_is_held_out(one.concept, scene.style) for one in scene.objects)


def test_items_depend_on_seed_and_styles_alone(items):
    def told(suite: WorldCaptions):
        return [(item.id, item.prompt, dict(item.truth)) for item in suite.items()]

    again = told(WorldCaptions())
    assert again == [(item.id, item.prompt, dict(item.truth)) for item in items]
    assert told(WorldCaptions(seed=1)) != again
    assert told(WorldCaptions(styles="fluent"))[0][2]["source"]["style"] == "fluent"


def test_a_user_shows_the_picture_and_asks_as_in_training(items):
    document = items[0].given()
    assert [segment.role for segment in document] == ["user", "user"]
    assert len(document.images) == 1
    assert document.text == REQUESTS[1]
    settings = Settings(styles=("noto",))
    scripts = [caption(np.random.default_rng(seed), settings) for seed in range(40)]
    asked = {(script.truth["level"], script.texts[0]) for script in scripts}
    assert set(REQUESTS.items()) <= asked


def test_what_is_true_may_be_said_at_any_level_and_what_is_wrong_at_none(items):
    thing = SceneObject("cat", "blue", "large", 32, 32)
    scene = Scene("sea", "noto", (thing, SceneObject("apple", None, "small", 100, 100)))
    item = replace(items[0], truth={"level": 1, "source": scene.to_json()})
    assert said(item, "A blue cat and an apple.").values["right"] == 1
    more = "A red apple in the sea at the bottom right and a large blue cat."
    assert said(item, more).values == {"f1": 1, "precision": 1, "recall": 1, "right": 1}
    wrong = said(item, "A green cat and an apple.")  # 5 facts, 4 of them true, 5 wanted
    assert wrong.values == {
        "f1": pytest.approx(0.8), "precision": 0.8, "recall": 0.8, "right": 0,
    }  # fmt: skip
    assert wrong.facts["missing"] == ["colour cat blue"]
    assert wrong.facts["wrong"] == ["colour cat green"]
    detailed = replace(item, truth={"level": 3, "source": scene.to_json()})
    assert said(detailed, "A blue cat and an apple.").values["precision"] == 1
    assert said(detailed, "A blue cat and an apple.").values["recall"] == pytest.approx(5 / 11)


def test_a_draw_that_never_fits_is_an_error():
    seen = Scene("sea", "noto", (SceneObject(known_concepts()[0]),))
    assert not is_held_out(seen)
    with pytest.raises(DataError, match="no scene of split 'unseen' for item 3"):
        scene_of_split(lambda _: seen, number=3, suite="x", seed=0, split="unseen")
