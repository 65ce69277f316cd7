"""`--tool KIND=SPEC` opens the providers that it names."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.errors import ConfigError, RequestError
from mogao.evaluation.providers.choose import open_tools, parse_tool
from mogao.evaluation.providers.endpoint import Endpoint
from mogao.evaluation.providers.replay import Recorder, Replay
from mogao.evaluation.providers.world import WorldEyes

URL = "http://localhost:8000/v1"
EMPTY = np.full((128, 128, 3), 128, np.uint8)


@pytest.mark.parametrize(
    "text",
    [
        f"judge=endpoint:{URL}#Qwen/Qwen2.5-VL-7B:free",
        f"questions=endpoint:{URL}#m#MY_KEY",
        "embedders=local:facebook/dinov2-base",
        "detector=local:/models/detr=1",
        "colours=world",
        "text=replay:answers.jsonl",
        "judge=replay:answers.jsonl#endpoint:m@host",
    ],
)
def test_known_forms_are_split_at_the_first_equals_sign(text):
    kind, spec = parse_tool(text)
    assert f"{kind}={spec}" == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("judge", r"expected KIND=SPEC, such as judge=endpoint:URL#MODEL"),
        ("juge=world", r"no kind 'juge'; did you mean 'judge'\?"),
        ("judge=endpont:x#m", r"no provider 'endpont'; did you mean 'endpoint'\?"),
        ("judge=", "no provider ''; known: endpoint, local, replay, world"),
        (f"judge=endpoint:{URL}", "expected judge=endpoint:URL#MODEL"),
        (f"judge=endpoint:{URL}#", "expected judge=endpoint:URL#MODEL"),
        ("judge=local:", "expected judge=local:FOLDER_OR_ID"),
        ("judge=replay:a#", "expected judge=replay:FILE"),
        ("detector=world:nano", "expected detector=world$"),
        ("judge=world", "world cannot serve 'judge', only detector, colours"),
        (f"text=endpoint:{URL}#m", "endpoint cannot serve 'text', only questions, judge"),
    ],
)
def test_unknown_kinds_and_forms_are_named_with_the_nearest(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_tool(text)


def test_one_provider_serves_several_kinds():
    spec = f"endpoint:{URL}#m"
    tools = open_tools([f"judge={spec}", f"questions={spec}", "detector=world", "colours=world"])
    assert isinstance(tools.judge, Endpoint)
    assert tools.judge is tools.questions
    assert isinstance(tools.detector, WorldEyes)
    assert tools.detector is tools.colours
    assert (tools.text, tools.embedders) == (None, ())
    assert tools.names["judge"] == "endpoint:m@localhost:8000"


def test_what_is_recorded_can_be_replayed_instead(tmp_path):
    path = tmp_path / "answers.jsonl"
    tools = open_tools(["detector=world"], record=path)
    assert isinstance(tools.detector, Recorder)
    assert tools.detector.detect(EMPTY) == []
    again = open_tools([f"detector=replay:{path}"], record=tmp_path / "other.jsonl")
    assert isinstance(again.detector, Replay)
    assert again.detector.detect(EMPTY) == []
    assert again.names == tools.names == {"detector": "world:correlation/2"}
    assert not (tmp_path / "other.jsonl").exists()


def test_embedders_may_be_several(tmp_path):
    class Plain:
        def __init__(self, name):
            self.name = name

        def embed(self, pictures):
            return np.ones((len(pictures), 2), np.float32)

    path = tmp_path / "answers.jsonl"
    for name in ("one", "two"):
        Recorder(Plain(name), path).embed([EMPTY])
    tools = open_tools([f"embedders=replay:{path}#{name}" for name in ("two", "one")])
    assert tools.names == {"embedders": ["two", "one"]}
    with pytest.raises(ConfigError, match="there is a tool for 'detector' already"):
        open_tools(["detector=world", "detector=world"])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RequestError, match="no file of recorded answers"):
        open_tools([f"judge=replay:{tmp_path / 'none.jsonl'}"])
