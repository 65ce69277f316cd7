"""Texts for the judge come from us or from the user, and rows keep what could not be read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import ConfigError, DataError, RequestError
from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.tasks.judged import (
    Opinion,
    check_choice,
    load_templates,
    numbered_rows,
    opinion_row,
    picture_opinions,
)
from mogao.evaluation.tasks.records import document

OWN = {"first": "Do {instruction}; see {explanation}.", "second": "Look."}
ITEM = Item("a", "g", "draw", "picture", lambda: document("draw"))


def given(tmp_path, texts):
    path = tmp_path / "templates.json"
    path.write_text(json.dumps(texts))
    return path


def test_protocols_say_whose_words_the_judge_heard(tmp_path):
    path = given(tmp_path, {"first": "{instruction}?", "second": "Well?"})
    assert load_templates(None, OWN).protocols(["a", "b"]) == ("a/own-template", "b/own-template")
    assert load_templates(path, OWN).protocols(["a"]) == ("a/given-template",)


def test_a_protocol_is_known_by_its_full_name_alone():
    templates = load_templates(None, OWN)
    assert templates.rule("b/own-template", ["a", "b"]) == "b"
    for name in ("b", "b/given-template", "c/own-template"):
        with pytest.raises(ConfigError, match="own-template"):
            templates.rule(name, ["a", "b"])


def test_places_are_filled_once_and_other_braces_stay(tmp_path):
    path = given(tmp_path, {"first": 'A {instruction} {"score": [1]} {}', "second": "B"})
    filled = load_templates(path, OWN).fill(
        "first", {"instruction": "{explanation}", "explanation": "no"}
    )
    assert filled == 'A {explanation} {"score": [1]} {}'
    assert load_templates(None, OWN).fill("second", {}) == "Look."


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"first": "{instruction}"}, "'second' is missing"),
        ({"first": "{instruction}", "second": "x", "secnd": "x"}, "did you mean 'second'"),
        ({"first": "{instruct}", "second": "x"}, "places instruct; expected some of explanation"),
        ({"first": "<edit_prompt>", "second": "x"}, "places none; expected some of explanation"),
        ({"first": "{instruction}", "second": "{instruction}"}, "expected no place at all"),
        ({"first": 1, "second": "x"}, "'first': expected str"),
        ([], "expected an object"),
    ],
)
def test_given_templates_are_checked(tmp_path, texts, message):
    with pytest.raises(DataError, match=message) as caught:
        load_templates(given(tmp_path, texts), OWN)
    assert "templates.json" in str(caught.value)


def test_an_option_is_one_of_a_few_words():
    check_choice("language", "cn", ["en", "cn"])
    with pytest.raises(ConfigError, match="language 'zh': expected one of en, cn"):
        check_choice("language", "zh", ["en", "cn"])


def test_rows_come_from_a_list_an_object_or_lines(tmp_path):
    listed, lines, mapped = (tmp_path / name for name in ("a.json", "b.jsonl", "c.json"))
    listed.write_text('[{"a": 1}, {"a": 2}]')
    lines.write_text('{"a": 1}\n\n{"a": 2}\n')
    mapped.write_text('{"x": {"a": 1}}')
    assert [row for _, row in numbered_rows(listed)] == [{"a": 1}, {"a": 2}]
    assert [row for _, row in numbered_rows(lines)] == [{"a": 1}, {"a": 2}]
    assert [row for _, row in numbered_rows(mapped)] == [{"key": "x", "a": 1}]
    assert numbered_rows(listed)[1][0].endswith("a.json: record 2")


def test_a_value_is_the_mean_over_those_outputs_that_have_it():
    said = [
        Opinion({"score": 4.0, "other": 1.0}, facts={"n": 0}),
        Opinion(failures=("judge: x",)),
        Opinion({"score": 1.0}, ("judge: other",)),
    ]
    outputs = [Output((str(k),)) for k in range(3)]
    row = opinion_row(ITEM, outputs, lambda output: said[int(output.text)])
    assert row.values == {"score": 2.5, "other": 1.0}
    assert row.failures == ("output 1: judge: x", "output 2: judge: other")
    assert row.facts == {"judged": [{"n": 0}, {}, {}]}


@pytest.mark.parametrize("missing", [{}, {"score": 0.0}])
def test_an_output_without_a_picture_is_a_failure_with_the_values_of_its_rule(missing):
    outputs = [Output(("only words",))]
    row = picture_opinions(ITEM, outputs, lambda _: Opinion({"score": 1.0}), missing=missing)
    assert (row.values, row.failures) == (missing, ("output 0: no picture",))


def test_the_last_picture_counts_and_must_be_one(tmp_path):
    for name, value in (("draft", 10), ("final", 200)):
        save_png(np.full((16, 16, 3), value, np.uint8), tmp_path / f"{name}.png")

    def brightness(pixels):
        return Opinion({"score": float(pixels.mean())})

    output = Output((tmp_path / "draft.png", "better:", tmp_path / "final.png"))
    assert picture_opinions(ITEM, [output], brightness, missing={}).values == {"score": 200.0}
    (tmp_path / "final.png").write_bytes(b"no picture")
    with pytest.raises(RequestError, match="not a picture"):
        picture_opinions(ITEM, [output], brightness, missing={})
