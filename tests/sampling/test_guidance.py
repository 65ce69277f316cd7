"""The table of branches: coefficients, merging, what each keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogao.config import ImageSamplingConfig
from mogao.packing.spans import KEEP_ALL, Drop, Origin, Span
from mogao.sampling.guidance import branches_of, resolve
from mogao.sampling.transcript import Transcript
from mogao.sequence import ImageSegment, Segment, TextSegment
from tests.tiny import picture, tiny_config, tiny_tokenizer

SCALES = st.floats(0.0, 20.0, allow_nan=False)


def spans_behind(*segments: Segment) -> tuple[list[Span], int]:
    transcript = Transcript(tiny_tokenizer(), tiny_config().transformer, token_pixels=16)
    for segment in segments:
        transcript.add(segment)
    transcript.open_turn("model")
    transcript.open_picture(ImageSegment(picture(0)))
    return transcript.spans, transcript.index


@given(SCALES, SCALES)
def test_coefficients_sum_to_one(text: float, image: float) -> None:
    config = ImageSamplingConfig(text_guidance_scale=text, image_guidance_scale=image)
    for segments in (
        [TextSegment("a")],
        [ImageSegment(picture(1)), TextSegment("b", role="user")],
        [ImageSegment(picture(1))],
    ):
        spans, drawn = spans_behind(*segments)
        resolved = resolve(branches_of(config), spans, drawn=drawn)
        assert sum(branch.coefficient for branch, _ in resolved) == pytest.approx(1.0)


def test_defaults_are_those_of_the_paper() -> None:
    assert [branch.coefficient for branch in branches_of(ImageSamplingConfig())] == [7.5, -6, -0.5]


def test_without_earlier_pictures_two_branches_are_left() -> None:
    spans, drawn = spans_behind(TextSegment("a cat"))
    resolved = resolve(branches_of(ImageSamplingConfig()), spans, drawn=drawn)
    assert [branch.coefficient for branch, _ in resolved] == [7.5, -6.5]
    assert [span.origin for span in resolved[1][1]] == [Origin.BEGIN, Origin.OPEN]


def test_without_any_text_two_branches_are_left() -> None:
    spans, drawn = spans_behind(ImageSegment(picture(1)))
    resolved = resolve(branches_of(ImageSamplingConfig()), spans, drawn=drawn)
    assert [(branch.name, branch.coefficient) for branch, _ in resolved] == [
        ("full", 1.5),
        ("none", -0.5),
    ]


def test_role_tokens_are_text_also_where_the_drawn_picture_opens_the_turn() -> None:
    spans, drawn = spans_behind(ImageSegment(picture(1)), TextSegment("red", role="user"))
    resolved = resolve(branches_of(ImageSamplingConfig()), spans, drawn=drawn)
    kept = {branch.name: [span.origin for span in kept] for branch, kept in resolved}
    one_picture = [Origin.OPEN, Origin.PICTURE, Origin.CLOSE]
    assert kept["pictures"] == [Origin.BEGIN, *one_picture, Origin.OPEN]
    assert kept["none"] == [Origin.BEGIN, Origin.OPEN]
    assert Origin.MARKER in kept["full"]


def test_off_has_the_full_context_alone() -> None:
    (branch,) = branches_of(ImageSamplingConfig(guidance="off"))
    assert (branch.drop, branch.coefficient) == (KEEP_ALL, 1.0)


def test_kept_spans_keep_their_time() -> None:
    spans, drawn = spans_behind(TextSegment("a long text"), ImageSegment(picture(1)))
    resolved = resolve(branches_of(ImageSamplingConfig()), spans, drawn=drawn)
    last = [kept[-1] for _, kept in resolved]
    assert {span.time for span in last} == {spans[-1].time}
    assert Drop(text=True) in {branch.drop for branch, _ in resolved}
