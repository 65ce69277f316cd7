"""GenAI-Bench: the question, the skills, the averages."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import DataError
from mogao.evaluation.benchmark import Output
from mogao.evaluation.providers.base import Tools, YesNoProbabilities
from mogao.evaluation.tasks.genai_bench import GenAIBench

PROMPTS = {f"{i:05d}": {"id": f"{i:05d}", "prompt": f"prompt {i}"} for i in range(4)}
SKILLS = {"basic": [0], "advanced": [1, 2], "counting": [1, 2], "negation": [2], "scene": [0]}


class Asked:
    """Says yes with the probability that a picture holds, and remembers the questions."""

    name = "asked"

    def __init__(self):
        self.questions = []

    def answer(self, _pixels, _question):
        raise AssertionError("probabilities are asked for")

    def yes_no_probabilities(self, pixels, question):
        self.questions.append(question)
        share = float(pixels[0, 0, 0]) / 100
        return YesNoProbabilities(share, share / 4)


def benchmark(tmp_path, prompts=PROMPTS, skills=SKILLS):
    (tmp_path / "genai_image.json").write_text(json.dumps(prompts))
    (tmp_path / "genai_skills.json").write_text(json.dumps(skills))
    return GenAIBench(tmp_path)


def rows(bench, tmp_path, shares, asker):
    found = []
    for item, share in zip(bench.items(), shares, strict=True):
        path = tmp_path / f"{item.id}.png"
        save_png(np.full((16, 16, 3), share, np.uint8), path)
        tools = Tools(questions=asker)
        found.append(bench.score(item, [Output((path,))], tools=tools, protocol="vqascore"))
    return found


def test_prompts_know_their_skills(tmp_path):
    items = benchmark(tmp_path).items()
    assert [item.group for item in items] == ["basic", "advanced", "advanced", "no skill"]
    assert items[2].truth == {"skills": ["advanced", "counting", "negation"]}


def test_the_published_question_is_asked(tmp_path):
    asker = Asked()
    rows(benchmark(tmp_path), tmp_path, [10, 20, 30, 40], asker)
    assert asker.questions[1] == 'Does this figure show "prompt 1"? Please answer yes or no.'


def test_braces_in_a_prompt_stay(tmp_path):
    asker = Asked()
    prompts = {"00000": {"prompt": "a {0} sign"}}
    rows(benchmark(tmp_path, prompts, {"basic": [0], "advanced": []}), tmp_path, [50], asker)
    assert 'show "a {0} sign"?' in asker.questions[0]


def test_scores_are_means_over_the_prompts_of_a_skill(tmp_path):
    bench = benchmark(tmp_path)
    table = bench.table(rows(bench, tmp_path, [90, 20, 40, 3], Asked()), protocol="vqascore")
    assert {name: score.value for name, score in table.items()} == {
        "overall": pytest.approx(0.5),  # the prompt without a skill counts nowhere
        "basic": pytest.approx(0.9),
        "advanced": pytest.approx(0.3),
        "counting": pytest.approx(0.3),
        "negation": pytest.approx(0.4),
        "scene": pytest.approx(0.9),
    }


@pytest.mark.parametrize(
    ("prompts", "skills", "said"),
    [
        ([], SKILLS, "genai_image.json: expected an object"),
        ({"00000": {}}, {"basic": [], "advanced": []}, "record '00000': field 'prompt' is missing"),
        (PROMPTS, {"basic": [0]}, "genai_skills.json: field 'advanced' is missing"),
        (PROMPTS, SKILLS | {"scene": [7]}, "skill 'scene': there is no prompt 7"),
        (PROMPTS, SKILLS | {"scene": ["00000"]}, "skill 'scene': there is no prompt '00000'"),
        (PROMPTS, SKILLS | {"scene": 3}, "field 'scene': expected list, got int 3"),
    ],
)
def test_a_bad_file_is_named(tmp_path, prompts, skills, said):
    with pytest.raises(DataError, match=said):
        benchmark(tmp_path, prompts, skills).items()


def test_the_score_is_the_probability_of_yes_itself_and_not_its_share_beside_no(tmp_path):
    skills = {"basic": [0], "advanced": []}
    bench = benchmark(tmp_path, {"00000": {"prompt": "a"}}, skills)
    (row,) = rows(bench, tmp_path, [8], Asked())
    assert row.values == {"vqascore": pytest.approx(0.08)}  # its share is 0.8
    assert row.failures == ()


def test_an_answer_of_neither_word_is_a_failure_of_its_item_alone(tmp_path):
    found = rows(benchmark(tmp_path), tmp_path, [0, 20, 30, 40], Asked())
    assert [row.values["vqascore"] for row in found] == pytest.approx([0, 0.2, 0.3, 0.4])
    assert found[0].failures == ("output 0: neither yes nor no is likely",)
    assert not any(row.failures for row in found[1:])
