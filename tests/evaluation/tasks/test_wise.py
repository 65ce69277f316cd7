"""WISE: hand-worked scores of a scripted judge."""

from __future__ import annotations

import pytest

from mogao.errors import ConfigError, DataError
from mogao.evaluation.benchmark import Benchmark, Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.wise import WEIGHTS, Wise, category, wi_score
from tests.evaluation.tasks.scripted import Judge, picture, row, written

PROMPTS = [
    {"prompt_id": 1, "Prompt": "a feast", "Explanation": "with lanterns", "Category": "C"},
    {"prompt_id": 401, "Prompt": "noon", "Explanation": "short shadows", "Category": "T"},
]
PROMPTS = [{**prompt, "Subcategory": "Horizontal time"} for prompt in PROMPTS]
WISE = "official-weighted/own-template"


def test_the_wiscore_is_weighted_and_halved():
    # (0.7 x 2 + 0.2 x 1 + 0.1 x 0) / 2
    scores = {"consistency": 2.0, "realism": 1.0, "aesthetic_quality": 0.0}
    assert wi_score(scores) == pytest.approx(0.8)
    assert wi_score(dict.fromkeys(scores, 2.0)) == pytest.approx(1)
    assert wi_score(dict.fromkeys(scores, 0.0)) == 0


@pytest.mark.parametrize(
    ("number", "kind", "expected"),
    [
        (1, "Festival", "culture"),
        (400, "Longitudinal time", "culture"),
        (401, "Longitudinal time", "time"),
        (567, "Horizontal time", "time"),
        (568, "Different view", "space"),
        (700, "Geographical location", "space"),
        (701, "Plant", "biology"),
        (800, "Plant", "biology"),
        (801, "Optics", "physics"),
        (900, "Optics", "physics"),
        (901, "Combustion", "chemistry"),
        (1000, "Combustion", "chemistry"),
    ],
)
def test_categories_of_wise_go_by_number_and_kind_of_time(number, kind, expected):
    assert category(number, kind) == expected


@pytest.mark.parametrize("number", [0, 1001])
def test_a_prompt_outside_the_thousand_is_refused(tmp_path, number):
    data = written(tmp_path / "final_data.json", [{**PROMPTS[0], "prompt_id": number}])
    with pytest.raises(DataError, match=r"final_data\.json: record 1: field 'prompt_id'"):
        Wise(data).items()


def test_the_two_means_of_wise_differ(tmp_path):
    bench = Wise(tmp_path / "final_data.json")
    shares = dict(zip(WEIGHTS, (0.9, 0.6, 0.3, 0.5, 0.4, 0.3), strict=True))
    rows = [row(name, name, wiscore=value) for name, value in shares.items()]
    rows.append(row("culture-2", "culture", wiscore=0.7))  # culture 0.8
    # 0.4 x 0.8 + 0.167 x 0.6 + 0.133 x 0.3 + 0.1 x (0.5 + 0.4 + 0.3)
    weighted = bench.table(rows, protocol=WISE)
    assert weighted["overall"].value == pytest.approx(0.5801)
    plain = bench.table(rows, protocol="bagel-unweighted/own-template")
    assert plain["overall"].value == pytest.approx(2.9 / 6)
    assert weighted["culture"].value == pytest.approx(0.8)
    assert next(iter(weighted)) == "overall"
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_the_judge_of_wise_sees_the_result_and_hears_the_explanation(tmp_path):
    bench = Wise(written(tmp_path / "final_data.json", PROMPTS))
    assert isinstance(bench, Benchmark)
    first, second = bench.items()
    assert (first.id, first.group, second.group, first.want) == ("1", "culture", "time", "picture")
    assert first.given().text == "a feast"
    assert "1.png" in bench.places(first, 0)
    judge = Judge(lambda _: "Consistency: 2\nRealism: 1\nAesthetic Quality: 0")
    output = Output((picture(tmp_path / "1.png", 70),))
    found = bench.score(first, [output], tools=Tools(judge=judge), protocol=WISE)
    assert judge.shown == [[70]]
    assert "a feast" in judge.texts[0]
    assert "with lanterns" in judge.texts[0]
    assert found.values["wiscore"] == pytest.approx(0.8)


def test_an_unread_reply_of_wise_is_counted_and_left_out(tmp_path):
    bench = Wise(written(tmp_path / "final_data.json", PROMPTS))
    item = bench.items()[0]
    judge = Judge(lambda _: "Consistency: 2\nRealism: 1\nAesthetic Quality: 9.9")
    output = Output((picture(tmp_path / "1.png", 70),))
    found = bench.score(item, [output], tools=Tools(judge=judge), protocol=WISE)
    assert (found.values, found.failures) == ({}, ("output 0: judge: wise",))
    assert len(found.facts["judged"][0]["replies"]) == 3
    table = bench.table([found, row("2", "culture", wiscore=0.5)], protocol=WISE)
    assert (table["overall"].value, table["overall"].n) == (0.5, 1)
    assert table["scored"].value == 0.5


def test_a_prompt_of_wise_without_a_picture_scores_nothing(tmp_path):
    bench = Wise(written(tmp_path / "final_data.json", PROMPTS))
    judge = Judge(str)
    found = bench.score(bench.items()[0], [Output(())], tools=Tools(judge=judge), protocol=WISE)
    assert found.values == dict.fromkeys(
        ("wiscore", "consistency", "realism", "aesthetic_quality"), 0.0
    )
    assert found.failures == ("output 0: no picture",)
    table = bench.table([found, row("2", "culture", wiscore=0.5)], protocol=WISE)
    assert (table["overall"].value, table["scored"].value) == (0.25, 1.0)


def test_without_a_judge_or_a_known_protocol_nothing_is_scored(tmp_path):
    bench = Wise(written(tmp_path / "final_data.json", PROMPTS))
    output = Output((picture(tmp_path / "1.png", 70),))
    item = bench.items()[0]
    with pytest.raises(ConfigError, match="judge"):
        bench.score(item, [output], tools=Tools(), protocol=WISE)
    with pytest.raises(ConfigError, match="no protocol 'official-weighted'"):
        bench.score(item, [output], tools=Tools(judge=Judge(str)), protocol="official-weighted")


def test_given_words_reach_the_judge_and_the_protocol(tmp_path):
    words = written(tmp_path / "words.json", {"wise": "P={prompt} E={explanation}"})
    bench = Wise(written(tmp_path / "final_data.json", PROMPTS), templates=words)
    assert bench.protocols == (
        "official-weighted/given-template",
        "bagel-unweighted/given-template",
    )
    judge = Judge(lambda _: "Consistency: 2\nRealism: 2\nAesthetic Quality: 2")
    output = Output((picture(tmp_path / "1.png", 70),))
    tools = Tools(judge=judge)
    bench.score(bench.items()[0], [output], tools=tools, protocol=bench.protocols[0])
    assert judge.texts == ["P=a feast E=with lanterns"]
