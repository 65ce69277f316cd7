"""Envision: hand-worked figures of a scripted judge, pictures in several layouts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from mogao.errors import ConfigError, DataError
from mogao.evaluation.benchmark import Benchmark, Output
from mogao.evaluation.player import SessionPlayer
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.envision import SCALE, Envision, figures, step_pictures
from tests.evaluation.tasks.scripted import Judge, picture, written

CHAIN: dict[str, Any] = {
    "index": 7,
    "category": "Science",
    "process_type": "Biology",
    "prompts": [
        {"step": n, "prompt": f"stage {n}", "explanation": f"because {n}"} for n in (1, 2, 3, 4)
    ],
}
NINE = dict(zip(SCALE.names, (5.0, 4.0, 3.0, 2.0, 1.0, 5.0, 3.0, 4.0, 2.0), strict=True))
NINE_LINES = "\n".join(f"{name.replace('_', ' ')}: {score:.0f}" for name, score in NINE.items())
OFFICIAL = "official/history/own-template"
WEIGHTED = "weighted/history/own-template"


def test_the_weights_of_envision():
    # .33 x 5 + .33 x 4 + .34 x 3 = 3.99; .33 x 2 + .33 x 1 + .34 x 5 = 2.69;
    # .33 x 3 + .33 x 4 + .34 x 2 = 2.99; 0.4 x 3.99 + 0.4 x 2.69 + 0.2 x 2.99 = 3.27
    found = figures(NINE, "weighted")
    assert found == pytest.approx(
        {
            "overall": 3.27,
            "consistency": 3.99,
            "physicality": 2.69,
            "aesthetics": 2.99,
            "plain_mean": 29 / 9,
            "share_3": 6 / 9,
            "share_4": 4 / 9,
        }
    )


def test_unweighted_figures_of_envision_are_plain_means():
    found = figures(NINE, "unweighted")
    assert found["overall"] == pytest.approx(29 / 9)
    assert found["consistency"] == pytest.approx(4)
    assert found["physicality"] == pytest.approx(8 / 3)
    assert found["aesthetics"] == pytest.approx(3)


def test_official_figures_count_dynamics_twice_and_are_rounded():
    found = figures(NINE, "official")
    assert found["overall"] == 3.27
    assert found["plain_mean"] == 3.0  # (29 + 1) / 10
    assert found["share_3"] == 0.6
    assert found["share_4"] == 0.4


def test_official_figures_take_a_missing_score_for_zero_in_weighted_means():
    eight = {name: score for name, score in NINE.items() if name != "semantic_consistency"}
    found = figures(eight, "official")
    assert found["consistency"] == 2.34  # .33 x 4 + .34 x 3
    assert found["overall"] == 2.61  # 0.4 x 2.34 + 0.4 x 2.69 + 0.2 x 2.99
    assert found["plain_mean"] == 2.78  # (24 + 1) / 9
    assert found["share_4"] == 0.33


def test_the_judge_of_envision_sees_four_pictures_in_order(tmp_path):
    bench = Envision(written(tmp_path / "envision_bio.json", [CHAIN]))
    assert isinstance(bench, Benchmark)
    (item,) = bench.items()
    assert (item.id, item.group, item.want) == ("Biology-0007", "Biology", "document")
    assert "1. stage 1\n2. stage 2" in item.given().text
    shown = [picture(tmp_path / f"{shade}.png", shade) for shade in (10, 20, 30, 40)]
    judge = Judge(lambda _: NINE_LINES)
    output = Output((shown[0], "and then", *shown[1:]))
    found = bench.score(item, [output], tools=Tools(judge=judge), protocol=WEIGHTED)
    assert judge.shown == [[10, 20, 30, 40]]
    assert "4. stage 4\n(because 4)" in judge.texts[0]
    assert found.values == pytest.approx(figures(NINE, "weighted"))
    assert found.facts["judged"][0]["scores"] == NINE


def test_a_reply_with_eight_scores_counts_under_the_official_rule_alone(tmp_path):
    bench = Envision(written(tmp_path / "envision_bio.json", [CHAIN]))
    (item,) = bench.items()
    output = Output(tuple(picture(tmp_path / f"{n}.png", n) for n in range(4)))
    tools = Tools(judge=Judge(lambda _: NINE_LINES.split("\n", 1)[1]))
    official = bench.score(item, [output], tools=tools, protocol=OFFICIAL)
    assert official.values["overall"] == 2.61
    assert official.failures == ("output 0: judge: semantic_consistency",)
    strict = bench.score(item, [output], tools=tools, protocol=WEIGHTED)
    assert (strict.values, strict.failures) == ({}, ("output 0: judge: envision",))
    table = bench.table([official, strict], protocol=OFFICIAL)
    assert (table["overall"].value, table["Biology"].value, table["overall"].n) == (2.61, 2.61, 1)


@pytest.mark.parametrize(
    ("rule", "mean", "scored"), [("official", 4.0, 0.5), ("weighted", 2.0, 1), ("unweighted", 2, 1)]
)
def test_an_unfinished_chain_is_passed_over_by_the_official_rule_alone(
    tmp_path, rule, mean, scored
):
    bench = Envision(written(tmp_path / "envision_bio.json", [CHAIN]))
    (item,) = bench.items()
    protocol = f"{rule}/history/own-template"
    judge = Judge(lambda _: re.sub(r"\d", "4", NINE_LINES))
    tools = Tools(judge=judge)
    paths = tuple(picture(tmp_path / f"{n}.png", n) for n in range(4))
    whole = bench.score(item, [Output(paths)], tools=tools, protocol=protocol)
    part = bench.score(item, [Output(paths[:3])], tools=tools, protocol=protocol)
    assert part.values == ({} if rule == "official" else dict.fromkeys(whole.values, 0.0))
    assert part.failures == ("output 0: 3 of 4 pictures",)
    assert len(judge.texts) == 1
    table = bench.table([whole, part], protocol=protocol)
    assert table["overall"].value == pytest.approx(mean)
    assert table["scored"].value == scored


@pytest.mark.parametrize(
    "name",
    [
        "index_0007/index_0007_step_{}.png",
        "index_0007/index_7_step_{}.png",
        "index_0007/step_{}.png",
        "index_0007/{}.png",
        "index_7/index_7_step_{}.png",
        "7/7_step_{}.png",
        "7/{}.png",
        "index_0007_step_{}.png",
        "Biology/index_0007/step_{}.png",
        "Biology-0007-step-{}/0.png",
    ],
)
def test_the_four_pictures_are_found_in_each_layout(tmp_path, name):
    bench = Envision(written(tmp_path / "envision_bio.json", [CHAIN]))
    (item,) = bench.items()
    paths = [picture(tmp_path / name.format(step), step) for step in (1, 2, 3, 4)]
    place = next(one for one in bench.places(item, 0) if (tmp_path / one).exists())
    assert place == name.format(1)
    assert step_pictures(Output((tmp_path / place,))) == paths
    paths[2].unlink()
    assert len(step_pictures(Output((tmp_path / place,)))) == 3


def test_a_document_with_one_picture_is_no_chain(tmp_path):
    for number in range(5):
        picture(tmp_path / "Biology-0007" / f"{number}.png", number)
    for number in (0, 1):
        path = tmp_path / "Biology-0007" / f"{number}.png"
        assert step_pictures(Output((path,))) == [path]


def test_chains_of_a_folder_lie_in_folders_of_their_process(tmp_path):
    written(tmp_path / "envision_bio.json", [CHAIN])
    written(tmp_path / "envision_chem.json", [{**CHAIN, "process_type": "Chemistry"}])
    bench = Envision(tmp_path)
    first, second = bench.items()
    assert (first.id, second.id) == ("Biology-0007", "Chemistry-0007")
    assert not set(bench.places(first, 0)) & set(bench.places(second, 0))


def test_independent_generation_asks_for_one_picture_a_step_under_its_own_name(tmp_path):
    data = written(tmp_path / "envision_bio.json", [CHAIN])
    bench = Envision(data, generation="independent")
    assert bench.protocols[0] == "official/independent/own-template"
    assert Envision(data).protocols[0] == OFFICIAL
    (item,) = bench.items()
    assert (item.want, item.prompt) == (
        "picture",
        "1. stage 1\n2. stage 2\n3. stage 3\n4. stage 4",
    )
    assert [(turn.want, turn.is_fresh) for turn in item.turns] == [("picture", True)] * 3
    given = [item.given(), *(turn.given(["a picture"]) for turn in item.turns)]
    assert [one.text for one in given] == ["stage 1", "stage 2", "stage 3", "stage 4"]
    with pytest.raises(ConfigError, match="generation 'alone'"):
        Envision(data, generation="alone")


def test_a_judge_of_one_way_of_generation_takes_no_protocol_of_the_other(tmp_path):
    bench = Envision(written(tmp_path / "e.json", [CHAIN]), generation="independent")
    (item,) = bench.items()
    output = Output(tuple(picture(tmp_path / f"{n}.png", n) for n in range(4)))
    tools = Tools(judge=Judge(lambda _: NINE_LINES))
    name = "weighted/independent/own-template"
    found = bench.score(item, [output], tools=tools, protocol=name)
    assert found.values == pytest.approx(figures(NINE, "weighted"))
    with pytest.raises(ConfigError, match="weighted/history"):
        bench.score(item, [output], tools=tools, protocol=WEIGHTED)


def drawn(model, path, **options):
    """The pictures that a model draws of the one chain of a file."""
    (item,) = Envision(path, **options).items()
    (made,) = SessionPlayer(model).play([(item, 0)])
    return [part for part in made if not isinstance(part, str)]


def test_an_independent_picture_depends_on_its_own_prompt_alone(tmp_path, model):
    changed = [{**CHAIN["prompts"][0], "prompt": "a red cat"}, *CHAIN["prompts"][1:]]
    paths = [
        written(tmp_path / "one.json", [CHAIN]),
        written(tmp_path / "two.json", [{**CHAIN, "prompts": changed}]),
    ]
    first, second = (drawn(model, path, generation="independent") for path in paths)
    assert (len(first), len(second)) == (4, 4)
    assert not np.array_equal(first[0], second[0])
    assert all(np.array_equal(a, b) for a, b in zip(first[1:], second[1:], strict=True))


@pytest.mark.parametrize("steps", [[1, 2, 3], [1, 2, 3, 5], [0, 1, 2, 3]])
def test_a_chain_has_four_steps(tmp_path, steps):
    prompts = [{"step": n, "prompt": "p", "explanation": "e"} for n in steps]
    bench = Envision(written(tmp_path / "e.json", [{**CHAIN, "prompts": prompts}]))
    with pytest.raises(DataError, match=r"e\.json: record 1: field 'prompts': expected steps"):
        bench.items()
