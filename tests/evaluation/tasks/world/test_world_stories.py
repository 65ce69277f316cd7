"""The suite of stories: true stories are right, those of others are not, silence scores nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mogao.data.world.scene import Scene
from mogao.data.world.splits import (
    Settings,
    colour_is_held_out,
    concept_is_held_out,
    is_held_out,
    style_is_held_out,
)
from mogao.data.world.stories import PLOTS
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.story_text import read_request
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.world.base import PERFECT, item_of
from mogao.evaluation.tasks.world.stories import NUM, WorldStories, find_script, story_prompt

PROTOCOL = "world-stories-1"
NOTO = Settings("unseen", styles=("noto",))
WHITE = np.full((128, 128, 3), 250, np.uint8)


class Silent:
    """A player that makes nothing."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for _ in jobs:
            yield ()


class WhiteSheets:
    """A player that tells the true story and draws nothing."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for made in Perfect().play(jobs):
            yield tuple(part if isinstance(part, str) else WHITE for part in made)


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return WorldStories().items()


def play(items: Sequence[Item], player: Player, out: Path, **options):
    suite = WorldStories(**options)
    generate(items, player, out)
    rows = score(suite, items, read_outputs(items, out), tools=Tools(), protocol=PROTOCOL)
    return suite.table(rows, protocol=PROTOCOL), rows


def scenes_of(item: Item) -> list[Scene]:
    return [Scene.from_json(part["scene"]) for part in item.truth[PERFECT] if "scene" in part]


def test_true_stories_are_right_and_meet_their_ceiling(items, tmp_path: Path):
    table, rows = play(choose(items, most=1), Perfect(), tmp_path)
    assert list(table)[:7] == ["right", "panels", "hero", "order", "alternation", "stop",
                               "pictures"]  # fmt: skip
    pictures = table.pop("pictures")
    assert 3 <= pictures.value <= 5
    assert {name: one.value for name, one in table.items()} == dict.fromkeys(table, 1.0)
    judged = ["right", "panels", "hero", *(f"right/{plot}" for plot in PLOTS)]
    assert [name for name, one in table.items() if one.ceiling == 1] == judged
    assert [row.group for row in rows] == list(PLOTS)


def test_stories_of_others_are_wrong_as_a_whole(items, tmp_path: Path):
    few = choose(items, groups=["journey", "grow"], most=2)
    table, _ = play(few, Shuffled(few), tmp_path)
    assert table["right"].value < 0.25
    assert table["order"].value < 0.25
    # A panel is held against its own sentence, and another's story has right panels too.
    assert table["panels"].value > 0.5
    assert table["alternation"].value == 1


def test_silence_scores_nothing(items, tmp_path: Path):
    table, rows = play(choose(items, most=1), Silent(), tmp_path)
    assert {one.value for one in table.values()} == {0.0}
    assert table["right"].ceiling == 1
    assert {row.failures for row in rows} == {("no picture",)}


def test_true_words_alone_tell_no_story(items, tmp_path: Path):
    table, _ = play(choose(items, most=1), WhiteSheets(), tmp_path)
    assert [table[name].value for name in ("right", "panels", "hero")] == [0, 0, 0]
    assert [table[name].value for name in ("order", "alternation", "stop")] == [1, 1, 1]


def test_the_ceiling_sees_what_the_autoencoder_leaves(items, tmp_path: Path):
    def lose_everything(pictures):
        return [np.full_like(picture, 250) for picture in pictures]

    few = choose(items, groups=["lost"], most=1)
    table, _ = play(few, Perfect(), tmp_path, round_trip=lose_everything)
    assert [table[name].value for name in ("right", "panels", "hero")] == [1, 1, 1]
    assert [table[name].ceiling for name in ("right", "panels", "hero")] == [0, 0, 0]


def test_unreadable_sentences_are_counted(items, tmp_path: Path):
    class Mumbles:
        def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
            for _ in jobs:
                yield ("Once.", WHITE)

    table, rows = play(choose(items, groups=["lost"], most=1), Mumbles(), tmp_path)
    assert rows[0].failures == ("unreadable sentence: 'Once.'",)
    assert table["panels"].value == table["order"].value == table["right"].value == 0


def test_plots_take_turns_and_each_item_depends_on_its_number_alone(items):
    assert len({item.id for item in items}) == len(items) == NUM
    assert Counter(item.group for item in items) == dict.fromkeys(PLOTS, NUM // len(PLOTS))
    for number in (13, 2):
        again = item_of(story_prompt(number, seed=0, settings=NOTO), "document")
        assert (again.prompt, again.truth) == (items[number].prompt, items[number].truth)
    assert story_prompt(2, seed=1, settings=NOTO).text != items[2].prompt


def test_each_story_shows_what_training_never_did_of_things_it_knows(items):
    for item in items:
        scenes = scenes_of(item)
        assert any(is_held_out(scene) for scene in scenes)
        for thing, style in {(one, scene.style) for scene in scenes for one in scene.objects}:
            assert style == "noto"
            assert not concept_is_held_out(thing.concept)
            assert not style_is_held_out(thing.concept, style)
    # Colours are held out too, not pairs alone.
    heroes = [read_request(item.prompt).hero for item in items]
    assert any(one.colour and colour_is_held_out(one.concept, one.colour) for one in heroes)


def test_a_request_is_said_by_the_user_and_its_pictures_are_many(items):
    assert [segment.role for segment in items[0].given()] == ["user"]
    assert items[0].want == "document"
    assert items[0].size == (128, 128)


def test_a_script_that_does_not_exist_is_not_sought_for_ever():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="no draw of split 'unseen' in styles noto"):
        find_script("draw", rng, NOTO, keep=lambda _: False)
