"""Edits in a row: each turn has its own truth, and the last picture keeps what none touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mogao.data.world.edits import KINDS
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.data.world.splits import Settings, known_concepts, pair_is_held_out
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.edit import open_things
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.world.base import perfect
from mogao.evaluation.tasks.world.turns import NUM, NUM_TURNS, WorldTurns, draw_changes

PROTOCOL = "world-turns-2"
FEW = 6


class Nothing:
    """A player that draws white sheets."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for _ in jobs:
            yield (np.full((128, 128, 3), 250, np.uint8),) * NUM_TURNS


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return WorldTurns().items()


def scenes_of(item: Item) -> list[Scene]:
    return [Scene.from_json(scene) for scene in item.truth["scenes"]]


def scores(
    items: Sequence[Item], player: Player, out: Path, **options
) -> tuple[dict[str, Score], list[Row]]:
    suite = WorldTurns(**options)
    generate(items, player, out)
    rows = score(suite, items, read_outputs(items, out), tools=Tools(), protocol=PROTOCOL)
    return suite.table(rows, protocol=PROTOCOL), rows


def test_each_conversation_has_three_kinds_of_edits_and_all_kinds_take_part(items):
    assert len({item.id for item in items}) == NUM
    assert all(len(set(item.truth["kinds"])) == NUM_TURNS for item in items)
    kinds = Counter(kind for item in items for kind in item.truth["kinds"])
    assert set(kinds) == set(KINDS) - {"style"}
    assert min(kinds.values()) >= NUM // 6


def test_the_same_call_gives_the_same_items(items):
    again = WorldTurns().items()
    assert [one.truth for one in again] == [one.truth for one in items]
    assert [(one.id, one.prompt) for one in again] == [(one.id, one.prompt) for one in items]


def test_the_first_picture_shows_known_things_that_were_never_trained_together(items):
    for item in items:
        first, *later = scenes_of(item)
        assert pair_is_held_out(*(one.concept for one in first.objects))
        shown = {one.concept for scene in (first, *later) for one in scene.objects}
        assert shown <= set(known_concepts())


def test_the_user_shows_one_picture_and_then_only_speaks(items):
    item = items[0]
    picture, text = item.given().segments
    said = [text.text, *(turn.given(()).segments[0].text for turn in item.turns)]
    assert " ".join(said) == item.prompt
    assert (picture.pixels == render(scenes_of(item)[0])).all()
    for turn in item.turns:
        [segment] = turn.given(()).segments
        assert (turn.want, turn.is_fresh, segment.role) == ("picture", False, "user")
    shown = [render(scene) for scene in scenes_of(item)[1:]]
    for true, made in zip(shown, perfect(item), strict=True):
        assert (true == made).all()


def test_nothing_is_moved_that_was_put_anywhere_before(items):
    moves = 0
    for item in items:
        anywhere: set[tuple[int, int]] = set()
        scenes = scenes_of(item)
        for kind, source, target in zip(item.truth["kinds"], scenes, scenes[1:], strict=False):
            if kind == "move":
                [gone] = [one for one in source.objects if one not in target.objects]
                assert (gone.x, gone.y) not in anywhere
                moves += bool(anywhere)
            anywhere |= {(one.x, one.y) for one in open_things(source, target)}
    assert moves > 0


def test_a_scene_that_allows_too_little_is_named():
    # Equal things cannot be told apart, and there is no room for more: only the background is left.
    corners = [(x, y) for x in (24, 104) for y in (24, 104)]
    crowd = Scene("white", "noto", tuple(SceneObject("cat", x=x, y=y) for x, y in corners))
    with pytest.raises(DataError, match="no 3 edits in a row"):
        draw_changes(np.random.default_rng(0), Settings("unseen", styles=("noto",)), crowd)


def test_real_scenes_are_right_in_every_turn_and_meet_their_ceilings(items, tmp_path: Path):
    table, _ = scores(choose(items, most=FEW), Perfect(), tmp_path)
    assert list(table) == ["overall", "turn_1", "turn_2", "turn_3", "kept"]
    assert all(score.value >= 0.97 for score in table.values())
    assert all(score.value == score.ceiling for score in table.values())
    assert [score.n for score in table.values()][:4] == [FEW] * 4


def test_scenes_of_other_conversations_are_wrong(items, tmp_path: Path):
    few = choose(items, most=FEW)
    table, _ = scores(few, Shuffled(few), tmp_path)
    assert all(score.value < 0.1 for score in table.values())


def test_white_sheets_are_never_right(items, tmp_path: Path):
    table, _ = scores(choose(items, most=4), Nothing(), tmp_path)
    assert table["overall"].value == table["turn_1"].value == table["kept"].value == 0
    assert table["overall"].ceiling == 1


def test_kept_is_asked_only_where_something_was_never_touched(items):
    def is_left(item: Item) -> bool:
        first, *_, last = scenes_of(item)
        return any(one in last.objects for one in first.objects)

    assert sum(map(is_left, items)) >= NUM // 2
    item = next(item for item in items if not is_left(item))
    row = WorldTurns().score(item, [Output(("",))], tools=Tools(), protocol=PROTOCOL)
    assert "kept" not in row.values
    assert WorldTurns().table([row], protocol=PROTOCOL)["kept"].n == 0


def test_the_ceiling_sees_what_the_autoencoder_leaves(items, tmp_path: Path):
    def lose_everything(pictures):
        return [np.full_like(picture, 250) for picture in pictures]

    few = choose(items, most=2)
    table, rows = scores(few, Perfect(), tmp_path, round_trip=lose_everything)
    assert table["overall"].value == 1
    assert table["overall"].ceiling == table["turn_1"].ceiling == 0
    assert rows[0].values[CEILING] == 0


def test_a_turn_without_a_picture_is_wrong_and_counted(items, tmp_path: Path):
    [item] = choose(items, most=1)
    generate([item], Perfect(), tmp_path)
    [whole] = read_outputs([item], tmp_path)[item.id]
    cut = replace(whole, parts=whole.parts[:-1])
    suite = WorldTurns()
    row = suite.score(item, [cut], tools=Tools(), protocol=PROTOCOL)
    assert row.failures == ("1 of 3 pictures are missing",)
    assert (row.values["turn_1"], row.values["turn_2"], row.values["turn_3"]) == (1, 1, 0)
    assert row.values["right"] == row.values["kept"] == 0
    silent = suite.score(item, [Output(("",))], tools=Tools(), protocol=PROTOCOL)
    assert set(silent.values.values()) == {0, 1}
    assert silent.values["right"] == silent.values["turn_1"] == 0


def test_an_edit_that_was_not_made_counts_in_its_turn(items, tmp_path: Path):
    chosen = [item for item in items if item.truth["kinds"][1:] == ["background", "add"]]
    assert chosen
    item = chosen[0]
    generate([item], Perfect(), tmp_path)
    [whole] = read_outputs([item], tmp_path)[item.id]
    first, _, third = whole.parts
    row = WorldTurns().score(
        item, [Output((first, first, third))], tools=Tools(), protocol=PROTOCOL
    )
    assert [row.values[f"turn_{k}"] for k in (1, 2, 3)] == [1, 0, 1]
    assert (row.values["right"], row.values["kept"]) == (0, 1)
