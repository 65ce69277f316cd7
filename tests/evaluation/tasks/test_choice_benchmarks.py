"""MMBench and SEED-Bench on small files worked by hand."""

from __future__ import annotations

import base64
import json

import pytest

from mogao.data.images import png_bytes, save_png
from mogao.errors import ConfigError, DataError
from mogao.evaluation.benchmark import Output
from mogao.evaluation.likelihood import likelihoods_of
from mogao.evaluation.player import SessionPlayer
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.providers.replay import Recorder, Replay
from mogao.evaluation.runner import choose, generate, read_outputs
from mogao.evaluation.tasks.mmbench import MmBench
from mogao.evaluation.tasks.seed_bench import SeedBench
from tests.evaluation.tasks.answering import PIXELS, table, taken, values, write_json
from tests.evaluation.tasks.scripted import Judge

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
    circular = values(table(benchmark, "A", protocol="circular/unmatched-wrong"))
    assert circular["overall"] == 0.0
    plain = values(table(benchmark, "A", protocol="plain/unmatched-wrong"))
    assert plain["overall"] == 25.0


def test_mmbench_takes_the_first_questions_in_all_their_rotations(tmp_path):
    few = choose(MmBench(mmbench_file(tmp_path)).items(), most=1)
    assert [item.id for item in few] == [
        str(rotation * 1_000_000 + question) for rotation in range(4) for question in (0, 3)
    ]


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
        protocol="plain/unmatched-wrong",
    )
    assert (scores["overall"].value, scores["parse_failures"].value) == (100.0, 0.0)
    assert scores["overall"].n == 4


# What a model says of the picture, and what the judge replies when it is asked about it: of four
# questions in four rotations the first is answered in plain words, the second in words that only
# the judge understands, the third in words that it takes for none, the last by nothing it can read.
SAID = ["a cat", "it barks", "it flies", "who knows"]


def spoken(item):
    return SAID[int(item.id) % 1_000_000]


def reply(text):
    """The letter of "dog" in the options that stand in the last question of a text."""
    options, answer = text.rsplit("Options: ", 1)[1].split("\nAnswer: ")
    if answer.startswith("it barks"):
        return next(part[-1] for part in options.split(". dog")[:1])
    return "E" if answer.startswith("it flies") else "B or C"


def test_mmbench_official_asks_a_judge_what_the_parser_cannot_read(tmp_path):
    benchmark = MmBench(mmbench_file(tmp_path))
    assert benchmark.protocols == (
        "circular/unmatched-wrong",
        "plain/unmatched-wrong",
        "official/own-template",
        "plain-matched/own-template",
    )
    judge = Judge(reply)
    protocol = "official/own-template"
    rows = taken(benchmark, spoken, protocol=protocol, tools=Tools(judge=judge))
    # The parser reads none of three questions; the third is asked three times a rotation.
    assert len(judge.texts) == 4 + 4 + 4 * 3
    assert judge.texts[0].startswith("Somebody answered")
    assert "Question: What is it?\nOptions: A. cat B. dog C. cow D. hen\n" in judge.texts[0]
    assert "say E." in judge.texts[0]
    assert judge.texts[-1].endswith("Try 3 of 3: your last reply was not one letter. "
                                    "One capital letter alone:")  # fmt: skip
    by_id = {row.id: row for row in rows}
    assert [by_id[f"{r}000001"].facts["read"] for r in (1, 2, 3)] == ["A", "D", "C"]
    assert by_id["1"].failures == ("no option",)
    assert by_id["3"].failures == ("no option", "judge: no option")
    assert by_id["3"].facts["asked"] == ["B or C"] * 3
    assert by_id["0"].failures == ()
    scores = values(benchmark.table(rows, protocol=protocol))
    assert {name: scores[name] for name in ("overall", "l2/coarse", "asked")} == {
        "overall": 50.0,
        "l2/coarse": 100.0,
        "asked": 0.75,
    }
    assert (scores["parse_failures"], scores["random_fallbacks"]) == (0.75, 4.0)
    again = taken(benchmark, spoken, protocol=protocol, tools=Tools(judge=Judge(reply)))
    assert again == rows  # the letters that are drawn depend on the item alone


def test_mmbench_without_a_judge_takes_the_same_answers_as_wrong_and_says_so(tmp_path):
    benchmark = MmBench(mmbench_file(tmp_path))
    scores = values(table(benchmark, spoken, protocol="circular/unmatched-wrong"))
    assert (scores["overall"], scores["parse_failures"]) == (25.0, 0.75)
    assert "asked" not in scores
    for protocol in ("official/own-template", "plain-matched/own-template"):
        with pytest.raises(ConfigError, match="--tool judge"):
            table(benchmark, spoken, protocol=protocol)


def test_mmbench_plain_matched_looks_at_the_first_rotation_alone(tmp_path):
    benchmark = MmBench(mmbench_file(tmp_path))
    rows = taken(
        benchmark, lambda item: "it barks" if int(item.id) < 1_000_000 else "E",
        protocol="plain-matched/own-template", tools=Tools(judge=Judge(reply)),
    )  # fmt: skip
    scores = benchmark.table(rows, protocol="plain-matched/own-template")
    assert (scores["overall"].value, scores["overall"].n) == (25.0, 4)
    # The letter behind the options says "none of them": read, wrong and not asked about.
    assert {(row.facts["read"], row.failures) for row in rows if row.facts["rotation"]} == {
        ("E", ())
    }


def test_mmbench_replays_what_a_judge_said(tmp_path):
    benchmark, path = MmBench(mmbench_file(tmp_path)), tmp_path / "replies.jsonl"
    protocol = "official/own-template"
    first = taken(
        benchmark, spoken, protocol=protocol, tools=Tools(judge=Recorder(Judge(reply), path))
    )
    replayed = Tools(judge=Replay(path, kind="judge"))
    assert taken(benchmark, spoken, protocol=protocol, tools=replayed) == first


def test_mmbench_names_the_words_that_its_judge_was_told(tmp_path):
    words = write_json(tmp_path / "t.json", {"mmbench": "{question} {options} {answer} {none}"})
    benchmark = MmBench(mmbench_file(tmp_path), templates=words)
    judge = Judge(lambda _: "A")
    table(benchmark, "who", protocol="official/given-template", tools=Tools(judge=judge))
    assert judge.texts[0] == "What is it? A. cat B. dog C. cow D. hen who E"
    with pytest.raises(ConfigError, match="own-template"):
        table(benchmark, "who", protocol="official/own-template", tools=Tools(judge=judge))


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


def seed_rows(path, *, protocol, losses, written="none"):
    """Rows of a model of ours, which writes a text and (nats, tokens) of each option."""
    listed = json.dumps([{"nats": nats, "tokens": tokens} for nats, tokens in losses])
    benchmark = SeedBench(path)
    output = Output((written, listed))
    return [
        benchmark.score(item, [output], tools=Tools(), protocol=protocol)
        for item in benchmark.items()
    ]


def test_official_seed_takes_the_option_with_the_least_loss_and_reads_no_letter(tmp_path):
    path = seed_file(tmp_path)
    # Sums 6, 4, 9, 9; means 2, 4, 3, 3: the likeliest text is B, the likeliest by token is A.
    losses = [(6.0, 3), (4.0, 1), (9.0, 3), (9.0, 3)]
    summed = seed_rows(path, protocol="official", losses=losses)
    assert [row.facts["read"] for row in summed] == ["B"] * 4
    assert summed[0].facts["losses"] == [6.0, 4.0, 9.0, 9.0]
    means = seed_rows(path, protocol="official-mean", losses=losses)
    assert [row.facts["read"] for row in means] == ["A"] * 4
    benchmark = SeedBench(path)
    scores = values(benchmark.table(means, protocol="official-mean"))
    assert (scores["image"], scores["parse_failures"]) == (75.0, 0.0)
    assert values(benchmark.table(summed, protocol="official"))["image"] == 25.0
    equal = seed_rows(path, protocol="official", losses=[(2.0, 1)] * 4)
    assert [row.facts["read"] for row in equal] == ["A"] * 4
    letters = seed_rows(path, protocol="generate", losses=losses, written=" C. cow ")
    assert [(row.facts["said"], row.facts["read"]) for row in letters] == [("C. cow", "C")] * 4


def test_answers_of_other_programs_hold_no_likelihoods(tmp_path):
    benchmark = SeedBench(seed_file(tmp_path))
    assert benchmark.protocols[0] == "generate"
    for name in ("official", "official-mean"):
        with pytest.raises(ConfigError, match=f"'{name}' needs the likelihoods"):
            table(benchmark, "A", protocol=name)


@pytest.mark.parametrize("losses", ["A", "[1, 2, 3, 4]", '[{"nats": 1, "tokens": 2}]', "null"])
def test_damaged_likelihoods_are_named(tmp_path, losses):
    benchmark = SeedBench(seed_file(tmp_path))
    (item, *_) = benchmark.items()
    with pytest.raises(DataError, match="likelihoods"):
        benchmark.score(item, [Output(("A", losses))], tools=Tools(), protocol="official")


def test_a_model_of_ours_answers_seed_in_both_ways(tmp_path, model):
    save_png(PIXELS, tmp_path / "a.png")
    benchmark = SeedBench(seed_file(tmp_path))
    (item, *_) = benchmark.items()
    (turn,) = item.turns
    assert turn.given(["A"]).text == "What is it?"
    generate([item], SessionPlayer(model), tmp_path / "out")
    (output,) = read_outputs([item], tmp_path / "out")[item.id]
    row = benchmark.score(item, [output], tools=Tools(), protocol="official")
    session = model.session(seed=0)
    session.extend(turn.given([]))
    found = likelihoods_of(TEXTS, session)
    losses = [-sum(one.log_probs) for one in found]
    assert row.facts["losses"] == pytest.approx(losses, abs=1e-3)
    assert row.facts["read"] == "ABCD"[losses.index(min(losses))]


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
