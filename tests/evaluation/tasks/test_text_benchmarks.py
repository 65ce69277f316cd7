"""GQA, MMMU and MM-Vet on small files worked by hand, and what all text benchmarks promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from mogao.data.images import save_png
from mogao.errors import ConfigError, DataError
from mogao.evaluation.benchmark import Benchmark
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.gqa import Gqa
from mogao.evaluation.tasks.mm_vet import MmVet
from mogao.evaluation.tasks.mmbench import MmBench
from mogao.evaluation.tasks.mme import Mme
from mogao.evaluation.tasks.mmmu import DISCIPLINES, Mmmu
from mogao.evaluation.tasks.pope import Pope
from mogao.evaluation.tasks.seed_bench import SeedBench
from mogao.evaluation.tasks.text_answers import LETTER_ANSWER
from tests.evaluation.tasks.answering import PIXELS, table, taken, values, write_json, write_lines

OPTIONS = "['cat', 'dog', 'cow', 'hen']"


class Judge:
    """Replies what it is told to, in turn, and keeps what it was asked."""

    name = "judge of the test"

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []

    def ask(self, text, *, pictures=()):
        assert not pictures
        self.asked.append(text)
        return self.replies.pop(0)


def mmmu_row(name, answer, **changes):
    row = {
        "id": f"validation_{name}",
        "question": "What is <image 1>?",
        "options": OPTIONS,
        "answer": answer,
        "question_type": "multiple-choice",
        "image_1": "a.png",
    }
    return row | changes


def mmmu_open_row(name, answer):
    return mmmu_row(name, answer, options="[]", question_type="open")


MMMU_ROWS = [
    mmmu_row("Art_1", "B"),
    mmmu_row("Art_Theory_1", "C"),
    mmmu_row("Art_Theory_2", "D"),
    mmmu_row("Math_1", "A"),
    mmmu_open_row("Math_2", "['24/7', '3.429']"),
    mmmu_open_row("Electronics_1", "8.4"),
]


def mm_vet_file(folder):
    rows = {
        "v1_0": {
            "imagename": "a.png", "question": "What is x?", "answer": "-1<AND>-5",
            "capability": ["ocr", "math"],
        },
        "v1_1": {
            "imagename": "a.png", "question": "Which animal?", "answer": "hare<OR>rabbit",
            "capability": ["rec"],
        },
        "v1_2": {
            "imagename": "a.png", "question": "What is written?", "answer": "stop",
            "capability": ["ocr"],
        },
    }  # fmt: skip
    return write_json(folder / "mm-vet.json", rows)


@pytest.mark.parametrize("kind", [Pope, Mme, MmBench, SeedBench, Mmmu, Gqa, MmVet])
def test_each_is_a_benchmark_and_reads_nothing_when_made(tmp_path, kind):
    benchmark = kind(tmp_path / "not there")
    assert isinstance(benchmark, Benchmark)
    assert benchmark.protocols
    with pytest.raises(DataError, match="not there"):
        benchmark.items()


def test_mmmu_key_against_key_is_a_hundred(tmp_path):
    benchmark = Mmmu(write_lines(tmp_path / "val.jsonl", MMMU_ROWS))
    for protocol in benchmark.protocols:
        scores = values(table(benchmark, lambda item: item.truth["answers"][0], protocol=protocol))
        assert scores.pop("parse_failures") == 0.0
        assert scores.pop("random_fallbacks", 0.0) == 0.0
        assert set(scores.values()) == {100.0}


def test_mmmu_pools_questions_in_subjects_disciplines_and_overall(tmp_path):
    benchmark = Mmmu(write_lines(tmp_path / "val.jsonl", MMMU_ROWS))
    said = {
        "Art_1": "B",
        "Art_Theory_1": "The answer is (C)",
        "Art_Theory_2": "A",
        "Math_2": "3.43",
    }
    scores = values(
        table(benchmark, lambda item: said.get(item.id.removeprefix("validation_"), "D"))
    )
    assert scores == {
        "overall": 50.0,
        "discipline/Art and Design": 66.6667,  # two of three questions, not the mean of subjects
        "discipline/Science": 50.0,
        "discipline/Tech and Engineering": 0.0,
        "subject/Art": 100.0,
        "subject/Art_Theory": 50.0,
        "subject/Math": 50.0,
        "subject/Electronics": 0.0,
        "random_fallbacks": 0.0,
        "parse_failures": 0.0,
    }


def test_mmmu_strict_gives_nothing_for_empty_answers(tmp_path):
    benchmark = Mmmu(write_lines(tmp_path / "val.jsonl", MMMU_ROWS))
    scores = values(table(benchmark, "", protocol="strict"))
    assert (scores["overall"], scores["parse_failures"]) == (0.0, 1.0)
    assert "random_fallbacks" not in scores


def test_mmmu_official_draws_a_letter_for_empty_answers_and_counts_it(tmp_path):
    rows = [mmmu_row(f"Math_{n}", "ABCD"[n % 4]) for n in range(400)]
    benchmark = Mmmu(write_lines(tmp_path / "val.jsonl", rows))
    scores = table(benchmark, "")
    assert scores["random_fallbacks"].value == 400
    assert scores["overall"].value == pytest.approx(25.0, abs=6.5)  # three standard errors
    assert table(benchmark, "")["overall"] == scores["overall"]  # the seed is fixed


def test_mmmu_draws_the_same_letter_whatever_came_before(tmp_path):
    rows = [mmmu_row(f"Math_{n}", "A") for n in range(8)]
    whole = taken(Mmmu(write_lines(tmp_path / "a.jsonl", rows)), "")
    rest = taken(Mmmu(write_lines(tmp_path / "b.jsonl", rows[5:])), "")
    assert whole[5:] == rest


def test_mmmu_of_bagel_reads_letters_by_the_first_release(tmp_path):
    benchmark = Mmmu(write_lines(tmp_path / "val.jsonl", [mmmu_row("Math_1", "B")]))
    assert table(benchmark, "B. dog", protocol="official")["random_fallbacks"].value == 0
    assert table(benchmark, "B. dog", protocol="bagel")["random_fallbacks"].value == 1


def test_mmmu_shows_each_picture_where_it_is_named_first(tmp_path):
    save_png(PIXELS, tmp_path / "a.png")
    save_png(PIXELS[:, :15].repeat(2, axis=1), tmp_path / "b.png")
    row = mmmu_row(
        "Math_1",
        "A",
        question="See <image 2> and <image 1>, then <image 2> again.",
        options="['one', '<image 1>']",
        image_2="b.png",
    )
    (item,) = Mmmu(write_lines(tmp_path / "val.jsonl", [row])).items()
    shown = list(item.given())
    assert [getattr(segment, "text", None) for segment in shown] == [
        "See ",
        None,
        " and ",
        None,
        f", then <image 2> again.\n(A) one\n(B) <image 1>\n{LETTER_ANSWER}",
    ]
    assert [image.size for image in item.given().images] == [(16, 30), (16, 16)]


def test_mmmu_knows_thirty_subjects_in_six_disciplines():
    assert len(DISCIPLINES) == 6
    assert len({subject for subjects in DISCIPLINES.values() for subject in subjects}) == 30


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (mmmu_row("Maths_1", "A"), "names no subject; did you mean 'Math'"),
        (mmmu_row("Math", "A"), "names no subject"),
        (mmmu_row("Math_1", "E"), r"expected one of A, B, C, D, got \['E'\]"),
        (mmmu_row("Math_1", "A", options="['a'"), "field 'options': not a list of texts"),
        (mmmu_row("Math_1", "A", options=[1]), "field 'options': expected a text or a list"),
        (mmmu_row("Math_1", None), "field 'answer': expected a text or a list"),
    ],
)
def test_mmmu_names_a_bad_field(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        Mmmu(write_lines(tmp_path / "val.jsonl", [row])).items()


def test_mmmu_reads_a_folder_of_subjects_and_names_a_missing_picture(tmp_path):
    write_lines(tmp_path / "Art.jsonl", [mmmu_row("Art_1", "A")])
    write_lines(tmp_path / "Math.jsonl", [mmmu_row("Math_1", "A", image_1=None)])
    items = Mmmu(tmp_path).items()
    assert [item.group for item in items] == ["Art", "Math"]
    with pytest.raises(DataError, match=r"Math\.jsonl: record 1: field 'image_1'"):
        items[1].given()


def test_gqa_matches_but_for_case_and_punctuation(tmp_path):
    answers = ["Left.", "the dog", "dogs", " NO ", ""]
    rights = ["left", "dog", "dog", "no", "yes"]
    keyed = {
        f"{n}": {"imageId": "n1", "question": "What?", "answer": right}
        for n, right in enumerate(rights)
    }
    benchmark = Gqa(write_json(tmp_path / "questions.json", keyed))
    rows = taken(benchmark, lambda item: answers[int(item.id)])
    assert [row.values["right"] for row in rows] == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert values(benchmark.table(rows, protocol="official")) == {
        "accuracy": 40.0,
        "parse_failures": 0.2,
    }


def test_gqa_reads_lines_too_and_finds_pictures_by_id(tmp_path):
    row = {"id": "7", "imageId": "n1", "question": "What?", "answer": "left"}
    save_png(PIXELS, tmp_path / "n1.jpg")
    (item,) = Gqa(write_lines(tmp_path / "a.jsonl", [row])).items()
    assert len(item.given().images) == 1
    assert Gqa(tmp_path).places(item, 0) == ["7/0.txt", "7.txt"]
    assert Gqa(tmp_path).places(item, 1) == ["7/1.txt"]


def test_mm_vet_official_is_the_mean_grade_and_counts_for_each_ability(tmp_path):
    judge = Judge("0.5", "1.0 | yes", "0.0")
    scores = values(table(MmVet(mm_vet_file(tmp_path)), "said", tools=Tools(judge=judge)))
    assert scores == {
        "overall": 50.0,
        "ocr": 25.0,
        "math": 50.0,
        "rec": 100.0,
        "parse_failures": 0.0,
    }
    assert judge.asked[0].endswith("\nWhat is x? | -1 <AND> -5 | said | ")


def test_mm_vet_asks_up_to_five_times_and_then_counts_a_failure(tmp_path):
    judge = Judge(*["good"] * 4, "0.7", *["Correctness: 1.0"] * 5, "1")
    benchmark = MmVet(mm_vet_file(tmp_path))
    rows = taken(benchmark, "said", tools=Tools(judge=judge))
    assert [row.values["grade"] for row in rows] == [0.7, 0.0, 1.0]
    assert [row.failures for row in rows] == [(), ("no number from the judge",), ()]
    assert rows[0].facts["replies"] == ["good", "good", "good", "good", "0.7"]
    assert len(rows[1].facts["replies"]) == 5
    assert len(set(judge.asked[:5])) == 5  # a judge without randomness would only repeat itself
    assert all(text.startswith(judge.asked[0]) for text in judge.asked[:5])
    protocol = benchmark.protocols[0]
    assert values(benchmark.table(rows, protocol=protocol))["parse_failures"] == 0.3333


def test_the_protocol_of_mm_vet_says_whose_examples_the_judge_saw(tmp_path):
    path = tmp_path / "grader.txt"
    path.write_text("Grade:")
    given = MmVet(mm_vet_file(tmp_path), grader=path)
    assert MmVet(tmp_path).protocols == ("official/own-template", "offline")
    assert given.protocols == ("official/given-template", "offline")
    for name in ("official", "official/own-template"):
        with pytest.raises(ConfigError, match="no protocol"):
            taken(given, "said", protocol=name, tools=Tools(judge=Judge("1")))


@pytest.mark.parametrize("kind", [str, Path])
def test_mm_vet_takes_the_examples_of_a_file(tmp_path, kind):
    path = tmp_path / "grader.txt"
    path.write_text("Grade:")
    judge = Judge("1", "1", "1")
    rows = taken(MmVet(mm_vet_file(tmp_path), grader=kind(path)), "said", tools=Tools(judge=judge))
    assert judge.asked[2] == "Grade:\nWhat is written? | stop | said | "
    assert rows[0].facts["grader"] == str(path)


def test_mm_vet_without_a_judge_says_so_and_compares_words_offline(tmp_path):
    benchmark = MmVet(mm_vet_file(tmp_path))
    with pytest.raises(ConfigError, match="needs a tool for 'judge'"):
        taken(benchmark, "said", protocol="official/own-template")
    answers = {"v1_0": "-5", "v1_1": "a rabbit", "v1_2": "go"}
    rows = taken(benchmark, lambda item: answers[item.id], protocol="offline")
    # one of two parts; the better of two ways, 2 * 1 / (2 + 1); nothing
    assert [round(row.values["grade"], 4) for row in rows] == [0.5, 0.6667, 0.0]


def test_mm_vet_reads_lines_with_abilities_in_one_text(tmp_path):
    row = {
        "question_id": "v1_9", "image": "a.png", "question": "?", "answer": "x",
        "capability": "rec, ocr",
    }  # fmt: skip
    save_png(PIXELS, tmp_path / "a.png")
    (item,) = MmVet(write_lines(tmp_path / "a.jsonl", [row])).items()
    assert (item.id, item.group, item.truth["abilities"]) == ("v1_9", "rec_ocr", ["rec", "ocr"])
    assert len(item.given().images) == 1
