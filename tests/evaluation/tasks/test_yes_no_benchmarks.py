"""POPE and MME on small files worked by hand."""

from __future__ import annotations

import pytest

from mogao.data.images import save_png
from mogao.errors import DataError
from mogao.evaluation.runner import choose
from mogao.evaluation.tasks.mme import SUMS, Mme
from mogao.evaluation.tasks.pope import Pope
from tests.evaluation.tasks.answering import PIXELS, table, taken, values, write_lines

# (category, right answer, what the model says)
POPE = [
    ("adversarial", "yes", "Yes"),
    ("adversarial", "yes", "No."),
    ("adversarial", "no", "Yes, a cat."),
    ("adversarial", "no", "no"),
    ("popular", "yes", "yes"),
    ("popular", "yes", " Yes\n"),
    ("popular", "no", "no"),
    ("popular", "no", "yes"),
]


def pope_file(folder, rows=POPE, *, picture=None):
    return write_lines(
        folder / "pope.jsonl",
        [
            {
                "question_id": number,
                "category": category,
                "text": "Is there a cat in the image?",
                "label": answer,
                "image": f"{number % 4}.png" if picture is None else picture,
            }
            for number, (category, answer, _) in enumerate(rows)
        ],
    )


def says(item):
    return POPE[int(item.id.rsplit("-", 1)[1])][2]


def mme_folder(folder, *, pictures=2):
    for tasks in SUMS.values():
        for task in tasks:
            lines = [
                f"{n}.png\tIs {n} there? Please answer yes or no.\t{answer}\n"
                for n in range(pictures)
                for answer in ("Yes", "No")
            ]
            (folder / f"{task}.txt").write_text("".join(lines))
    return folder


def test_pope_by_llava_is_the_mean_f1_of_categories(tmp_path):
    scores = values(table(Pope(pope_file(tmp_path)), says, protocol="llava-parse"))
    assert next(iter(scores)) == "f1"
    assert scores == {
        "f1": 65.0,
        # 1 true yes, 1 false no, 1 false yes, 1 true no
        "adversarial/accuracy": 50.0,
        "adversarial/precision": 50.0,
        "adversarial/recall": 50.0,
        "adversarial/f1": 50.0,
        "adversarial/yes_ratio": 50.0,
        # 2 true yes, 0 false no, 1 false yes, 1 true no
        "popular/accuracy": 75.0,
        "popular/precision": 66.6667,
        "popular/recall": 100.0,
        "popular/f1": 80.0,
        "popular/yes_ratio": 75.0,
        "parse_failures": 0.0,
    }


def test_pope_by_lmms_is_strict_and_leaves_the_unreadable_out_of_the_recall(tmp_path):
    scores = values(table(Pope(pope_file(tmp_path)), says, protocol="lmms-strict"))
    assert next(iter(scores)) == "accuracy"
    assert scores["accuracy"] == 62.5  # 5 of 8
    assert scores["precision"] == 75.0  # 3 true yes, 1 false yes
    assert scores["recall"] == 100.0  # "No." to a right yes is no false no
    assert scores["f1"] == 85.7143
    assert scores["yes_ratio"] == 50.0
    assert scores["truth_yes_ratio"] == 50.0
    assert scores["adversarial/accuracy"] == 50.0
    assert scores["adversarial/recall"] == 100.0
    assert scores["parse_failures"] == 0.25


def test_pope_names_what_it_could_not_read(tmp_path):
    rows = taken(Pope(pope_file(tmp_path)), says, protocol="lmms-strict")
    assert [row.failures for row in rows[:2]] == [(), ("neither yes nor no",)]
    assert rows[1].facts == {"said": "No.", "read": None, "answer": "yes"}


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_pope_with_one_answer_divides_by_nothing(tmp_path, answer):
    scores = table(Pope(pope_file(tmp_path)), answer)
    assert scores["f1"].value == pytest.approx(66.6667 if answer == "yes" else 0.0, abs=1e-4)
    assert scores["popular/accuracy"].value == 50.0


def test_pope_intervals_are_over_pictures(tmp_path):
    scores = table(Pope(pope_file(tmp_path)), says)
    assert scores["popular/f1"].low < 80.0 < scores["popular/f1"].high
    assert scores["popular/f1"].n == 4
    assert scores["f1"].n == 8
    alone = table(Pope(pope_file(tmp_path, picture="a.png")), says)
    assert values(alone) == values(scores)
    # All questions about one picture stand or fall together.
    assert alone["popular/f1"].low == alone["popular/f1"].high == alone["popular/f1"].value
    assert Pope(tmp_path).table([], protocol="lmms-strict")["f1"].n == 0
    assert Pope(tmp_path).table([], protocol="llava-parse")["f1"].n == 0


def test_pope_reads_the_folder_of_official_files_and_hf_rows_alike(tmp_path):
    row = {"question_id": 1, "image": "a.png", "text": "Is there a cat?", "label": "no"}
    write_lines(tmp_path / "coco_pope_random.json", [row])
    (item,) = Pope(tmp_path).items()
    assert (item.id, item.group) == ("random-1", "random")
    assert item.truth == {"answer": "no", "picture": "a.png"}
    hub = {"question_id": "1", "image": "a.png", "question": "Is there a cat?", "answer": "No"}
    (other,) = Pope(write_lines(tmp_path / "hub.jsonl", [hub | {"category": "random"}])).items()
    assert (other.id, other.prompt, other.truth) == (item.id, item.prompt, item.truth)
    asked = row | {"text": item.prompt, "category": "random"}  # as in LLaVA's file
    (again,) = Pope(write_lines(tmp_path / "llava.jsonl", [asked])).items()
    assert again.prompt == item.prompt


def test_pope_shows_the_picture_before_the_question(tmp_path):
    save_png(PIXELS, tmp_path / "pictures" / "a.png")
    records = pope_file(tmp_path, picture="a.png")
    item = Pope(records, images=tmp_path / "pictures").items()[0]
    shown = item.given()
    assert [type(segment).__name__ for segment in shown] == ["ImageSegment", "TextSegment"]
    assert shown.text == item.prompt
    assert item.prompt.startswith("Is there a cat in the image?\nAnswer")


def test_pope_refuses_other_answers_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match=r"record 1: the answer must be yes or no, got 'maybe'"):
        Pope(pope_file(tmp_path, [("random", "maybe", "")])).items()
    with pytest.raises(DataError, match="no file coco_pope_"):
        Pope(tmp_path).items()


def test_mme_always_yes_gives_fifty_a_subtask(tmp_path):
    scores = values(table(Mme(mme_folder(tmp_path)), "Yes"))
    assert scores.pop("perception") == 500.0
    assert scores.pop("cognition") == 200.0
    assert scores.pop("parse_failures") == 0.0
    assert len(scores) == 14
    assert set(scores.values()) == {50.0}


def test_mme_all_right_gives_all_points_and_all_unreadable_none(tmp_path):
    benchmark = Mme(mme_folder(tmp_path))
    right = values(table(benchmark, lambda item: item.truth["answer"] + ", it is."))
    assert list(right)[:2] == ["perception", "cognition"]
    assert (right["perception"], right["cognition"], right["OCR"]) == (2000.0, 800.0, 200.0)
    nothing = values(table(benchmark, "I cannot tell"))
    assert (nothing["perception"], nothing["parse_failures"]) == (0.0, 1.0)


def test_mme_takes_pictures_with_both_their_questions(tmp_path):
    few = choose(Mme(mme_folder(tmp_path)).items(), groups=["OCR"], most=1)
    assert [item.id for item in few] == ["OCR-0000-0", "OCR-0000-1"]


def test_mme_adds_accuracy_and_pictures_with_both_right(tmp_path):
    benchmark = Mme(mme_folder(tmp_path))
    scores = values(
        table(benchmark, lambda item: "yes" if "0001" in item.id else item.truth["answer"])
    )
    assert scores["count"] == 125.0  # 75 for three of four, 50 for one picture of two
    assert scores["perception"] == 1250.0


def test_mme_sums_only_what_was_taken_whole(tmp_path):
    folder = mme_folder(tmp_path)
    (folder / "OCR.txt").unlink()
    scores = table(Mme(folder), "yes")
    assert "perception" not in scores
    assert scores["cognition"].value == 200.0
    assert scores["count"].n == 2  # pictures, not questions


def test_mme_finds_pictures_one_folder_further_down(tmp_path):
    benchmark = Mme(mme_folder(tmp_path, pictures=1), images=tmp_path / "pictures")
    save_png(PIXELS, tmp_path / "pictures" / "count" / "0.png")
    save_png(PIXELS, tmp_path / "pictures" / "scene" / "images" / "0.png")
    items = {item.id: item for item in benchmark.items()}
    assert len(items["count-0000-0"].given().images) == 1
    assert len(items["scene-0000-1"].given().images) == 1
    with pytest.raises(DataError, match=r"color\.txt: record 1.*cannot read the picture"):
        items["color-0000-0"].given()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\tIs it?\tYes\n", r"1 lines, expected two to each picture"),
        ("a.png\tIs it?\tYes\nb.png\tIs it?\tNo\n", r"record 2: picture 'b.png', but its pair"),
        ("a.png\tIs it?\tYes\na.png\tIs it?\n", r"record 2: 2 cells, expected picture"),
        ("a.png\tIs it?\tYes\na.png\tIs it?\tWhy\n", r"record 2: the answer must be Yes or No"),
    ],
)
def test_mme_names_a_bad_line(tmp_path, text, message):
    (tmp_path / "count.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        Mme(tmp_path).items()
