"""ImgEdit: the cap, the script's own reading, the means."""

from __future__ import annotations

import pytest

from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Output, Row
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.imgedit import (
    ImgEdit,
    ImgEditUge,
    read_capped,
    read_capped_uge,
    read_official,
)
from tests.evaluation.tasks.scripted import RESULT, SOURCE, Judge, picture, result, row, written

BASIC = {
    "1082": {"id": "animal/1.png", "prompt": "Make it smooth.", "edit_type": "adjust"},
    "673": {"id": "style/2.png", "prompt": "Make it a woodcut.", "edit_type": "style"},
}
HARD = {"1": {"id": "3.png", "prompt": "Remove the lemon."}}


def imgedit(tmp_path, records=None):
    for name in ("animal/1.png", "style/2.png", "3.png"):
        picture(tmp_path / "images" / name, SOURCE)
    return written(tmp_path / "edits.json", records or BASIC), tmp_path / "images"


@pytest.mark.parametrize(
    ("scores", "capped", "official"),
    [
        ((5, 4, 3), 4.0, 4.0),
        ((1, 4, 4), 1.0, 3.0),  # both others count 1
        ((3, 5, 2), 8 / 3, 3.33),  # the second counts 3; the script rounds to two places
        ((2, 2, 2), 2.0, 2.0),
        ((4, 4, 5), 4.0, 4.33),
    ],
)
def test_only_the_capped_rule_holds_later_scores_below_the_first(scores, capped, official):
    reply = "Reasons: fine.\nCompliance: {}\nNaturalness: {}\nIntegrity: {}".format(*scores)
    found = read_capped(reply)
    assert found is not None
    assert found["score"] == pytest.approx(capped)
    assert read_official(reply) == {"score": official}


def test_the_script_of_imgedit_averages_whatever_it_finds():
    assert read_official("A: 5\nB: 4") == {"score": 4.5}
    assert read_official("A: 5\nB: 40") == {"score": 22.5}
    assert read_official("A: good") is None
    assert read_capped("A: 5\nB: 4") is None
    assert read_capped("A: 5\nB: 4\nC: 40") is None


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Untouched areas changed: yes\nScore: 5", 3),
        ("Untouched areas changed: yes\nScore: 2", 2),
        ("Untouched areas changed: no\nScore: 5", 5),
        ("**Untouched areas changed:** No.\n**Score:** 4", 4),
        ("Untouched areas changed: perhaps\nScore: 5", None),
        ("Score: 5", None),
        ("Untouched areas changed: no\nScore: 6", None),
    ],
)
def test_a_hard_edit_that_changed_more_scores_at_most_three(reply, score):
    assert read_capped_uge(reply) == (None if score is None else {"score": score})


def test_the_judge_of_imgedit_sees_source_and_result_and_the_words_for_the_type(tmp_path):
    data, images = imgedit(tmp_path)
    bench = ImgEdit(data, images=images)
    assert isinstance(bench, Benchmark)
    assert bench.protocols == ("official/own-template", "capped/own-template")
    first, second = bench.items()
    assert (first.id, first.group, first.want) == ("1082", "adjust", "picture")
    assert "1082.png" in bench.places(first, 0)
    given = first.given()
    assert (given.images[0].pixels[0, 0, 0], given.text) == (SOURCE, "Make it smooth.")
    judge = Judge(lambda _: "A: 5\nB: 4\nC: 3")
    tools = Tools(judge=judge)
    for item in (first, second):
        found = bench.score(item, [result(tmp_path)], tools=tools, protocol="capped/own-template")
        assert found.values["score"] == 4
    assert judge.shown == [[SOURCE, RESULT]] * 2
    assert "Make it smooth." in judge.texts[0]
    assert "named property" in judge.texts[0]
    assert "new style" in judge.texts[1]


def test_imgedit_averages_over_items_not_over_types(tmp_path):
    data, images = imgedit(tmp_path)
    bench = ImgEdit(data, images=images)
    rows = [row("a", "add", score=5), row("b", "add", score=4), row("c", "remove", score=1)]
    rows.append(Row("d", "remove", {}, ("output 0: judge: remove",)))
    table = bench.table(rows, protocol="official/own-template")
    assert table["overall"].value == pytest.approx(10 / 3)  # the mean of types would be 2.75
    assert (table["add"].value, table["remove"].value, table["overall"].n) == (4.5, 1, 3)


def test_an_unread_reply_of_imgedit_is_counted_and_left_out(tmp_path):
    data, images = imgedit(tmp_path)
    bench = ImgEdit(data, images=images)
    tools = Tools(judge=Judge(lambda _: "I cannot tell."))
    found = bench.score(
        bench.items()[0], [result(tmp_path)], tools=tools, protocol="official/own-template"
    )
    assert (found.values, found.failures) == ({}, ("output 0: judge: adjust",))


def test_hard_edits_have_their_own_records_and_words(tmp_path):
    data, images = imgedit(tmp_path, HARD)
    bench = ImgEditUge(data, images=images)
    assert isinstance(bench, Benchmark)
    (item,) = bench.items()
    assert (item.id, item.group) == ("1", "uge")
    tools = Tools(judge=Judge(lambda _: "Untouched areas changed: yes\nScore: 4"))
    scores = {
        rule: bench.score(
            item, [result(tmp_path)], tools=tools, protocol=f"{rule}/own-template"
        ).values["score"]
        for rule in ("official", "capped")
    }
    assert scores == {"official": 4, "capped": 3}


def test_an_edit_without_a_picture_scores_the_least(tmp_path):
    data, images = imgedit(tmp_path)
    bench, judge = ImgEdit(data, images=images), Judge(str)
    for protocol in bench.protocols:
        found = bench.score(
            bench.items()[0], [Output(("Sorry.",))], tools=Tools(judge=judge), protocol=protocol
        )
        assert (found.values, found.failures) == ({"score": 1.0}, ("output 0: no picture",))
    unread = Row("d", "style", {}, ("output 0: judge: style",))
    table = bench.table([found, row("b", "add", score=4), unread], protocol=bench.protocols[0])
    assert (table["overall"].value, table["overall"].n) == (2.5, 2)
    assert table["scored"].value == pytest.approx(2 / 3)


def test_the_old_name_of_a_type_is_read(tmp_path):
    data, images = imgedit(tmp_path, {"1": {**BASIC["1082"], "edit_type": "alter"}})
    (item,) = ImgEdit(data, images=images).items()
    assert item.group == "adjust"


def test_faults_of_imgedit_records_are_named(tmp_path):
    data, images = imgedit(tmp_path, {"1": {**BASIC["673"], "edit_type": "stile"}})
    with pytest.raises(DataError, match=r"edits\.json: record 1: .*did you mean 'style'"):
        ImgEdit(data, images=images).items()
    data, _ = imgedit(tmp_path)
    with pytest.raises(DataError, match="name its folder"):
        ImgEdit(data).items()[0].given()
