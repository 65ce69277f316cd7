"""What lmms-eval asks becomes items and settings; what a session makes becomes its answers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mogao.bridges.lmms_requests import (
    Request,
    answer_text,
    engine_config,
    from_context,
    from_messages,
    ignored_settings,
    played,
    request_of,
    settings_of,
)
from mogao.config import GenerationConfig, TextSamplingConfig
from mogao.data.images import read_image
from mogao.errors import ConfigError, RequestError
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.reply import Reply
from mogao.sequence import ImageSegment, Segment, TextSegment
from tests.tiny import picture, tiny_generation

OWN = GenerationConfig(text=TextSamplingConfig(temperature=0.5, stop=("##",), max_tokens=9))
HELLO = TextSegment("hi", "user")


def shown(segments: list[Segment]) -> list[tuple[str, str]]:
    """Roles with texts, or with the red of the first pixel of a picture."""
    return [
        (s.role, s.text if isinstance(s, TextSegment) else str(s.pixels[0, 0, 0])) for s in segments
    ]


def read_messages(messages: list[dict[str, Any]]) -> list[Segment]:
    return from_messages(messages, max_pixels=4096, where="task/3")


def read_context(text: str, visuals: list[Any] | None) -> list[tuple[str, str]]:
    return shown(from_context(text, visuals, max_pixels=4096, where="task/3"))


def red(value: int) -> Image.Image:
    return Image.new("RGB", (32, 16), (value, 0, 0))


def request(asked=None, want="text", *, k=0, segments=(HELLO,)) -> Request:
    place = ("a task/b", 7, k)
    return request_of(place, segments, asked=asked or {}, generation=tiny_generation(), want=want)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (0.5, 9, ("##",))),
        ({"max_new_tokens": 300, "until": ["\n\n", "Q:"]}, (0.5, 300, ("\n\n", "Q:"))),
        ({"until": "\n"}, (0.5, 9, ("\n",))),
        ({"until": []}, (0.5, 9, ())),
        ({"until": None, "temperature": None, "max_new_tokens": None}, (0.5, 9, ("##",))),
        ({"temperature": 0.25}, (0.25, 9, ("##",))),
        ({"temperature": 0.25, "do_sample": False}, (0.0, 9, ("##",))),
        ({"do_sample": True}, (1.0, 9, ("##",))),
        ({"do_sample": True, "temperature": 0}, (0.0, 9, ("##",))),
        ({"text.max_tokens": 4}, (0.5, 4, ("##",))),
    ],
)
def test_settings_of_a_task_replace_those_of_the_model(asked, expected):
    text = settings_of(asked, OWN, where="x").text
    assert (text.temperature, text.max_tokens, text.stop) == expected


def test_greedy_decoding_needs_no_share():
    assert settings_of({"temperature": 0, "top_p": 0}, OWN, where="x").text.top_p == 1
    assert settings_of({"temperature": 1, "top_p": 0.3}, OWN, where="x").text.top_p == 0.3
    with pytest.raises(ConfigError, match="top_p"):
        settings_of({"temperature": 1, "top_p": 0}, OWN, where="x")


def test_settings_with_a_dot_are_ours():
    assert settings_of({"image.num_steps": 3}, OWN, where="x").image.num_steps == 3
    with pytest.raises(ConfigError, match="num_stepz"):
        settings_of({"image.num_stepz": 3}, OWN, where="x")


def test_beams_are_refused_and_foreign_settings_named():
    assert settings_of({"num_beams": 1}, OWN, where="x") == OWN
    with pytest.raises(RequestError, match=r"task/1: num_beams = 4.*--gen_kwargs num_beams=1"):
        settings_of({"num_beams": 4}, OWN, where="task/1")
    asked = {"image_aspect_ratio": "pad", "until": [], "image.num_steps": 1, "num_beams": 1}
    assert ignored_settings(asked) == ["image_aspect_ratio"]


def test_a_task_says_what_it_wants_before_the_model_does():
    assert request().item.want == "text"
    assert request({"want": "document"}, "picture").item.want == "document"
    with pytest.raises(RequestError, match=r"want = 'pictures'; did you mean 'picture'"):
        request({"want": "pictures"})


def test_messages_keep_roles_and_the_places_of_pictures():
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [
            {"type": "text", "text": "one"}, {"type": "image", "url": red(10)},
            {"type": "text", "text": "two"}, {"type": "image", "url": red(20)},
            {"type": "text", "text": " "}]},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
    ]  # fmt: skip
    assert shown(read_messages(messages)) == [
        ("system", "Be short."), ("user", "one"), ("user", "10"), ("user", "two"), ("user", "20"),
        ("model", "yes"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"role": "tool", "content": "x"}, "task/3: role 'tool'"),
        ({"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}, "type 'video'"),
        ({"role": "user", "content": [{"type": "image", "url": "http://a/b.png"}]}, "no picture"),
        ({"role": "user", "content": [{"type": "image", "url": red(1).resize((8, 8))}]}, "task/3"),
        ({"role": "user", "content": [{"type": "image", "url": red(1).resize((99, 99))}]}, "4096"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(message, found: str):
    with pytest.raises(RequestError, match=found):
        read_messages([message])


def test_pictures_of_a_text_stand_at_their_marks_or_before_it(tmp_path: Path):
    path = tmp_path / "a.png"
    red(30).save(path)
    assert read_context("what?", None) == [("user", "what?")]
    assert read_context("what?", [red(1), str(path)]) == [
        ("user", "1"), ("user", "30"), ("user", "what?"),
    ]  # fmt: skip
    assert read_context("a <image> b<image>", [red(1), path]) == [
        ("user", "a "), ("user", "1"), ("user", " b"), ("user", "30"),
    ]  # fmt: skip
    assert read_context("<image> b", [red(1), red(2)]) == [
        ("user", "1"), ("user", "2"), ("user", "<image> b"),
    ]  # fmt: skip


def test_pictures_are_answered_as_files_and_texts_as_they_are(tmp_path: Path):
    said = Reply([TextSegment("yes")])
    drawn = Reply([TextSegment("a"), ImageSegment(picture(1)), ImageSegment(picture(2))])
    assert answer_text(request(), said, folder=tmp_path) == "yes"
    assert answer_text(request(want="document"), said, folder=tmp_path) == "yes"
    found = json.loads(answer_text(request(want="document", k=2), drawn, folder=tmp_path))
    names = [tmp_path / "a%20task%2Fb" / "7" / f"2-{number}.png" for number in range(2)]
    assert found == {"text": "a", "images": [str(name) for name in names]}
    assert np.array_equal(read_image(names[1]), picture(2))
    assert json.loads(answer_text(request(want="picture"), Reply(), folder=tmp_path)) == {
        "text": "", "images": [],
    }  # fmt: skip


def test_a_session_makes_what_is_wanted_whatever_else_runs(model: Mogao):
    seen: tuple[Segment, ...] = (ImageSegment(picture(3), "user"), TextSegment("go on", "user"))
    asked = {"do_sample": True, "max_new_tokens": 5}
    wanted = [
        request(asked | {"want": want}, segments=seen) for want in ("text", "picture", "document")
    ]
    replies = []
    for requests in (wanted, wanted[::-1]):
        with Engine(model.parts, generation=model.generation) as engine:
            jobs = [partial(played, one) for one in requests]
            replies.append(list(engine.map(jobs, seeds=[5, 5, 5])))
    text, drawn, document = replies[0]
    assert not text.images
    assert 0 < text.text_tokens <= 5
    assert [image.size for image in drawn.images] == [(32, 32)]
    assert document.text_tokens <= 5
    assert replies[1][2].text == text.text


def test_a_text_ends_before_a_stop_string(model: Mogao):
    asked = {"do_sample": True, "max_new_tokens": 12}

    def said(asked) -> str:
        return played(request(asked), model.session(seed=1)).text

    whole = said(asked)
    assert said(asked | {"until": [whole[3]]}) == whole[: whole.index(whole[3])]


def test_what_a_session_refuses_names_the_request(model: Mogao):
    with pytest.raises(RequestError, match=r"a%20task%2Fb/7: the prompt is empty"):
        played(request(segments=()), model.session())


@pytest.mark.parametrize(
    ("batch_size", "most", "active"),
    [(3, None, 3), ("5", None, 5), ("auto", None, 16), ("auto:4", 6, 6), ("auto", 2, 2)],
)
def test_a_batch_is_what_runs_at_a_time(batch_size, most: int | None, active: int):
    assert engine_config(batch_size, most=most).max_active == active


def test_a_batch_is_a_number():
    with pytest.raises(ConfigError, match="batch_size"):
        engine_config("many")
    with pytest.raises(ConfigError, match="batch_size"):
        engine_config(0)
