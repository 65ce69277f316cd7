"""DPG-Bench: the quirks of its public script, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import DataError
from mogao.evaluation.benchmark import Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.dpg import DPGBench

HEAD = "item_id,text,proposition_id,dependency,tuple,question_natural_language\n"
FIRST = 'a,"one, two",1,0,global - (photo),Is it a photo?\n'
MORE = """\
a,"one, two",2,0,entity - whole (dog),Is there a dog?
a,"one, two",3,2,attribute - color (dog),Is the dog red?
b,three,1,0,entity - whole (cat),Is there a cat?
b,three,2,"0, 1",entity - part (tail),Is there a tail?
"""
ANSWERS = {  # by the brightness of a picture
    1: ["yes", "yes", "yes"],
    2: ["yes", "no", "yes"],
    3: ["no", "yes", "no"],
    4: ["Yes.", "Yes, there is a dog.", "YES"],
    5: ["no", "it is", "no"],
}
QUESTIONS = ["Is it a photo?", "Is there a dog?", "Is the dog red?"]


class ByBrightness:
    name = "by brightness"

    def answer(self, pixels, question):
        return ANSWERS[int(pixels[0, 0, 0])][QUESTIONS.index(question)]

    def yes_no_probabilities(self, _pixels, _question):
        raise AssertionError("texts are asked for")


def benchmark(tmp_path, text=HEAD + FIRST + MORE):
    path = tmp_path / "dpg.csv"
    path.write_text(text)
    return DPGBench(path)


def outputs(folder, *numbers):
    paths = [folder / f"{k}.png" for k in range(len(numbers))]
    for path, number in zip(paths, numbers, strict=True):
        save_png(np.full((16, 16, 3), number, np.uint8), path)
    return [Output((path,)) for path in paths]


def scored(bench, made, protocol="fixed-2"):
    tools = Tools(questions=ByBrightness())
    return bench.score(bench.items()[0], made, tools=tools, protocol=protocol)


def test_rows_become_prompts_with_their_graph(tmp_path):
    one, two = benchmark(tmp_path).items()
    assert (one.id, one.prompt, one.num) == ("a", "one, two", 4)
    assert [row["id"] for row in one.truth["questions"]] == [1, 2, 3]
    assert [row["parents"] for row in one.truth["questions"]] == [[], [], [2]]
    assert [row["parents"] for row in two.truth["questions"]] == [[], [1]]
    assert one.truth["questions"][2]["category"] == "attribute - color"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("item_id,text\na,one\n", "row 1: field 'dependency' is missing"),
        (HEAD + "a,one,1,x,entity (dog),Dog?\n", "row 1: field 'dependency': .*got 'x'"),
        (HEAD + "a,one,,0,entity (dog),Dog?\n", "row 1: field 'proposition_id': .*got ''"),
        (HEAD, "no records"),
    ],
)
def test_a_bad_row_is_named(tmp_path, text, said):
    with pytest.raises(DataError, match=rf"dpg.csv: {said}"):
        benchmark(tmp_path, text).items()


def test_wrong_parents_take_their_children_in_each_picture(tmp_path):
    # 3 of 3; the child of a wrong parent falls: 1 of 3; 1 of 3; 3 of 3.
    row = scored(benchmark(tmp_path), outputs(tmp_path, 1, 2, 3, 4))
    assert row.values == {"score": pytest.approx((1 + 1 / 3 + 1 / 3 + 1) / 4)}
    assert not row.failures


def test_official_skips_the_first_row_of_the_file(tmp_path):
    bench = benchmark(tmp_path)
    assert scored(bench, outputs(tmp_path, 3)).values == {"score": pytest.approx(1 / 3)}
    assert scored(bench, outputs(tmp_path, 3), "official").values == {"score": 0.5}


def test_official_takes_no_other_yes_than_yes(tmp_path):
    bench = benchmark(tmp_path)
    fixed = scored(bench, outputs(tmp_path, 4))
    assert (fixed.values, fixed.failures) == ({"score": 1.0}, ())
    official = scored(bench, outputs(tmp_path, 4), "official")
    assert official.values == {"score": 0.0}
    assert official.failures == (
        "question 2: not exactly yes or no: 'Yes, there is a dog.'",
        "question 3: not exactly yes or no: 'YES'",
    )


@pytest.mark.parametrize("protocol", ["official", "fixed-2"])
def test_categories_take_answers_as_given(tmp_path, protocol):
    # Picture 2: no dog, but red: the child counts in its category, not in the score.
    row = scored(benchmark(tmp_path), outputs(tmp_path, 2), protocol)
    assert row.facts["categories"]["attribute"] == [1, 1]
    assert row.facts["categories"]["attribute - color"] == [1, 1]
    assert row.facts["categories"]["entity"] == [0, 1]


def test_official_categories_see_the_last_picture_only(tmp_path):
    bench = benchmark(tmp_path)
    made = outputs(tmp_path, 2, 2, 2, 3)
    assert scored(bench, made, "official").facts["categories"]["entity"] == [1, 1]
    assert scored(bench, made).facts["categories"]["entity"] == [1, 4]


def test_a_prompt_without_a_parent_has_no_score(tmp_path):
    bench = benchmark(tmp_path, HEAD + FIRST + MORE.replace("3,2,", "3,1,"))
    assert scored(bench, outputs(tmp_path, 1)).values == {"score": 1.0}
    row = scored(bench, outputs(tmp_path, 1), "official")
    assert row.values == {}
    assert row.failures == ("question 3 rests on question 1, which is not there",)


def test_a_number_that_comes_twice_stands_for_its_last_row(tmp_path):
    twice = FIRST + FIRST.replace("Is it a photo?", "Is there a dog?")
    row = scored(benchmark(tmp_path, HEAD + twice), outputs(tmp_path, 3))
    assert row.values == {"score": 1.0}
    assert row.facts["answers"] == [["yes"]]


def test_a_grid_is_the_same_as_its_four_pictures(tmp_path):
    bench = benchmark(tmp_path)
    grid = np.repeat(np.repeat([[1, 2], [3, 4]], 16, 0), 16, 1)
    save_png(np.repeat(grid[:, :, None], 3, 2).astype(np.uint8), tmp_path / "a.png")
    for protocol in bench.protocols:
        whole = scored(bench, [Output((tmp_path / "a.png",))], protocol)
        parts = scored(bench, outputs(tmp_path, 1, 2, 3, 4), protocol)
        assert whole.values == parts.values
        assert whole.facts == parts.facts


def test_a_picture_in_the_folder_of_its_item_is_no_grid(tmp_path):
    bench = benchmark(tmp_path, (HEAD + FIRST + MORE).replace("\na,", "\n0,"))
    (made,) = outputs(tmp_path / "0", 1)  # the file 0/0.png of item 0
    assert scored(bench, [made]).facts["answers"] == [["yes", "yes", "yes"]]


def test_an_answer_that_is_neither_is_wrong_and_counted(tmp_path):
    row = scored(benchmark(tmp_path), outputs(tmp_path, 5))
    assert row.values == {"score": 0.0}
    assert row.failures == ("question 2: neither yes nor no: 'it is'",)


def test_categories_pool_questions_over_prompts(tmp_path):
    bench = benchmark(tmp_path)
    short, long = outputs(tmp_path / "x", 1), outputs(tmp_path / "y", 2, 2, 2)
    rows = [scored(bench, short), scored(bench, long)]
    table = bench.table(rows, protocol="fixed-2")
    assert list(table) == [
        *("overall", "attribute", "entity", "global"),
        *("attribute - color", "entity - whole", "global -"),
    ]
    assert table["overall"].value == pytest.approx(100 * (1 + 1 / 3) / 2)
    assert table["entity"].value == 25  # one of one, none of three
    assert table["entity"].n == 2
    assert table["entity"].low == 0
    assert table["entity"].high == 100
