"""MMBench and SEED-Bench on small files worked by hand."""

from __future__ import annotations

import base64

import pytest

from mogao.data.images import png_bytes
from mogao.errors import DataError
from mogao.evaluation.tasks.mmbench import MmBench
from mogao.evaluation.tasks.seed_bench import SeedBench
from tests.evaluation.tasks.answering import PIXELS, table, values, write_json

TEXTS = ["cat", "dog", "cow", "hen"]
PNG = base64.b64encode(png_bytes(PIXELS)).decode()


def mmbench_row(question, rotation):
    """Question q has the text q as its answer, which rotation r moves r letters back."""
    options = TEXTS[rotation:] + TEXTS[:rotation]
    return {
        "index": str(rotation * 1_000_000 + question),
        "question": "What is it?",
        "hint": "It lives." if question == 0 else "",
        **dict(zip("ABCD", options, strict=True)),
        "E": "",
        "answer": "ABCD"[options.index(TEXTS[question])],
        "category": "naming" if question < 3 else "counting",
        "l2-category": "coarse" if question < 2 else "fine",
        "image": PNG if rotation == 0 else str(question),
    }


def mmbench_file(folder, rows=None):
    rows = rows or [mmbench_row(q, r) for r in range(4) for q in range(4)]
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path = folder / "mmbench.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def seed_file(folder):
    questions = [
        {
            "question_id": f"{number}",
            "question": "What is it?",
            "choice_a": "cat", "choice_b": "dog", "choice_c": "cow", "choice_d": "hen",
            "answer": answer,
            "question_type_id": kind,
            "data_type": "video" if kind == 10 else "image",
            "data_id": "a.png",
        }
        for number, (kind, answer) in enumerate([(1, "A"), (1, "A"), (1, "A"), (2, "B"), (10, "C")])
    ]  # fmt: skip
    types = {"Scene Understanding": 1, "Instance Identity": 2, "Action Recognition": 10}
    return write_json(folder / "SEED-Bench.json", {"question_type": types, "questions": questions})


def test_mmbench_always_a_is_nothing_circular_and_chance_plain(tmp_path):
    benchmark = MmBench(mmbench_file(tmp_path))
    circular = values(table(benchmark, "A", protocol="circular"))
    assert circular["overall"] == 0.0
    plain = values(table(benchmark, "A", protocol="plain"))
    assert plain["overall"] == 25.0


def test_mmbench_counts_a_question_if_every_rotation_is_right(tmp_path):
    benchmark = MmBench(mmbench_file(tmp_path))
    scores = table(
        benchmark, lambda item: "none" if item.id == "2000001" else TEXTS[int(item.id) % 1_000_000]
    )
    assert values(scores) == {
        "overall": 75.0,
        "l2/coarse": 50.0,
        "l2/fine": 100.0,
        "category/naming": 66.6667,
        "category/counting": 100.0,
        "parse_failures": 0.0625,  # one row of sixteen
    }
    assert scores["overall"].n == 4  # questions, not rotations
    assert scores["parse_failures"].n == 16


def test_mmbench_plain_looks_at_the_first_rotation_alone(tmp_path):
    benchmark = MmBench(mmbench_file(tmp_path))
    scores = table(
        benchmark,
        lambda item: item.truth["answer"] if int(item.id) < 1_000_000 else "E",
        protocol="plain",
    )
    assert (scores["overall"].value, scores["parse_failures"].value) == (100.0, 0.0)
    assert scores["overall"].n == 4


def test_mmbench_asks_with_hint_and_options_and_shows_the_shared_picture(tmp_path):
    items = {item.id: item for item in MmBench(mmbench_file(tmp_path)).items()}
    assert items["1000000"].prompt.startswith(
        "It lives.\nWhat is it?\nThere are several options:\nA. dog\nB. cow\nC. hen\nD. cat\nAnswer"
    )
    assert items["1"].prompt.startswith("What is it?\nThere")
    assert [items[name].given().images[0].size for name in ("1", "3000001")] == [(16, 16)] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"answer": ""},
            "record 1: field 'answer': expected one of A, B, C, D, got ''; test files",
        ),
        ({"answer": "E"}, "got 'E'"),
        ({"index": "x"}, "field 'index': expected a number, got 'x'"),
        ({"image": "77"}, "field 'image': field '77' is missing"),
    ],
)
def test_mmbench_names_a_bad_field(tmp_path, change, message):
    path = mmbench_file(tmp_path, [mmbench_row(0, 0) | change])
    with pytest.raises(DataError, match=message):
        MmBench(path).items()


def test_seed_is_pooled_and_no_mean_of_types(tmp_path):
    scores = values(table(SeedBench(seed_file(tmp_path)), "A. cat"))
    assert scores == {
        "image": 75.0,  # 3 of 4; the mean of the types is 50
        "Scene Understanding": 100.0,
        "Instance Identity": 0.0,
        "parse_failures": 0.0,
    }


def test_seed_takes_letters_at_the_start_alone(tmp_path):
    scores = values(table(SeedBench(seed_file(tmp_path)), "It is A"))
    assert (scores["image"], scores["parse_failures"]) == (0.0, 1.0)


def test_seed_lists_the_options_and_passes_over_videos(tmp_path):
    items = SeedBench(seed_file(tmp_path)).items()
    assert len(items) == 4
    assert items[0].prompt.startswith("What is it?\nA. cat\nB. dog\nC. cow\nD. hen\nAnswer with")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "E"}, "question 1: field 'answer': expected A to D, got 'E'"),
        ({"question_type_id": 8}, "no type has the number 8"),
        ({"choice_d": None}, "field 'choice_d': expected str, got nothing"),
    ],
)
def test_seed_names_a_bad_field(tmp_path, change, message):
    row = {
        "question_id": 1, "question": "?", "choice_a": "a", "choice_b": "b", "choice_c": "c",
        "choice_d": "d", "answer": "A", "question_type_id": 1, "data_type": "image", "data_id": "x",
    }  # fmt: skip
    whole = {"question_type": {"Scene Understanding": 1}, "questions": [row | change]}
    with pytest.raises(DataError, match=message):
        SeedBench(write_json(tmp_path / "a.json", whole)).items()
