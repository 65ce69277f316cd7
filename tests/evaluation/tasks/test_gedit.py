"""GEdit-Bench: VIEScore and its means, worked by hand."""

from __future__ import annotations

import json

import pytest

from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.gedit import GROUPS, GEdit, viescore
from tests.evaluation.tasks.scripted import RESULT, SOURCE, Judge, picture, result, row, written

EDITS = [
    {
        "key": "a1",
        "task_type": "subject-add",
        "instruction": "Add a cat.",
        "instruction_language": "en",
        "Intersection_exist": True,
        "input_image": "a.png",
    },
    {
        "key": "b2",
        "task_type": "ps_human",
        "instruction": "Add a hat.",
        "instruction_language": "en",
        "Intersection_exist": False,
    },
    {
        "key": "c3",
        "task_type": "ps_human",
        "instruction": "Jia maozi.",
        "instruction_language": "cn",
        "Intersection_exist": False,
    },
]
VIESCORE = "viescore/own-template"


def gedit(tmp_path, language="en"):
    picture(tmp_path / "images" / "a.png", SOURCE, (32, 48))
    picture(tmp_path / "images" / "fullset" / "ps_human" / "en" / "b2_SRCIMG.png", SOURCE + 1)
    data = written(tmp_path / "gedit.json", EDITS)
    return GEdit(data, images=tmp_path / "images", language=language)


def vie_judge(semantics, quality):
    """Semantics is the question that tells the instruction."""

    def reply(text):
        scores = semantics if "source" in text else quality
        return json.dumps({"score": scores, "reasoning": "x"})

    return Judge(reply)


@pytest.mark.parametrize("place", range(4))
def test_one_zero_of_the_four_makes_the_whole_zero(place):
    scores = [8.0, 9.0, 7.0, 6.0]
    scores[place] = 0.0
    found = viescore(
        {"done": scores[0], "kept": scores[1]}, {"natural": scores[2], "clean": scores[3]}
    )
    assert found["overall"] == 0


def test_the_least_of_each_pair_counts():
    found = viescore({"done": 9.0, "kept": 4.0}, {"natural": 9.0, "clean": 10.0})
    assert found == {"overall": 6, "semantics": 4, "quality": 9}


def test_the_judge_of_gedit_sees_the_pair_and_then_the_result_in_the_size_of_the_source(tmp_path):
    bench = gedit(tmp_path)
    assert isinstance(bench, Benchmark)
    first, second = bench.items()
    assert [item.id for item in (first, second)] == ["a1", "b2"]
    assert "fullset/subject-add/en/a1.png" in bench.places(first, 0)
    assert second.given().images[0].pixels[0, 0, 0] == SOURCE + 1
    judge = vie_judge([9, 4], [9, 10])
    found = bench.score(first, [result(tmp_path)], tools=Tools(judge=judge), protocol=VIESCORE)
    assert judge.shown == [[SOURCE, RESULT], [RESULT]]
    assert judge.sizes == [[(32, 48), (32, 48)], [(32, 48)]]
    assert "Add a cat." in judge.texts[0]
    assert "Add a cat." not in judge.texts[1]
    assert found.values["overall"] == found.values["intersection/overall"] == 6
    other = bench.score(second, [result(tmp_path)], tools=Tools(judge=judge), protocol=VIESCORE)
    assert "intersection/overall" not in other.values


def test_each_language_is_its_own_set(tmp_path):
    assert [item.id for item in gedit(tmp_path, "cn").items()] == ["c3"]
    (item,) = gedit(tmp_path, "cn").items()
    assert "fullset/ps_human/cn/c3.png" in gedit(tmp_path, "cn").places(item, 0)


def test_interleaved_records_of_gedit_are_read(tmp_path):
    record = {
        "interleave_array": ["Add a cat.", "./a.png", "./a.png"],
        "additional_info": {
            name: EDITS[0][name]
            for name in ("key", "task_type", "instruction_language", "Intersection_exist")
        },
    }
    picture(tmp_path / "a.png", SOURCE)
    (item,) = GEdit(written(tmp_path / "en.json", {"0": record}), images=tmp_path).items()
    assert (item.id, item.group, item.prompt) == ("a1", "subject-add", "Add a cat.")
    assert item.given().images[0].pixels[0, 0, 0] == SOURCE


def test_gedit_averages_over_groups_not_over_items(tmp_path):
    bench = gedit(tmp_path)
    values = {"semantics": 5, "quality": 5}
    rows = [row(f"a{n}", "ps_human", overall=2, **values) for n in range(3)]
    rows.append(row("b", "subject-add", overall=8, intersection__overall=7, **values))
    table = bench.table(rows, protocol=VIESCORE)
    assert table["overall"].value == 5  # the mean over items would be 3.5
    assert table["intersection/overall"].value == 7
    assert (table["ps_human"].value, table["subject-add"].value) == (2, 8)
    assert len(GROUPS) == 11


@pytest.mark.parametrize(
    ("semantics", "quality", "failures"),
    [
        ([9, 11], [9, 9], ("output 0: judge: semantics",)),
        ([9, 9], [9], ("output 0: judge: quality",)),
        ([], "x", ("output 0: judge: semantics", "output 0: judge: quality")),
    ],
)
def test_an_unread_half_of_a_viescore_leaves_the_item_out(tmp_path, semantics, quality, failures):
    bench = gedit(tmp_path)
    tools = Tools(judge=vie_judge(semantics, quality))
    found = bench.score(bench.items()[0], [result(tmp_path)], tools=tools, protocol=VIESCORE)
    assert (found.values, found.failures) == ({}, failures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_type": "subject_add"}, "did you mean 'subject-add'"),
        ({"Intersection_exist": 1}, "'Intersection_exist': expected bool"),
        ({"interleave_array": ["x"]}, "expected words and a picture"),
    ],
)
def test_faults_of_gedit_records_are_named(tmp_path, change, message):
    data = written(tmp_path / "gedit.json", [{**EDITS[0], **change}])
    with pytest.raises(DataError, match=message) as caught:
        GEdit(data, images=tmp_path).items()
    assert "gedit.json: record 1" in str(caught.value)


def test_an_edit_of_gedit_without_a_picture_is_passed_over_and_the_share_is_told(tmp_path):
    bench = gedit(tmp_path)
    item = bench.items()[0]
    tools = Tools(judge=vie_judge([8, 8], [8, 8]))
    done = bench.score(item, [result(tmp_path)], tools=tools, protocol=VIESCORE)
    missing = bench.score(item, [Output(("Sorry.",))], tools=tools, protocol=VIESCORE)
    assert (missing.values, missing.failures) == ({}, ("output 0: no picture",))
    table = bench.table([done, missing], protocol=VIESCORE)
    assert (table["overall"].value, table["scored"].value) == (8, 0.5)
