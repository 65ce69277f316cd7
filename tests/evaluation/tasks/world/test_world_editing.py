"""Edits in the world: what is asked for, what counts as right, and where the ceilings lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.data.world.edits import KINDS
from mogao.data.world.sampling import RELATIONS
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.data.world.splits import Settings, known_concepts, pair_is_held_out
from mogao.errors import ConfigError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.prompts import CANNOT, make_edits
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.fidelity import MAX_PSNR
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.world.base import item_of, perfect, scene_of
from mogao.evaluation.tasks.world.editing import EACH, WorldEdits, asked_relation
from mogao.sequence import TextSegment

PROTOCOL = "world-edits-2"
WHITE = np.full((128, 128, 3), 250, np.uint8)
LOCAL = ("add", "remove", "replace", "move", "recolour")


class Nothing:
    """A player that draws a white sheet and is silent."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for item, _ in jobs:
            yield (WHITE,) if item.want == "picture" else ("",)


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return WorldEdits().items()


def scores(
    items: Sequence[Item], player: Player, out: Path, **options
) -> tuple[dict[str, Score], list[Row]]:
    suite = WorldEdits(**options)
    generate(items, player, out)
    rows = score(suite, items, read_outputs(items, out), tools=Tools(), protocol=PROTOCOL)
    return suite.table(rows, protocol=PROTOCOL), rows


def coarse(pictures):
    """An autoencoder of a kind: it leaves 16 shades of each colour."""
    return [picture // 16 * 16 for picture in pictures]


def test_every_kind_has_its_items_and_a_style_changes_only_where_there_are_two(items):
    kinds = [kind for kind in (*KINDS, CANNOT) if kind != "style"]
    assert Counter(item.group for item in items) == dict.fromkeys(kinds, EACH)
    assert len({item.id for item in items}) == len(items)
    assert WorldEdits(styles="noto,fluent").kinds == (*KINDS, CANNOT)


def test_the_same_call_gives_the_same_items(items):
    again = WorldEdits().items()
    assert [one.truth for one in again] == [one.truth for one in items]
    assert [(one.id, one.prompt) for one in again] == [(one.id, one.prompt) for one in items]


def test_pictures_show_known_things_that_were_never_trained_together(items):
    for item in items:
        source = scene_of(item.truth, "source")
        assert source is not None
        assert source.style == "noto"
        first, second = source.objects
        assert pair_is_held_out(first.concept, second.concept)
        shown = (*source.objects, *getattr(scene_of(item.truth, "target"), "objects", ()))
        assert {one.concept for one in shown} <= set(known_concepts())


def test_the_user_shows_a_picture_and_asks_and_only_what_cannot_be_done_may_be_answered(items):
    for item in choose(items, most=1):
        picture, text = item.given().segments
        assert (picture.role, text.role) == ("user", "user")
        assert isinstance(text, TextSegment)
        assert text.text == item.prompt
        assert item.want == ("document" if item.group == CANNOT else "picture")
        assert [isinstance(part, str) for part in perfect(item)] == [item.group == CANNOT]


def test_a_relation_is_read_from_every_request_that_names_one(items):
    added = choose(items, groups=["add"])
    for item in added:
        source, named = scene_of(item.truth, "source"), item.truth["relation"]
        assert source is not None
        assert (named is not None) == any(f" {relation} " in item.prompt for relation in RELATIONS)
        assert named is None or named[1] in [one.concept for one in source.objects]
    assert 5 < sum(item.truth["relation"] is not None for item in added) < EACH - 5


def test_a_relation_names_the_whole_thing():
    source = Scene("white", "noto", (SceneObject("bear"), SceneObject("teddy bear")))
    assert asked_relation("Add a cup above the bear.", source) == ("above", "bear")
    assert asked_relation("Add a cup above the teddy bear.", source) == ("above", "teddy bear")
    assert asked_relation("Add a cup.", source) is None
    assert asked_relation("Move the bear to the left.", source) is None


def test_real_targets_are_right_and_meet_their_ceilings(items, tmp_path: Path):
    table, rows = scores(choose(items, most=2), Perfect(), tmp_path)
    assert table["overall"].value >= 0.99
    assert table["done"].value >= 0.99
    assert table["kept"].value >= 0.99
    assert (table["psnr"].value, table["psnr"].ceiling) == (MAX_PSNR, MAX_PSNR)
    assert (table["ssim"].value, table["ssim"].ceiling) == (1, 1)
    assert all(score.value == score.ceiling for score in table.values())
    assert table["psnr"].n == 2 * len(LOCAL)
    assert [f"{kind}/psnr" in table for kind in (*LOCAL, "background", CANNOT)] == [
        *[True] * len(LOCAL), False, False,
    ]  # fmt: skip
    assert next(iter(table)) == "overall"
    assert rows[0].values[CEILING] == 1


def test_targets_of_other_edits_are_wrong(items, tmp_path: Path):
    few = choose(items, most=2)
    table, _ = scores(few, Shuffled(few), tmp_path)
    assert table["overall"].value < 0.1
    assert table["kept"].value < 0.1
    assert table["psnr"].value < 30


def test_a_white_sheet_and_silence_are_never_right(items, tmp_path: Path):
    few = choose(items, groups=["remove", "background", CANNOT], most=1)
    table, _ = scores(few, Nothing(), tmp_path)
    assert table["overall"].value == table["kept"].value == 0
    assert table["overall"].ceiling == 1


def test_the_ceilings_are_those_of_what_the_autoencoder_leaves(items, tmp_path: Path):
    few = choose(items, groups=["remove", "move"], most=1)
    table, _ = scores(few, Perfect(), tmp_path / "clean", round_trip=coarse)
    top = table["psnr"].ceiling
    assert table["psnr"].value == MAX_PSNR
    assert top is not None
    assert 25 < top < 40  # uniform errors up to 15 of 255: about 29.5 dB
    behind, _ = scores(few, Perfect(round_trip=coarse), tmp_path / "lost", round_trip=coarse)
    assert behind["psnr"].value == top
    assert behind["ssim"].value == behind["ssim"].ceiling


def test_an_output_without_a_picture_is_counted_and_wrong(items):
    [item] = choose(items, groups=["remove"], most=1)
    row = WorldEdits().score(item, [Output(("No.",))], tools=Tools(), protocol=PROTOCOL)
    assert row.failures == ("output 0: no picture",)
    assert {name: row.values[name] for name in ("right", "done", "kept", "psnr")} == {
        "right": 0, "done": 0, "kept": 0, "psnr": 0,
    }  # fmt: skip


def test_a_larger_picture_of_another_program_is_compared_on_the_canvas(items, tmp_path: Path):
    [item] = choose(items, groups=["move"], most=1)
    target = scene_of(item.truth, "target")
    assert target is not None
    save_png(render(target).repeat(2, 0).repeat(2, 1), tmp_path / "0.png")
    output = Output((tmp_path / "0.png",))
    row = WorldEdits().score(item, [output], tools=Tools(), protocol=PROTOCOL)
    assert row.values["right"] == 1
    assert row.values["psnr"] > 30


def test_a_smaller_world_is_compared_as_it_is(tmp_path: Path):
    settings = Settings.of_world(("noto",), pixels=64, split="unseen")
    [prompt] = make_edits(["remove"], 1, settings=settings)
    item = item_of(prompt, "picture", truth={**prompt.truth, "relation": None})
    _, [row] = scores([item], Perfect(), tmp_path, pixels="64")
    assert (row.values["right"], row.values["psnr"], row.values["ssim"]) == (1, MAX_PSNR, 1)


def test_what_cannot_be_done_wants_the_right_words_and_no_picture(items, tmp_path: Path):
    [item] = choose(items, groups=[CANNOT], most=1)
    source = scene_of(item.truth, "source")
    assert source is not None
    save_png(render(source), tmp_path / "0.png")
    right = item.truth["answer"]
    said = [(right,), (right.upper(),), ("There is no thing.",), (right, tmp_path / "0.png"), ()]
    rows = [
        WorldEdits().score(item, [Output(parts)], tools=Tools(), protocol=PROTOCOL)
        for parts in said
    ]
    assert [row.values["right"] for row in rows] == [1, 1, 0, 0, 0]
    assert {row.values[CEILING] for row in rows} == {1}


def test_an_unknown_style_is_named():
    with pytest.raises(ConfigError, match="noto"):
        WorldEdits(styles="notto")
