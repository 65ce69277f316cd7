"""Spans of a growing document equal those that training lays out for the finished one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.config import TransformerConfig
from mogao.packing.spans import Origin, Span, spans_of
from mogao.sampling.transcript import Transcript, num_picture_tokens
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment
from tests.branches import VARIANTS
from tests.tiny import picture, tiny_config, tiny_generation, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CONFIG = tiny_config().transformer
CHATML = tiny_config(layout={"turns": "chatml", "begin": False}).transformer
PIXELS = picture(1)
# Text of a segment, or None for a picture; and who speaks.
SEGMENTS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.text(max_size=6)), st.sampled_from(["user", "model", "system"])
    ),
    max_size=7,
)


def new_transcript(config: TransformerConfig = CONFIG) -> Transcript:
    return Transcript(TOKENIZER, config, token_pixels=16)


def facts(spans: list[Span]) -> list[tuple[object, ...]]:
    return [(s.origin, s.segment, s.time, s.ids, s.grid) for s in spans]


@given(SEGMENTS, st.sampled_from([CONFIG, CHATML]))
@settings(max_examples=80, deadline=None)
def test_a_transcript_equals_the_training_layout_up_to_the_open_end(
    drawn: list[tuple[str | None, Role]], config: TransformerConfig
) -> None:
    segments: list[Segment] = [
        ImageSegment(PIXELS, role=role) if text is None else TextSegment(text, role=role)
        for text, role in drawn
    ]
    transcript = new_transcript(config)
    for segment in segments:
        transcript.add(segment)
    expected = spans_of(InterleavedSequence(tuple(segments)), TOKENIZER, config)
    if segments and config is CHATML and transcript.is_conversation:
        assert expected.pop().ids == tuple(TOKENIZER.encode("\n"))
        assert expected.pop().ids == (TOKENIZER.end,)
    elif segments and segments[-1].role == "model":
        assert expected.pop().ids == (TOKENIZER.end,)
    assert facts(transcript.spans) == facts(expected)


def test_chatml_turns_are_written_as_the_template_has_them() -> None:
    transcript, words = new_transcript(CHATML), TOKENIZER
    transcript.add(TextSegment("Hi", role="user"))
    transcript.open_turn("model")
    expected = [
        *[words.begin, *words.encode("user\nHi"), words.end, *words.encode("\n")],
        *[words.begin, *words.encode("assistant\n")],
    ]
    assert [i for span in transcript.spans for i in span.ids] == expected
    assert transcript.time == transcript.num_tokens == len(expected)


def test_text_written_token_by_token_is_the_same_document() -> None:
    written, given_ = new_transcript(), new_transcript()
    for transcript in (written, given_):
        transcript.add(TextSegment("hi", role="user"))
    ids = TOKENIZER.encode("yes")
    written.open_turn("model")
    for token in ids:
        written.write_token(token)
    written.finish_text(TextSegment("yes"), ids)
    given_.add(TextSegment("yes"))
    assert [i for s in written.spans for i in s.ids] == [i for s in given_.spans for i in s.ids]
    assert written.time == given_.time
    assert written.num_tokens == given_.num_tokens


def test_going_back_to_a_mark_forgets_everything_behind_it() -> None:
    transcript = new_transcript()
    transcript.add(TextSegment("a"))
    mark, before = transcript.mark(), facts(transcript.spans)
    transcript.open_picture(ImageSegment(picture(1)))
    transcript.finish_picture(ImageSegment(picture(1)))
    transcript.write_token(9)
    transcript.rewind(mark)
    assert facts(transcript.spans) == before
    assert transcript.mark() == mark


def test_the_first_other_speaker_opens_turns_from_the_start() -> None:
    transcript = new_transcript()
    transcript.add(TextSegment("a story"))
    assert Origin.MARKER not in {span.origin for span in transcript.spans}
    transcript.add(TextSegment("go on", role="user"))
    markers = [s.ids[0] for s in transcript.spans if s.origin is Origin.MARKER]
    assert markers == [TOKENIZER.model, TOKENIZER.end, TOKENIZER.user]


def test_tokens_are_counted_as_the_full_context_keeps_them() -> None:
    transcript = new_transcript()
    transcript.add(TextSegment("abc"))
    transcript.add(ImageSegment(picture(1)))
    transcript.add(ImageSegment(picture(1), latents=False))
    assert transcript.num_tokens == 1 + 3 + (2 + 8) + (2 + 4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_picture_will_add_is_known_beforehand(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    session = model.session(generation=tiny_generation())
    session.extend("a cat")
    before = session.state.transcript.num_tokens
    session.generate_image(size=(64, 32))
    layout = model.config.transformer.layout
    added = num_picture_tokens((64, 32), layout, token_pixels=model.config.token_pixels)
    assert session.state.transcript.num_tokens == before + added
