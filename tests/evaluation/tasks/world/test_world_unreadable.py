"""A picture that cannot be read is a failure of its item, with its name; the others are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import read_image, save_png
from mogao.data.world.scene import render
from mogao.errors import RequestError
from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.controls import Perfect
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.registry import BENCHMARKS, open_benchmark
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.world.base import scene_of
from mogao.sequence import InterleavedSequence


def flatten(path: Path) -> None:
    save_png(read_image(path)[:64], path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


DAMAGE = {"flat": (flatten, "square, got 64 x 128"), "cut off": (cut_off, "cut off or broken")}
SUITES = {
    "nano": "single_object", "world_geneval": "single_object", "world_dense": "three_things",
    "world_edits": "remove", "world_turns": "turns", "world_stories": "journey",
    "world_round_trip": "picture_text_picture", "world_repetition": "1",
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", SUITES)
def test_scoring_goes_on_without_a_picture_that_cannot_be_read(
    name: str, kind: str, tmp_path: Path
):
    suite = open_benchmark(name, {})
    items = choose(suite.items(), groups=[SUITES[name]], most=2)
    generate(items, Perfect(), tmp_path)
    outputs = read_outputs(items, tmp_path)
    damage, said = DAMAGE[kind]
    last = outputs[items[0].id][-1].pictures[-1]
    damage(last)
    bad, good = score(suite, items, outputs, tools=Tools(), protocol=suite.protocols[0])
    overall = "score" if "score" in good.values else "right"
    assert good.values[overall] == 1
    assert good.failures == ()
    # One of four pictures of GenEval's form is worth a quarter.
    assert bad.values[overall] == (1 - 1 / items[0].num if items[0].num > 1 else 0)
    (failure,) = bad.failures
    assert f"{items[0].id}/{last.name}" in failure
    assert said in failure
    assert suite.table([bad, good], protocol=suite.protocols[0])


def test_all_suites_that_read_pictures_are_tried():
    read = {name for name, place in BENCHMARKS.items() if place.startswith("world.")}
    assert {*SUITES} == read - {"world_questions", "world_captions"}


def test_an_edit_of_another_size_is_compared_after_scaling(tmp_path: Path):
    suite = open_benchmark("world_edits", {"pixels": "64"})
    (item,) = choose(suite.items(), groups=["remove"], most=1)
    target = scene_of(item.truth, "target")
    assert target is not None
    values = []
    for times in (1, 2):
        path = tmp_path / f"{times}.png"
        save_png(render(target).repeat(times, 0).repeat(times, 1), path)
        row = suite.score(item, [Output((path,))], tools=Tools(), protocol=suite.protocols[0])
        values.append(row.values)
    assert values[0]["psnr"] == 60
    assert 25 < values[1]["psnr"] < 60
    assert values[1]["right"] == 1


def test_only_pictures_are_forgiven_and_no_other_fault_of_a_rule(tmp_path: Path):
    item = Item("one", "g", "?", "picture", lambda: InterleavedSequence(()))
    save_png(np.zeros((32, 32, 3), np.uint8), tmp_path / "0.png")

    def asks(_: object) -> Judged:
        raise RequestError("the server is gone")

    with pytest.raises(RequestError, match="server"):
        picture_row(item, [Output((tmp_path / "0.png",))], asks, names=["right"])
