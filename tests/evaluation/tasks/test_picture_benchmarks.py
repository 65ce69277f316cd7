"""What all benchmarks of single pictures promise, on small sets whose pictures are numbered.

Every pixel of picture i holds the number i, so that a fake provider can look up what item i asks
for and find exactly that.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import ConfigError
from mogao.evaluation.benchmark import Benchmark, Output
from mogao.evaluation.providers.base import Detection, Tools, YesNoProbabilities
from mogao.evaluation.tasks.compbench import CompBench
from mogao.evaluation.tasks.dpg import DPGBench
from mogao.evaluation.tasks.genai_bench import GenAIBench
from mogao.evaluation.tasks.geneval import GenEval
from mogao.evaluation.tasks.unified_bench import UnifiedBench

NAMES = ("dog", "cat", "cow", "cup", "car", "key", "bed", "bus", "pig", "bee", "hat", "jar")
COLOURS = ("red", "blue", "green")
AWAY = {"left of": (-50, 0), "right of": (50, 0), "above": (0, -50), "below": (0, 50)}
DPG_COLUMNS = (
    *("item_id", "text", "proposition_id", "dependency"),
    *("tuple", "question_natural_language"),
)
PLACED = {"on the left of": "left of", "on the top of": "above"}


class Truth:
    """Answers every question about a numbered picture from the item of that number."""

    name = "truth"

    def __init__(self, items):
        self.items = items

    def of(self, pixels):
        return self.items[int(pixels[0, 0, 0])]

    def detect(self, pixels):
        item = self.of(pixels)
        if "include" in item.truth:
            return _boxes(item.truth["include"])
        asks = item.truth["asks"]
        if item.group == "spatial":
            first = {"class": asks[0], "count": 1, "position": [PLACED[asks[1]], 0]}
            return _boxes([{"class": asks[2], "count": 1}, first])
        wanted = asks if item.group == "numeracy" else []
        return _boxes([{"class": name, "count": number} for name, number in wanted])

    def colour(self, pixels, detection):
        clauses = self.of(pixels).truth["include"]
        return next(one["color"] for one in clauses if one["class"] == detection.name)

    def answer(self, pixels, question):
        asked = [row["text"] for row in self.of(pixels).truth["questions"]]
        return "yes" if question in asked else "no"

    def yes_no_probabilities(self, pixels, question):
        prompt = self.of(pixels).prompt
        is_there = prompt in question or question[:-1] in prompt
        return YesNoProbabilities(float(is_there), float(not is_there))

    def embed(self, pictures):
        return np.eye(256, dtype=np.float32)[[int(one[0, 0, 0]) for one in pictures]]


def _boxes(clauses):
    found = []
    for row, clause in enumerate(clauses):
        right, down = AWAY[clause["position"][0]] if "position" in clause else (0, 200 * row)
        for i in range(clause["count"]):
            left, top = 500.0 + right + 40 * i, 500.0 + down
            found.append(Detection(clause["class"], (left, top, left + 20, top + 20), 1.0))
    return found


def geneval(folder):
    rows = []
    for i, name in enumerate(NAMES):
        other, colour = NAMES[(i + 1) % 12], COLOURS[i % 3]
        one = {"class": name, "count": 1}
        painted = one | {"color": colour}
        second = {"class": other, "count": 1}
        rows += [
            {"tag": "single_object", "include": [one]},
            {"tag": "two_object", "include": [one, second]},
            {
                "tag": "counting",
                "include": [one | {"count": 2 + i % 3}],
                "exclude": [one | {"count": 3 + i % 3}],
            },
            {"tag": "colors", "include": [painted]},
            {"tag": "position", "include": [one, second | {"position": [list(AWAY)[i % 4], 0]}]},
            {"tag": "color_attr", "include": [painted, second | {"color": COLOURS[(i + 1) % 3]}]},
        ]
    lines = [json.dumps(row | {"prompt": f"prompt {i}"}) for i, row in enumerate(rows)]
    (folder / "geneval.jsonl").write_text("\n".join(lines))
    return GenEval(folder / "geneval.jsonl")


def dpg(folder):
    with (folder / "dpg.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(DPG_COLUMNS)
        table.writerow(["p0", "prompt", 9, 0, "other (x)", "Is this row skipped?"])
        for i, name in enumerate(NAMES):
            table.writerow([f"p{i}", "prompt", 1, 0, f"entity - whole ({name})", f"{name}?"])
            table.writerow([f"p{i}", "prompt", 2, 1, f"attribute - color ({name})", f"red {name}?"])
    return DPGBench(folder / "dpg.csv")


def genai(folder):
    prompts = {f"{i:05d}": {"prompt": f"one {name}"} for i, name in enumerate(NAMES)}
    skills = {"basic": list(range(6)), "advanced": list(range(6, 12)), "counting": [6, 7]}
    (folder / "genai_image.json").write_text(json.dumps(prompts))
    (folder / "genai_skills.json").write_text(json.dumps(skills))
    return GenAIBench(folder)


def compbench(folder):
    pairs = list(zip(NAMES[::2], NAMES[1::2], strict=True))
    lists = {
        "color": [f"a red {one} and a blue {two}" for one, two in pairs],
        "spatial": [f"a {one} {list(PLACED)[len(two) % 2]} a {two}" for one, two in pairs],
        "numeracy": [f"two {one}s and three {two}s" for one, two in pairs],
    }
    for category, prompts in lists.items():
        (folder / f"{category}_val.txt").write_text("\n".join(prompts))
    (folder / "new_objects.txt").write_text("\n".join(f"{name} - {name}s" for name in NAMES))
    return CompBench(folder)


def unified(folder):
    for i in range(12):
        save_png(numbered(i), folder / f"{i}.png")
    return UnifiedBench(folder)


def numbered(i):
    return np.full((16, 16, 3), i, np.uint8)


SETS = [geneval, dpg, genai, compbench, unified]


def overall(bench, items, folder, *, shift):
    """Score a set in which item i got the pictures of item i + shift."""
    folder.mkdir()
    truth = Truth(items)
    tools = Tools(truth, truth, truth, embedders=(truth,))
    rows = []
    for i, item in enumerate(items):
        path = folder / f"{i}.png"
        save_png(numbered((i + shift) % len(items)), path)
        output = [Output((path,))] * item.num
        rows.append(bench.score(item, output, tools=tools, protocol=bench.protocols[0]))
    assert not any(row.failures for row in rows)
    table = bench.table(rows, protocol=bench.protocols[0])
    assert next(iter(table)) == "overall"
    full = 100 if isinstance(bench, DPGBench | UnifiedBench) else 1
    return table["overall"].value / full


@pytest.mark.parametrize("make", SETS)
def test_what_was_asked_for_scores_one_and_shuffled_prompts_under_a_quarter(make, tmp_path):
    bench = make(tmp_path)
    items = bench.items()
    assert overall(bench, items, tmp_path / "right", shift=0) == pytest.approx(1)
    assert overall(bench, items, tmp_path / "shuffled", shift=len(items) // 2 + 1) < 0.25


@pytest.mark.parametrize("make", SETS)
def test_a_benchmark_keeps_its_form(make, tmp_path):
    bench = make(tmp_path)
    items = bench.items()
    assert isinstance(bench, Benchmark)
    assert len({item.id for item in items}) == len(items)
    assert [item.id for item in bench.items()] == [item.id for item in items]
    for item in items:
        assert json.loads(json.dumps(item.truth)) == item.truth
        assert item.given().is_conversation
        places = [place for k in range(item.num) for place in bench.places(item, k)]
        assert len(set(places)) == len(places)


@pytest.mark.parametrize("make", SETS)
def test_a_missing_tool_is_named(make, tmp_path):
    bench = make(tmp_path)
    with pytest.raises(ConfigError, match=r"needs a tool for '(detector|questions|embedders)'"):
        bench.score(bench.items()[0], [Output(())], tools=Tools(), protocol=bench.protocols[0])


@pytest.mark.parametrize("make", SETS)
def test_an_output_without_a_picture_is_wrong_and_counted(make, tmp_path):
    bench = make(tmp_path)
    items = bench.items()
    truth = Truth(items)
    tools = Tools(truth, truth, truth, embedders=(truth,))
    picture = tmp_path / "picture.png"
    save_png(numbered(0), picture)
    outputs = [Output((picture,)), Output(("I cannot draw.",))]
    row = bench.score(items[0], outputs, tools=tools, protocol=bench.protocols[0])
    assert row.failures == ("output 1: no picture",)
    assert set(row.values.values()) == {0.5}


@pytest.mark.parametrize(
    ("make", "number", "k", "places"),
    [
        (geneval, 7, 2, ["00007/samples/0002.png", "00007/samples/00002.png", "00007/2.png"]),
        (geneval, 7, 2, ["00007/0002.png"]),
        (dpg, 3, 0, ["p3.png", "p3.jpg", "p3/0.png"]),
        (dpg, 3, 3, ["p3/3.png", "p3/0003.png"]),
        (genai, 5, 0, ["00005.jpeg", "00005.jpg", "00005.png", "00005/0.png"]),
        (compbench, 1, 4, ["color-0001/4.png", "samples/a red cow and a blue cup_000014.png"]),
        (compbench, 1, 4, ["color/samples/a red cow and a blue cup_000014.png"]),
        (unified, 11, 0, ["images/11.png", "images/11.jpg", "11.png", "11/0.png"]),
    ],
)
def test_folders_of_other_programs_are_found(make, number, k, places, tmp_path):
    bench = make(tmp_path)
    assert set(places) <= set(bench.places(bench.items()[number], k))
