"""Interleaved answers: what the judge is shown and how its ratings are averaged."""

from __future__ import annotations

import json

import pytest

from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Output, Row
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.interleaved import ASPECTS, Interleaved, read_answer
from tests.evaluation.tasks.scripted import Judge, picture, row, written

TASK = {
    "id": "t1",
    "task": "guides",
    "input": [{"text": "Start here."}, {"image": "a.png"}, {"text": "Go on to {output}."}],
}
OPENING = {
    "total_uid": "1502046",
    "subtask_name": "guides",
    "conversations": [
        {"input": [{"image": "./a.png", "text": "<BEGIN> Start here. <image>"}, {"text": "Go on."}]}
    ],
}
ASPECT_SCORES = dict(zip(ASPECTS, (9, 8, 7, 6, 5, 4, 3), strict=True))
POINTWISE = "pointwise/own-template"


def interleaved(tmp_path, *records):
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    picture(tmp_path / "images" / "a.png", 90)
    return Interleaved(path, images=tmp_path / "images")


def test_the_judge_sees_the_pictures_of_the_task_and_then_of_the_answer(tmp_path):
    bench = interleaved(tmp_path, TASK)
    assert isinstance(bench, Benchmark)
    (item,) = bench.items()
    assert (item.id, item.group, item.want) == ("t1", "guides", "document")
    assert item.prompt == "Start here.\n[picture 1]\nGo on to {output}."
    assert [type(part).__name__ for part in item.given()] == [
        "TextSegment",
        "ImageSegment",
        "TextSegment",
    ]
    judge = Judge(lambda _: json.dumps(ASPECT_SCORES))
    answer = Output(
        (picture(tmp_path / "x.png", 1), "First.", picture(tmp_path / "y.png", 2), "Last.")
    )
    found = bench.score(item, [answer], tools=Tools(judge=judge), protocol=POINTWISE)
    assert judge.shown == [[90, 1, 2]]
    assert "Start here.\n[picture 1]\nGo on to {output}." in judge.texts[0]
    assert "[picture 2]\nFirst.\n[picture 3]\nLast." in judge.texts[0]
    assert found.values["mean"] == 6  # (9 + 8 + 7 + 6 + 5 + 4 + 3) / 7
    table = bench.table([found, row("t2", "plans", mean=3, correctness=1)], protocol=POINTWISE)
    assert table["overall"].value == 4.5
    assert table["correctness"].value == 5
    assert table["plans"].value == 3


def test_records_of_opening_are_read_as_they_are(tmp_path):
    (item,) = interleaved(tmp_path, OPENING).items()
    assert (item.id, item.group) == ("1502046", "guides")
    assert item.prompt == "Start here.\n[picture 1]\nGo on."
    assert item.given().images[0].pixels[0, 0, 0] == 90


def test_replies_in_the_form_of_opening_are_read(tmp_path):
    bench = interleaved(tmp_path, TASK)
    said = {name.replace("_", " ").title(): {"Score": 5, "Justification": "x"} for name in ASPECTS}
    tools = Tools(judge=Judge(lambda _: json.dumps(said)))
    found = bench.score(bench.items()[0], [Output(("Words.",))], tools=tools, protocol=POINTWISE)
    assert found.values["mean"] == 5


@pytest.mark.parametrize("score", [11, -1, None, 5.5])
def test_an_answer_with_an_unread_aspect_is_left_out_and_counted(tmp_path, score):
    bench = interleaved(tmp_path, TASK)
    tools = Tools(judge=Judge(lambda _: json.dumps({**ASPECT_SCORES, "completeness": score})))
    found = bench.score(bench.items()[0], [Output(("Words.",))], tools=tools, protocol=POINTWISE)
    assert (found.values, found.failures) == ({}, ("output 0: judge: interleaved",))


@pytest.mark.parametrize("parts", [(), (" \n",)])
def test_no_answer_is_a_failure_with_the_least_scores(tmp_path, parts):
    bench = interleaved(tmp_path, TASK)
    tools = Tools(judge=Judge(str))
    found = bench.score(bench.items()[0], [Output(parts)], tools=tools, protocol=POINTWISE)
    assert found.values == dict.fromkeys(("mean", *ASPECTS), 0.0)
    assert found.failures == ("output 0: no answer",)
    unread = Row("t3", "guides", {}, ("output 0: judge: interleaved",))
    table = bench.table([found, row("t2", "guides", mean=6), unread], protocol=POINTWISE)
    assert (table["overall"].value, table["scored"].value) == (3, pytest.approx(2 / 3))


def test_a_missing_picture_of_a_task_is_named(tmp_path):
    (item,) = interleaved(tmp_path, {**TASK, "input": [{"image": "b.png"}]}).items()
    with pytest.raises(DataError, match=r"data\.jsonl: record 1: input: .*b\.png"):
        item.given()


def test_answers_of_other_programs_are_read_from_their_files(tmp_path):
    bench = interleaved(tmp_path, TASK)
    (item,) = bench.items()
    picture(tmp_path / "x.png", 3)
    markdown = tmp_path / bench.places(item, 0)[2]
    markdown.write_text("> Start here.\n\nFirst.\n\n![](x.png)\n\nLast.\n")
    turns = [
        {"input": []},
        {
            "output": [
                {"text": "First. <image>", "image": "./out/x.png"},
                {"text": "Last.", "image": None},
            ]
        },
    ]
    opening = written(tmp_path / "t1.json", {"conversations": turns})
    assert {markdown.name, opening.name} <= set(bench.places(item, 0))
    for path in (markdown, opening):
        first, shown, last = read_answer(Output((path,)))
        assert (first, last) == ("First.", "Last.")
        assert not isinstance(shown, str)
        assert shown[0, 0, 0] == 3


@pytest.mark.parametrize("turns", [[], [{"input": []}]])
def test_an_answer_file_without_an_answer_is_named(tmp_path, turns):
    path = written(tmp_path / "t1.json", {"conversations": turns})
    with pytest.raises(DataError, match=r"t1\.json: field 'conversations': got . turns"):
        read_answer(Output((path,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": []}, "field 'input': expected texts or pictures"),
        ({"input": [{"text": " "}]}, "field 'input': expected texts or pictures"),
        ({"input": [{"words": "x"}]}, "input: expected an object with 'text' or 'image'"),
        ({"input": ["x"]}, "input: expected an object with 'text' or 'image'"),
        ({"input": [{"text": 1}]}, "field 'text': expected str"),
        ({"id": 3.5}, "field 'id': expected str"),
        ({"conversations": []}, "'total_uid' is missing"),
        ({**OPENING, "conversations": []}, "'conversations': got 0 turns"),
    ],
)
def test_faults_of_interleaved_records_are_named(tmp_path, change, message):
    bench = interleaved(tmp_path, {**TASK, **change})
    with pytest.raises(DataError, match=message) as caught:
        bench.items()
    assert "data.jsonl: record 1" in str(caught.value)
