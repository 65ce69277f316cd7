"""T2I-CompBench: its lists, and which rule scores which category under which protocol."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import DataError
from mogao.evaluation.benchmark import Output, Row
from mogao.evaluation.providers.base import Detection, Tools, YesNoProbabilities
from mogao.evaluation.tasks.compbench import CompBench

LISTS = {
    "color_val": "a red hat and a blue cup\nred hats\na red hat and a green bus\n",
    "shape_train": "a round hat and a square cup\n",
    "spatial_val": "a dog near a cat\na dog behind a cat\n",
    "numeracy_val": "two dogs\tseen\nmany dogs\n",
    "non_spatial_val": "A dog is running.\n",
    "new_objects": "dog - dogs\n",
}
CHANCES = {"a red hat?": 0.5, "a blue cup?": 0.8, "red hats?": 0.7, "a green bus?": 0.0}
"""Shares of yes; three words in four are neither."""


class Both:
    name = "both"

    def detect(self, _pixels):
        boxes = [("dog", 0.0), ("dog", 20.0), ("cat", 40.0)]
        return [Detection(name, (left, 0.0, left + 10, 10.0), 0.9) for name, left in boxes]

    def answer(self, _pixels, _question):
        raise AssertionError("probabilities are asked for")

    def yes_no_probabilities(self, _pixels, question):
        chance = CHANCES.get(question, 0.25)
        return YesNoProbabilities(chance / 4, (1 - chance) / 4 if chance else 0.0)


def benchmark(tmp_path, lists=LISTS):
    for name, text in lists.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return CompBench(tmp_path)


def scored(tmp_path, item_id, protocol="original-rules"):
    bench = benchmark(tmp_path)
    item = next(item for item in bench.items() if item.id == item_id)
    path = tmp_path / "picture.png"
    save_png(np.zeros((479, 479, 3), np.uint8), path)
    tools = Tools(detector=Both(), questions=Both())
    return bench.score(item, [Output((path,))], tools=tools, protocol=protocol)


def test_each_list_is_a_category(tmp_path):
    items = benchmark(tmp_path).items()
    assert [item.id for item in items] == [
        *("color-0000", "color-0001", "color-0002", "spatial-0000", "spatial-0001"),
        *("numeracy-0000", "numeracy-0001", "non_spatial-0000"),
    ]
    assert items[5].prompt == "two dogs"  # what stands behind a tab is no prompt
    assert items[5].num == 10
    assert [item.prompt for item in CompBench(tmp_path, split="train").items()] == [
        "a round hat and a square cup"
    ]


def test_missing_and_broken_lists_are_named(tmp_path):
    with pytest.raises(DataError, match="no records"):
        benchmark(tmp_path, {}).items()
    broken = {"numeracy_val": "two dogs", "new_objects": "dog - dogs\ncat\n"}
    with pytest.raises(DataError, match=r"new_objects\.txt: line 2: expected 'singular - plural'"):
        benchmark(tmp_path, broken).items()


def test_pictures_can_be_drawn_without_the_table_of_plurals(tmp_path):
    assert benchmark(tmp_path, {"numeracy_val": "two dogs"}).items()[0].prompt == "two dogs"


@pytest.mark.parametrize(
    ("item_id", "score"),
    [
        ("color-0000", 0.4),  # 0.5 * 0.8
        ("color-0001", 0.7),  # no fixed form: one phrase
        ("spatial-0000", 0.95),  # 0.25 * 0.9 + 0.25 * 0.9 + 0.5
        ("numeracy-0000", 1.0),
    ],
)
def test_original_rules_score_their_categories(tmp_path, item_id, score):
    row = scored(tmp_path, item_id)
    assert row.values == {"score": pytest.approx(score)}
    assert not row.failures


@pytest.mark.parametrize(
    ("item_id", "said"),
    [
        ("non_spatial-0000", "no original rule for non_spatial here; use protocol vqa-substitute"),
        ("spatial-0001", "the rule of spatial cannot read this prompt"),
        (
            "numeracy-0001",
            "the rule of numeracy cannot read this prompt; is new_objects.txt beside the lists?",
        ),
    ],
)
def test_where_no_rule_fits_there_is_no_score(tmp_path, item_id, said):
    row = scored(tmp_path, item_id)
    assert row.values == {}
    assert row.failures == (said,)


@pytest.mark.parametrize("item_id", ["color-0000", "spatial-0001", "non_spatial-0000"])
def test_the_substitute_asks_for_the_whole_prompt(tmp_path, item_id):
    # VQAScore is the probability of yes itself, the original rule its share beside no
    assert scored(tmp_path, item_id, "vqa-substitute").values == {"score": 0.25 / 4}


def test_a_phrase_that_is_answered_with_neither_word_scores_nothing_and_is_counted(tmp_path):
    row = scored(tmp_path, "color-0002")
    assert row.values == {"score": 0.0}
    assert row.failures == ("output 0: a green bus: neither yes nor no is likely",)


def test_rows_without_a_score_are_left_out_of_the_means(tmp_path):
    rows = [
        Row("0", "color", {"score": 1.0}),
        Row("1", "color", {"score": 0.5}),
        Row("2", "spatial", {"score": 0.25}),
        Row("3", "spatial", {}),
        Row("4", "non_spatial", {}),
    ]
    table = CompBench(tmp_path).table(rows, protocol="original-rules")
    assert {name: score.value for name, score in table.items()} == {
        "overall": 0.5,
        "color": 0.75,
        "spatial": 0.25,
    }
