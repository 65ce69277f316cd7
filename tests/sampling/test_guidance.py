"""Tables of branches: coefficients, merging, what each keeps, what is not computed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogao.config import (
    KEEP_ALL,
    PRESETS,
    Drop,
    DropoutConfig,
    ImageSamplingConfig,
    parse,
    value_at,
)
from mogao.errors import ConfigError
from mogao.packing.spans import Origin, Span, keep
from mogao.sampling.guidance import Guidance, guidance_of, resolve
from mogao.sampling.transcript import Transcript
from mogao.sequence import ImageSegment, Segment, TextSegment
from tests.tiny import picture, tiny_config, tiny_tokenizer

SCALES = st.floats(0.0, 20.0, allow_nan=False)
TIMES = st.floats(0.0, 1.0, exclude_min=True)
CURVES = SCALES | st.dictionaries(st.floats(0, 1), SCALES, min_size=1, max_size=3).map(
    lambda knots: tuple(sorted(knots.items()))
)


def spans_behind(*segments: Segment) -> tuple[list[Span], int]:
    transcript = Transcript(tiny_tokenizer(), tiny_config().transformer, token_pixels=16)
    for segment in segments:
        transcript.add(segment)
    transcript.open_turn("model")
    transcript.open_picture(ImageSegment(picture(0)))
    return transcript.spans, transcript.index


def resolved(
    config: ImageSamplingConfig, *segments: Segment
) -> tuple[Guidance, dict[str, list[Span]]]:
    spans, drawn = spans_behind(*segments)
    guidance, kept = resolve(guidance_of(config), spans, drawn=drawn)
    return guidance, {b.name: part for b, part in zip(guidance.branches, kept, strict=True)}


@given(st.sampled_from(["mogao", "bagel", "bagel_edit", "text_only", "off"]), CURVES, CURVES, TIMES)
def test_coefficients_sum_to_one(name, text, image, t: float) -> None:
    config = ImageSamplingConfig(
        guidance=name, text_guidance_scale=text, image_guidance_scale=image
    )
    for segments in (
        [TextSegment("a")],
        [ImageSegment(picture(1)), TextSegment("b", role="user")],
        [ImageSegment(picture(1))],
    ):
        guidance, _ = resolved(config, *segments)
        assert sum(guidance.coefficients(t)) == pytest.approx(1.0, abs=1e-6)


def test_defaults_are_those_of_the_paper() -> None:
    assert guidance_of(ImageSamplingConfig()).coefficients(0.5) == [7.5, -6, -0.5]


def test_without_earlier_pictures_two_branches_are_left() -> None:
    guidance, kept = resolved(ImageSamplingConfig(), TextSegment("a cat"))
    assert guidance.coefficients(0.5) == [7.5, -6.5]
    assert [span.origin for span in kept["pictures"]] == [Origin.BEGIN, Origin.OPEN]


def test_without_any_text_two_branches_are_left() -> None:
    guidance, kept = resolved(ImageSamplingConfig(), ImageSegment(picture(1)))
    assert list(kept) == ["full", "none"]
    assert guidance.coefficients(0.5) == [1.5, -0.5]


def test_role_tokens_are_text_also_where_the_drawn_picture_opens_the_turn() -> None:
    segments = ImageSegment(picture(1)), TextSegment("red", role="user")
    _, kept = resolved(ImageSamplingConfig(), *segments)
    origins = {name: [span.origin for span in part] for name, part in kept.items()}
    one_picture = [Origin.OPEN, Origin.PICTURE, Origin.CLOSE]
    assert origins["pictures"] == [Origin.BEGIN, *one_picture, Origin.OPEN]
    assert origins["none"] == [Origin.BEGIN, Origin.OPEN]
    assert Origin.MARKER in origins["full"]


def test_off_has_the_full_context_alone() -> None:
    guidance = guidance_of(ImageSamplingConfig(guidance="off"))
    assert [branch.drop for branch in guidance.branches] == [KEEP_ALL]
    assert guidance.coefficients(0.5) == [1.0]


def test_kept_spans_keep_their_time() -> None:
    segments = TextSegment("a long text"), ImageSegment(picture(1))
    spans, _ = spans_behind(*segments)
    _, kept = resolved(ImageSamplingConfig(), *segments)
    assert {part[-1].time for part in kept.values()} == {spans[-1].time}


def test_what_moves_up_lies_where_it_would_without_the_rest() -> None:
    shown = ImageSegment(picture(1))
    spans, drawn = spans_behind(TextSegment("first"), shown, TextSegment("second"))
    alone, _ = spans_behind(TextSegment("first"), shown)
    kept = keep(spans, Drop(last_text=True, keep_positions=False), drawn=drawn)
    assert [(s.origin, s.time) for s in kept] == [(s.origin, s.time) for s in alone]
    texts, _ = spans_behind(TextSegment("first"), TextSegment("second"))
    kept = keep(spans, Drop(images=True, keep_positions=False), drawn=drawn)
    assert [(s.origin, s.time) for s in kept] == [(s.origin, s.time) for s in texts]


def test_tags_select_segments_but_never_the_drawn_picture() -> None:
    spans, drawn = spans_behind(
        TextSegment("keep"), TextSegment("go", tags=("x",)), ImageSegment(picture(1), tags=("y",))
    )
    origins = [s.origin for s in keep(spans, Drop(tags=("x", "y")), drawn=drawn)]
    assert origins == [Origin.BEGIN, Origin.TEXT, Origin.OPEN]
    tagged = ImageSegment(picture(2), tags=("x",))
    transcript = Transcript(tiny_tokenizer(), tiny_config().transformer, token_pixels=16)
    transcript.add(tagged)
    assert len(keep(transcript.spans, Drop(tags=("x",)), drawn=0)) == 4


def test_branches_that_count_for_nothing_are_not_needed() -> None:
    segments = ImageSegment(picture(1)), TextSegment("red", role="user")

    def needed(t: float = 0.5, **settings) -> list[int]:
        return resolved(ImageSamplingConfig(**settings), *segments)[0].needed(t)

    assert needed() == [0, 1, 2]
    assert needed(image_guidance_scale=1.0) == [0, 1]
    assert needed(text_guidance_scale=1.0, image_guidance_scale=1.0) == [0]
    assert needed(text_guidance_scale=0.0, image_guidance_scale=0.0) == [2]
    assert needed(text_guidance_scale=0.0, image_guidance_scale=2.0) == [1, 2]
    # A renorm compares with the full velocity, whatever its coefficient.
    assert needed(text_guidance_scale=0.0, image_guidance_scale=0.0, renorm="global") == [0, 2]
    assert needed(text_guidance_scale=0.0, image_guidance_scale=2.0, renorm="global") == [0, 1, 2]
    assert needed(0.3, guidance="bagel") == [0]
    assert needed(0.5, guidance="bagel") == [0, 1, 2]
    assert needed(guidance="bagel", image_guidance_scale=1.0) == [0, 1]


def test_curves_are_linear_between_knots_and_constant_beyond() -> None:
    curve = ((0.2, 1.0), (0.6, 3.0))
    got = [value_at(curve, t) for t in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert got == pytest.approx([1.0, 1.0, 2.0, 3.0, 3.0])
    assert value_at(5.0, 0.3) == 5.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": "table"}, "come together"),
        ({"branches": [{"name": "a", "coefficient": 1.0}]}, "come together"),
        (
            {"guidance": "table", "branches": [{"name": "a", "coefficient": 2.0}]},
            "sum to 2",
        ),
        (
            {
                "guidance": "table",
                "branches": [
                    {"name": "a", "coefficient": [[0.0, 1.0], [1.0, 2.0]]},
                    {"name": "b", "coefficient": 0.0},
                ],
            },
            "sum to 2 at t = 1",
        ),
        (
            {
                "guidance": "table",
                "renorm_of": "text",
                "branches": [{"name": "a", "coefficient": 1.0}],
            },
            "needs a preset",
        ),
        ({"guidance": "mogoa"}, "guidance"),
        ({"text_guidance_scale": [[0.8, 1.0], [0.2, 5.0]]}, "must rise"),
        ({"text_guidance_scale": [[0.5, 7.0], [0.5, 1.0]]}, "must rise"),
        ({"text_guidance_scale": float("nan")}, "finite"),
        ({"guidance_interval": [0.9, 0.1]}, "is empty"),
        (
            {
                "guidance": "table",
                "branches": [{"name": "a", "drop": {"text": True}, "coefficient": 1.0}],
            },
            "drops nothing",
        ),
    ],
)
def test_bad_tables_are_refused(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(ImageSamplingConfig, settings, where="test")


def test_dropout_knows_the_branches_of_its_preset() -> None:
    for name, preset in PRESETS.items():
        others = list(preset.drops)[1:]
        share = dict.fromkeys(others, 1 / 4)
        assert DropoutConfig(guidance=name, branches=share).branches == share
    with pytest.raises(ConfigError, match="no branches of bagel"):
        parse(DropoutConfig, {"guidance": "bagel", "branches": {"none": 0.1}}, where="test")
    with pytest.raises(ConfigError, match="must not exceed 1"):
        parse(DropoutConfig, {"branches": {"none": 0.6, "pictures": 0.5}}, where="test")
