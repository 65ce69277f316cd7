"""What a provider said is kept line by line and said again without it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mogao.errors import ConfigError, DataError, RequestError
from mogao.evaluation.providers.base import (
    ChatJudge,
    ColourReader,
    Detection,
    Detector,
    Embedder,
    TextReader,
    Tools,
    VisualQuestions,
    YesNoProbabilities,
)
from mogao.evaluation.providers.masks import MaskedDetection
from mogao.evaluation.providers.replay import METHODS, Recorder, Replay

RED = np.full((16, 16, 3), (200, 0, 0), np.uint8)
BLUE = np.full((16, 16, 3), (0, 0, 200), np.uint8)
MASK = np.arange(15).reshape(3, 5) % 2 == 1
CAT = Detection("cat", (1.25, 2.0, 3.0, 4.5), 0.1)


class Oracle:
    """All providers in one; counts how often it is asked."""

    name = "oracle"

    def __init__(self):
        self.asked = 0
        self.served: set[str] = set()

    def _next(self, value):
        self.asked += 1
        return value

    def detect(self, pixels):
        masked = MaskedDetection("dog", (0.0, 0.0, 5.0, 3.0), 0.7, mask=MASK)
        return self._next([CAT, masked] if pixels[0, 0, 0] else [])

    def colour(self, pixels, detection):
        return self._next(f"{detection.name} {pixels[0, 0, 0]}")

    def answer(self, pixels, question):
        return self._next(f"{question} {pixels.sum()}")

    def yes_no_probabilities(self, pixels, question):
        return self._next(YesNoProbabilities(len(question) / (3 + pixels.size), 0.1))

    def ask(self, text, *, pictures=()):
        return self._next(f"{text}: {len(pictures)} pictures \ud800 \u2028 \n.")

    def embed(self, pictures):
        return self._next(np.array([[one.sum() / 7, 0.1] for one in pictures], np.float32))

    def read(self, pixels):
        return self._next(["two", "words", str(pixels.sum())])


def ask_all(provider):
    found = provider.detect(RED)
    return [
        [(one.name, one.box, one.score) for one in found],
        found[1].mask.tolist(),
        provider.detect(BLUE),
        provider.colour(RED, CAT),
        provider.colour(BLUE, CAT),
        provider.colour(RED, found[1]),
        provider.answer(RED, "what?"),
        provider.answer(RED, "who?"),
        provider.yes_no_probabilities(RED, "what?"),
        provider.ask("rate", pictures=[RED, BLUE]),
        provider.ask("rate", pictures=[BLUE, RED]),
        provider.ask("rate"),
        provider.embed([RED, BLUE]).tolist(),
        provider.read(RED),
    ]


def test_every_kind_of_provider_is_recorded_and_replayed_exactly(tmp_path):
    oracle, path = Oracle(), tmp_path / "deep" / "answers.jsonl"
    direct = ask_all(oracle)
    recorder = Recorder(oracle, path)
    assert ask_all(recorder) == direct
    assert ask_all(Replay(path)) == direct
    assert (recorder.name, Replay(path).name) == ("oracle", "oracle")
    for protocol in (Detector, ColourReader, VisualQuestions, ChatJudge, Embedder, TextReader):
        assert isinstance(recorder, protocol)


def test_what_is_known_is_not_asked_again_in_this_run_or_the_next(tmp_path):
    oracle = Oracle()
    for _ in range(2):
        recorder = Recorder(oracle, tmp_path / "answers.jsonl")
        ask_all(recorder)
        ask_all(recorder)
    assert oracle.asked == 14  # two pictures are embedded one by one


def test_batches_of_embeddings_do_not_matter(tmp_path):
    Recorder(Oracle(), tmp_path / "a.jsonl").embed([RED, BLUE])
    replay = Replay(tmp_path / "a.jsonl")
    assert np.array_equal(replay.embed([BLUE]), replay.embed([RED, BLUE])[1:])
    assert replay.embed([]).shape == (0, 0)


def test_a_line_says_who_was_asked_what(tmp_path):
    Recorder(Oracle(), tmp_path / "a.jsonl").answer(RED, "what?")
    row = json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))
    assert [row[name] for name in ("provider", "method", "question", "answer")] == [
        "oracle", "answer", "what?", "what? 51200",
    ]  # fmt: skip
    assert row["key"].startswith("oracle/answer/")


def test_what_is_missing_is_named(tmp_path):
    path = tmp_path / "answers.jsonl"
    Recorder(Oracle(), path).answer(RED, "what?")
    replay = Replay(path)
    with pytest.raises(RequestError, match=r"answers\.jsonl: no answer of 'oracle' to answer 'w"):
        replay.answer(BLUE, "what?")
    with pytest.raises(RequestError, match=r"to ask 'hello' about pictures none; record it"):
        replay.ask("hello")
    with pytest.raises(RequestError, match="no file of recorded answers"):
        Replay(tmp_path / "other.jsonl")


def test_a_cut_last_line_is_dropped_and_asked_again(tmp_path):
    oracle, path = Oracle(), tmp_path / "answers.jsonl"
    recorder = Recorder(oracle, path)
    recorder.answer(RED, "one?")
    recorder.answer(RED, "two?")
    path.write_bytes(path.read_bytes()[:-20])
    assert Replay(path).answer(RED, "one?") == "one? 51200"
    with pytest.raises(RequestError, match="two"):
        Replay(path).answer(RED, "two?")
    again = Recorder(oracle, path)
    assert again.answer(RED, "two?") == "two? 51200"
    assert oracle.asked == 3
    assert len([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]) == 2


@pytest.mark.parametrize("line", ["{", "[]", '"text"', '{"key": "k", "provider": "p"}'])
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    Recorder(Oracle(), path).answer(RED, "one?")
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    for make in (Replay, lambda at: Recorder(Oracle(), at)):
        with pytest.raises(DataError, match=r"answers\.jsonl, line 2: not a recorded answer"):
            make(path)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("detect", [{"name": "cat", "box": [1, 2, 3], "score": 1}]),
        ("detect", [{"name": "cat", "box": [1, 2, 3, 4], "score": 1, "mask": [9, 9, "eJw="]}]),
        ("read", [1]),
        ("answer", None),
        ("yes_no_probabilities", "often"),
        ("yes_no_probabilities", {"yes": 0.5}),
        ("embed", ["x"]),
    ],
)
def test_an_answer_of_the_wrong_form_is_named_with_its_line(tmp_path, method, answer):
    path = tmp_path / "answers.jsonl"
    recorder = Recorder(Oracle(), path)
    questions = ["what?"] if method in METHODS["questions"] else []
    given = [[RED]] if method == "embed" else [RED, *questions]
    getattr(recorder, method)(*given)
    row = json.loads(path.read_text(encoding="utf-8")) | {"answer": answer}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"line 1: answer .* is none to '{method}'"):
        getattr(Replay(path), method)(*given)


def test_one_of_several_providers_in_a_file_is_chosen(tmp_path):
    path = tmp_path / "answers.jsonl"
    first, second = Oracle(), Oracle()
    second.name = "second"
    recorders = [Recorder(one, path) for one in (first, second)]
    recorders[0].detect(RED)
    recorders[0].answer(RED, "one?")
    recorders[1].answer(RED, "two?")
    assert Replay(path, kind="detector").name == "oracle"
    assert Replay(path, kind="questions", source="second").answer(RED, "two?") == "two? 51200"
    with pytest.raises(ConfigError, match=r"\['oracle', 'second'\]; expected one provider"):
        Replay(path, kind="questions")
    with pytest.raises(ConfigError, match=r"of \['oracle'\]; expected second"):
        Replay(path, kind="detector", source="second")
    with pytest.raises(ConfigError, match="answers to embed of nobody"):
        Replay(path, kind="embedders")


def test_what_a_server_said_of_its_model_is_replayed_with_the_answers(tmp_path):
    oracle, path = Oracle(), tmp_path / "a.jsonl"
    recorder = Recorder(oracle, path)
    recorder.answer(RED, "one?")
    oracle.served = {"oracle-2"}
    recorder.answer(RED, "two?")
    assert Tools(questions=recorder).names == {"questions": "oracle (served by oracle-2)"}
    replay = Replay(path)
    for question, name in (("one?", "oracle"), ("two?", "oracle (served by oracle-2)")):
        replay.answer(RED, question)
        assert Tools(questions=replay).names == {"questions": name}
