"""Suites of a smaller world: its things alone, its size, judged on the canvas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mogao.data.world.scene import Scene, SceneObject, render
from mogao.errors import ConfigError
from mogao.evaluation.controls import Perfect
from mogao.evaluation.judges.report import ShapeError, on_canvas
from mogao.evaluation.prompts import make_edits
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.world.base import WorldJudge, scene_of
from mogao.evaluation.tasks.world.dense import WorldDense
from mogao.evaluation.tasks.world.nano import NanoSuite
from tests.small_world import CONCEPTS, PAINTS, SMALL

OPTIONS: dict[str, Any] = {
    "concepts": ", ".join(CONCEPTS),
    "colours": ",".join(PAINTS),
    "pixels": "64",
}


def test_items_ask_for_things_of_the_world_in_its_size() -> None:
    items = choose(NanoSuite(**OPTIONS).items(), most=12)
    for item in items:
        assert item.size == (None if item.want == "text" else (64, 64))
        assert {image.size for image in item.given().images} <= {(64, 64)}
        assert set(item.truth.get("concepts", [])) <= set(CONCEPTS)
        assert set(item.truth.get("colours", [])) <= {*PAINTS, None}
    single = [item for item in items if item.group == "single_object"]
    assert len({item.truth["concepts"][0] for item in single}) == 12


def test_items_keep_to_backgrounds_and_grid() -> None:
    options = {**OPTIONS, "backgrounds": "white, light blue, night, snow", "grid": "32"}
    for item in choose(WorldDense(**options).items(), most=20):
        target = scene_of(item.truth, "target")
        assert target is not None
        assert target.background in ("white", "light blue", "night", "snow")
        for one in target.objects:
            assert one.cell[0] % 32 == one.cell[1] % 32 == 0


def test_a_perfect_player_is_right_at_half_the_size(tmp_path: Path) -> None:
    suite = NanoSuite(**OPTIONS)
    groups = ("single_object", "two_object", "color_attr", "edits")
    items = choose(suite.items(), groups=groups, most=5)
    generate(items, Perfect(), tmp_path)
    outputs = read_outputs(items, tmp_path)
    rows = score(suite, items, outputs, tools=Tools(), protocol=suite.protocols[0])
    assert [row.values["right"] for row in rows] == [1.0] * 20
    assert [row.values["ceiling"] for row in rows] == [1.0] * 20


def test_edits_are_of_the_world_too() -> None:
    for prompt in make_edits(["remove", "recolour"], 3, settings=SMALL):
        assert prompt.source is not None
        assert prompt.target is not None
        assert (prompt.source.pixels, prompt.target.pixels) == (64, 64)
        assert {item.concept for item in prompt.source.objects} <= set(CONCEPTS)


def test_a_judge_sees_small_pictures_on_the_canvas() -> None:
    scene = Scene("white", "noto", (SceneObject("cat", "red", "large", 40, 88),), pixels=64)
    report = WorldJudge().read_pixels(render(scene))
    (found,) = report.findings
    assert (found.concept, found.colour) == ("cat", "red")
    assert abs(found.x - 40) < 4
    assert abs(found.y - 88) < 4
    with pytest.raises(ShapeError, match="square, got 32 x 64"):
        on_canvas(np.zeros((32, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pixels": "small"}, "pixels: got 'small'"),
        ({"grid": "fine"}, "grid: got 'fine'"),
        ({"grid": "33"}, "grid: got 33, expected 1 to 32"),
        ({"backgrounds": "snaw"}, "'snow'"),
        ({"concepts": "cat"}, "at least 8"),
        ({"colours": "rod"}, "'red'"),
        ({"styles": "nota"}, "'noto'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        NanoSuite(**options)
    assert said in str(caught.value)
