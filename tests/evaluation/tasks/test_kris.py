"""KRIS-Bench: types, questions and pooled means, worked by hand."""

from __future__ import annotations

import json

import pytest

from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Output, Row
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.kris import (
    DIMENSIONS,
    KNOWLEDGE,
    LEVELS,
    Kris,
    dimension,
    percent,
    pooled,
)
from tests.evaluation.tasks.scripted import RESULT, Judge, picture, result, row, written

KRIS = "bagel-pooled/own-template"


def kris(tmp_path, kind, **change):
    record = {
        "id": "1",
        "type": kind,
        "ori_img": "1.png",
        "ins_en": "Ripen it.",
        "explain_en": "It turns yellow.",
        **change,
    }
    for name, shade in {"1": 50, "2": 60, "gt": 90, "1-1": 11, "1-3": 13, "1-4": 14}.items():
        picture(tmp_path / "images" / kind / f"{name}.png", shade)
    return Kris(written(tmp_path / "final_data.json", [record]), images=tmp_path / "images")


def kris_judge(consistency=5, quality=3, instruction=4, knowledge=2):
    return Judge(
        lambda text: json.dumps(
            {
                "consistency_score": consistency,
                "quality_score": quality,
                "instruction_score": instruction,
                "knowledge_score": knowledge,
            }
            if "knowledge_score" in text
            else {
                "consistency_score": consistency,
                "quality_score": quality,
                "instruction_score": instruction,
            }
        )
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("count_change", ("attribute", "factual")),
        ("color_change", ("attribute", "factual")),
        ("size_adjustment", ("attribute", "factual")),
        ("part_completion", ("attribute", "factual")),
        ("anomaly_correction", ("attribute", "factual")),
        ("viewpoint_change", ("spatial", "factual")),
        ("position_movement", ("spatial", "factual")),
        ("temporal_prediction", ("temporal", "factual")),
        ("humanities", ("social", "conceptual")),
        ("practical_knowledge", ("social", "conceptual")),
        ("biology", ("natural", "conceptual")),
        ("chemistry", ("natural", "conceptual")),
        ("geography", ("natural", "conceptual")),
        ("medicine", ("natural", "conceptual")),
        ("mathematics", ("natural", "conceptual")),
        ("physics", ("natural", "conceptual")),
        ("abstract_reasoning", ("logical", "procedural")),
        ("rule-based_reasoning", ("logical", "procedural")),
        ("multi-element_composition", ("decomposition", "procedural")),
        ("multi-instruction_execution", ("decomposition", "procedural")),
    ],
)
def test_each_type_belongs_to_a_dimension_and_a_level(kind, expected):
    name = dimension(kind)
    level = next(level for level, names in LEVELS.items() if name in names)
    assert (name, level) == expected


def test_there_are_twenty_types_seven_dimensions_and_three_levels():
    assert len({kind for kinds in DIMENSIONS.values() for kind in kinds}) == 20
    assert (len(DIMENSIONS), len(LEVELS)) == (7, 3)
    assert sorted(name for names in LEVELS.values() for name in names) == sorted(DIMENSIONS)
    assert KNOWLEDGE == ("social", "natural", "logical")
    with pytest.raises(DataError, match="did you mean 'biology'"):
        dimension("bilogy")


def test_scores_of_one_to_five_become_percent():
    assert [percent(float(score)) for score in (1, 2, 3, 4, 5)] == [0, 25, 50, 75, 100]


EIGHT = [
    row("1", "count_change", consistency=100, quality=50, instruction=0),
    row("2", "viewpoint_change", consistency=25, quality=75),
    row("3", "temporal_prediction", consistency=50, quality=50, instruction=50),
    row("4", "humanities", consistency=100, quality=100, instruction=75, knowledge=25),
    row("5", "biology", consistency=0, quality=25, instruction=50, knowledge=75),
    row("6", "physics", consistency=100),
    row("7", "abstract_reasoning", consistency=0, quality=0, instruction=0, knowledge=100),
    row("8", "multi-element_composition", consistency=75, quality=75, instruction=75),
]


def test_eight_rows_of_kris_are_pooled_over_samples_and_metrics(tmp_path):
    table = kris(tmp_path, "biology").table(EIGHT, protocol=KRIS)
    found = {name: score.value for name, score in table.items()}
    assert found == pytest.approx(
        {
            "overall": 1275 / 24,  # the mean of the samples' means would be 57.8125
            "factual": 400 / 8,
            "conceptual": 550 / 9,
            "procedural": 325 / 7,
            "attribute": 50,
            "spatial": 50,
            "temporal": 50,
            "social": 75,
            "natural": 250 / 5,
            "logical": 25,
            "decomposition": 75,
            "consistency": 450 / 8,
            "quality": 375 / 7,
            "instruction": 250 / 6,
            "knowledge": 200 / 3,
            "scored": 1,
        }
    )
    assert table["overall"].n == 8
    assert table["overall"].low < table["overall"].value < table["overall"].high


def test_no_rows_make_an_empty_score():
    assert pooled([]).n == 0
    assert pooled([Row("1", "biology", {})]).n == 0


def test_knowledge_is_asked_for_in_the_three_reasoning_groups_alone(tmp_path):
    bench = kris(tmp_path, "biology")
    assert isinstance(bench, Benchmark)
    (item,) = bench.items()
    assert (item.id, item.group) == ("biology-1", "biology")
    assert {"biology/1.png", "images/biology/1.png"} <= set(bench.places(item, 0))
    judge = kris_judge()
    found = bench.score(item, [result(tmp_path)], tools=Tools(judge=judge), protocol=KRIS)
    assert found.values == {"consistency": 100, "quality": 50, "instruction": 75, "knowledge": 25}
    assert judge.shown == [[50, RESULT], [RESULT], [50, RESULT]]
    assert ["It turns yellow." in text for text in judge.texts] == [False, False, True]
    assert ["Ripen it." in text for text in judge.texts] == [True, False, True]

    bench, judge = kris(tmp_path, "anomaly_correction"), kris_judge()
    (item,) = bench.items()
    found = bench.score(item, [result(tmp_path)], tools=Tools(judge=judge), protocol=KRIS)
    assert found.values == {"consistency": 100, "quality": 50, "instruction": 75}
    assert not any("It turns yellow." in text for text in judge.texts)


def test_a_change_of_the_viewpoint_is_judged_beside_the_right_picture(tmp_path):
    bench, judge = kris(tmp_path, "viewpoint_change", gt_img="gt.png"), kris_judge()
    (item,) = bench.items()
    bench.score(item, [result(tmp_path)], tools=Tools(judge=judge), protocol=KRIS)
    assert judge.shown == [[50, RESULT], [RESULT], [50, RESULT, 90]]


def test_several_sources_are_shown_before_the_result(tmp_path):
    sources = ["1.png", "2.png"]
    bench, judge = kris(tmp_path, "multi-element_composition", ori_img=sources), kris_judge()
    (item,) = bench.items()
    assert [image.pixels[0, 0, 0] for image in item.given().images] == [50, 60]
    bench.score(item, [result(tmp_path)], tools=Tools(judge=judge), protocol=KRIS)
    assert judge.shown == [[50, 60, RESULT], [RESULT], [50, 60, RESULT]]
    assert "several source pictures" in judge.texts[0]


@pytest.mark.parametrize(
    ("frames", "shown", "predicted"),
    [
        (["1-1.png", "1-3.png", "1-4.png"], [11, RESULT, 13, 14], "Frame 2 "),
        (["1-1.png", "1-3.png"], [11, 13, RESULT], "Frame 4 "),  # not one is missing: the next
    ],
)
def test_a_predicted_frame_is_shown_in_its_place(tmp_path, frames, shown, predicted):
    bench, judge = kris(tmp_path, "temporal_prediction", ori_img=frames), kris_judge()
    (item,) = bench.items()
    bench.score(item, [result(tmp_path)], tools=Tools(judge=judge), protocol=KRIS)
    assert judge.shown == [shown, [RESULT], shown]
    assert predicted in judge.texts[0]


def test_an_unread_metric_of_kris_is_skipped_and_the_others_count(tmp_path):
    bench = kris(tmp_path, "biology")
    (item,) = bench.items()
    tools = Tools(judge=kris_judge(knowledge=0))
    found = bench.score(item, [result(tmp_path)], tools=tools, protocol=KRIS)
    assert found.values == {"consistency": 100, "quality": 50}
    assert found.failures == ("output 0: judge: instruction", "output 0: judge: knowledge")
    assert bench.table([found], protocol=KRIS)["overall"].value == 75


def test_a_sample_of_kris_without_a_picture_is_passed_over_and_the_share_is_told(tmp_path):
    bench = kris(tmp_path, "biology")
    (item,) = bench.items()
    tools = Tools(judge=kris_judge())
    done = bench.score(item, [result(tmp_path)], tools=tools, protocol=KRIS)
    missing = bench.score(item, [Output(())], tools=tools, protocol=KRIS)
    assert (missing.values, missing.failures) == ({}, ("output 0: no picture",))
    table = bench.table([done, missing], protocol=KRIS)
    assert (table["overall"].value, table["scored"].value) == (62.5, 0.5)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("biolgy", {}, "no type 'biolgy'; did you mean 'biology'"),
        ("biology", {"ori_img": 3}, "'ori_img': expected one file name or several"),
        ("biology", {"ins_en": None}, "'ins_en': expected str"),
        ("viewpoint_change", {}, "'gt_img' is missing"),
        ("temporal_prediction", {"ori_img": ["a.png"]}, "expected names such as '7-2.jpg'"),
    ],
)
def test_faults_of_kris_records_are_named(tmp_path, kind, change, message):
    with pytest.raises(DataError, match=message) as caught:
        kris(tmp_path, kind, **change).items()
    assert "final_data.json: record 1" in str(caught.value)
