"""GenEval: its records, its tools and its averages."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import ConfigError, DataError
from mogao.evaluation.benchmark import Output, Row
from mogao.evaluation.providers.base import Detection, Tools
from mogao.evaluation.tasks.geneval import GenEval

RED_DOG = {
    "tag": "colors",
    "include": [{"class": "dog", "count": 1, "color": "red"}],
    "prompt": "a photo of a red dog",
}


class OneDog:
    name = "one dog"

    def detect(self, pixels):
        return [Detection("dog", (0.0, 0.0, 9.0, 9.0), 0.95)] if pixels.max() else []


class FirstChannel:
    name = "first channel"

    def colour(self, pixels, _detection):
        return "red" if pixels[0, 0, 0] else "blue"


def benchmark(tmp_path, *rows):
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return GenEval(path)


def output(tmp_path, *rgb):
    path = tmp_path / f"{rgb}.png"
    save_png(np.full((16, 16, 3), rgb, np.uint8), path)
    return Output((path,))


def test_a_record_becomes_an_item_with_four_pictures(tmp_path):
    item = benchmark(tmp_path, RED_DOG).items()[0]
    assert (item.id, item.group, item.prompt, item.num) == ("00000", "colors", RED_DOG["prompt"], 4)
    assert item.given().text == RED_DOG["prompt"]
    assert item.truth == RED_DOG


def test_a_bad_record_is_found_before_anything_is_drawn(tmp_path):
    bad = RED_DOG | {"include": [{"class": "dog"}]}
    with pytest.raises(DataError, match=r"metadata.jsonl: record 2: include 0: field 'count'"):
        benchmark(tmp_path, RED_DOG, bad).items()
    with pytest.raises(DataError, match="record 1: field 'prompt' is missing"):
        benchmark(tmp_path, {"tag": "colors", "include": RED_DOG["include"]}).items()


def test_a_value_is_the_share_of_the_pictures(tmp_path):
    bench = benchmark(tmp_path, RED_DOG)
    outputs = [output(tmp_path, *rgb) for rgb in ((9, 0, 0), (0, 9, 0), (0, 0, 0), (9, 9, 9))]
    tools = Tools(OneDog(), FirstChannel())
    row = bench.score(bench.items()[0], outputs, tools=tools, protocol="official")
    assert row.values == {"right": 0.5, "graded": 0.5}
    assert [one["reasons"] for one in row.facts["pictures"]] == [
        [],
        ["expected 1 red dog, found blue"],
        ["expected 1 dog, found 0"],
        [],
    ]


def test_colours_are_needed_only_where_a_clause_names_one(tmp_path):
    plain = RED_DOG | {"tag": "single_object", "include": [{"class": "dog", "count": 1}]}
    bench = benchmark(tmp_path, RED_DOG, plain)
    coloured, single = bench.items()
    outputs = [output(tmp_path, 0, 0, 0)]  # even where no dog is found
    assert bench.score(single, outputs, tools=Tools(OneDog()), protocol="official").values
    with pytest.raises(ConfigError, match="'colours'"):
        bench.score(coloured, outputs, tools=Tools(OneDog()), protocol="official")


def test_overall_is_the_mean_over_tags_not_over_prompts(tmp_path):
    rows = [
        Row("0", "colors", {"right": 1.0, "graded": 1.0}),
        Row("1", "colors", {"right": 0.5, "graded": 0.75}),
        Row("2", "colors", {"right": 0.0, "graded": 0.5}),
        Row("3", "counting", {"right": 1.0, "graded": 1.0}),
    ]
    table = benchmark(tmp_path, RED_DOG).table(rows, protocol="official")
    assert list(table) == ["overall", "colors", "counting", "graded"]
    assert table["overall"].value == 0.75
    assert table["colors"].value == 0.5
    assert table["graded"].value == 0.875
