"""Repetition: true pictures repeat nothing, repeated ones do, and a white sheet is not right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from mogao.config import GenerationConfig, override, parse
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.data.world.splits import is_held_out
from mogao.evaluation.benchmark import Item
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.player import Job, Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.world.repetition import (
    NUM,
    SCALES,
    WorldRepetition,
    equal_share,
    shows_scene,
)

PROTOCOL = "world-repetition-1"
NAMES = [f"{scale:g}" for scale in SCALES]


class Repeats:
    """A player that draws the picture of the document once more."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for item, _ in jobs:
            yield (item.given().images[0].pixels,)


class WhiteSheets:
    """A player that draws nothing on every second sheet, and else gives no sheet."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        for number, _ in enumerate(jobs):
            yield (np.full((128, 128, 3), 250, np.uint8),) if number % 2 else ()


@pytest.fixture(scope="module")
def items() -> Sequence[Item]:
    return WorldRepetition().items()


def play(items: Sequence[Item], player: Player, out: Path):
    suite = WorldRepetition()
    generate(items, player, out)
    rows = score(suite, items, read_outputs(items, out), tools=Tools(), protocol=PROTOCOL)
    return suite.table(rows, protocol=PROTOCOL), rows


def test_true_pictures_repeat_nothing_and_are_right(items, tmp_path: Path):
    table, _ = play(choose(items, most=2), Perfect(), tmp_path)
    assert list(table) == ["repeated", "right", *(
        f"{value}/{scale}" for value in ("repeated", "right", "pixels") for scale in NAMES
    )]  # fmt: skip
    for name, one in table.items():
        if name.startswith("repeated"):
            assert (one.value, one.ceiling) == (0, 0)
        elif name.startswith("right"):
            assert (one.value, one.ceiling) == (1, 1)
        else:
            assert one.value == one.ceiling < 1


def test_an_earlier_picture_repeats_and_is_wrong(items, tmp_path: Path):
    table, _ = play(choose(items, groups=["1", "5"], most=4), Repeats(), tmp_path)
    assert (table["repeated"].value, table["right"].value) == (1, 0)
    assert table["pixels/5"].value == 1
    assert table["pixels/5"].ceiling < 1


def test_pictures_of_others_neither_repeat_nor_are_right(items, tmp_path: Path):
    few = choose(items, groups=["1.5"], most=8)
    table, _ = play(few, Shuffled(few), tmp_path)
    assert table["repeated"].value < 0.25
    assert table["right"].value < 0.25


def test_white_sheets_repeat_nothing_and_are_never_right(items, tmp_path: Path):
    table, rows = play(choose(items, groups=["2"], most=4), WhiteSheets(), tmp_path)
    assert (table["repeated"].value, table["right"].value) == (0, 0)
    assert table["right"].ceiling == 1
    assert [len(row.failures) for row in rows] == [1, 0, 1, 0]


def test_pictures_of_another_size_are_measured_on_the_canvas(items, tmp_path: Path):
    class Repeats4:
        def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
            for (picture,) in Repeats().play(jobs):
                yield (np.repeat(np.repeat(picture, 4, 0), 4, 1),)

    table, _ = play(choose(items, groups=["3"], most=1), Repeats4(), tmp_path)
    assert (table["repeated"].value, table["right"].value) == (1, 0)
    assert table["pixels/3"].value > 0.9


def test_all_scales_have_the_same_documents(items):
    assert [item.group for item in items] == [name for name in NAMES for _ in range(NUM)]
    assert len({item.id for item in items}) == len(items)
    first, *others = ([item for item in items if item.group == name] for name in NAMES)
    for other in others:
        assert [(one.prompt, one.truth) for one in other] == [
            (one.prompt, one.truth) for one in first
        ]
    again = WorldRepetition().items()
    assert [(one.id, one.truth) for one in again] == [(one.id, one.truth) for one in items]


def test_the_scale_is_a_setting_of_generation(items):
    for item in (items[0], items[-1]):
        changes = [f"{key}={value}" for key, value in item.settings.items()]
        data = override(GenerationConfig().model_dump(mode="json"), changes)
        found = parse(GenerationConfig, data, where=item.id)
        assert f"{found.image.image_guidance_scale:g}" == item.group


def test_the_text_asks_for_other_things_in_the_same_place(items):
    for item in items[:NUM]:
        earlier = Scene.from_json(item.truth["earlier"])
        target = Scene.from_json(item.truth["target"])
        assert target.background == earlier.background
        assert sorted(one.concept for one in target.objects) != sorted(
            one.concept for one in earlier.objects
        )
        assert not is_held_out(earlier)
        assert not is_held_out(target)
        roles = [segment.role for segment in item.given()]
        is_edit = item.truth["form"] == "edit"
        assert roles == (["user", "user"] if is_edit else ["user", "model", "model", "model"])
        assert item.prompt.startswith("Replace the " if is_edit else "A story about ")
    assert {item.truth["form"] for item in items} == {"edit", "story"}
    for item in items[:2]:
        (image,) = item.given().images
        assert (image.pixels == render(Scene.from_json(item.truth["earlier"]))).all()


def test_a_scene_is_shown_wherever_its_things_stand():
    scene = Scene("sea", "noto", (SceneObject("cat", "red"), SceneObject("apple", None, "small")))
    cat = Finding("cat", "noto", "red", 40.0, 20.0, 20.0, 0.9)
    apple = Finding("apple", "noto", "green", 30.0, 90.0, 90.0, 0.9)
    assert shows_scene(Report("sea", (cat, apple)), scene)
    assert not shows_scene(Report("room", (cat, apple)), scene)
    assert not shows_scene(Report("sea", (cat,)), scene)
    assert not shows_scene(Report("sea", (cat, apple, apple)), scene)


def test_pixels_are_equal_up_to_a_little():
    grey = np.full((2, 2, 3), 100, np.uint8)
    other = grey.copy()
    other[0, 0, 1] = 116  # 16 off: equal
    other[0, 1, 2] = 83  # 17 off: not equal
    other[1, 0] = 255
    assert equal_share(grey, grey) == 1
    assert equal_share(grey, other) == equal_share(other, grey) == 0.5
