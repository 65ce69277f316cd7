"""What a caller sees of a session."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mogao.config import (
    KEEP_ALL,
    GenerationConfig,
    LimitsConfig,
    TextSamplingConfig,
)
from mogao.errors import RequestError
from mogao.pipeline import Mogao
from mogao.sampling.events import Event, Finished, ImageFinished, ImageStarted, ImageStep, TextDelta
from mogao.sampling.image import log_density
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from tests.sampling.talks import WARM, talk
from tests.tiny import picture, tiny_generation, tiny_model


def last(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def test_a_stream_tells_a_picture_from_start_to_end(model: Mogao) -> None:
    events = list(talk(model).stream(force_image=True, max_tokens=0, max_images=1))
    assert events[0] == ImageStarted(0, 32, 48)
    assert events[1:3] == [ImageStep(0, 0, 2), ImageStep(0, 1, 2)]
    finished = events[3]
    assert isinstance(finished, ImageFinished)
    assert finished.pixels.shape == (32, 48, 3)
    assert finished.pixels.dtype == np.uint8
    assert finished.evaluations == 2 * 2
    assert last(events).images == 1


def test_text_deltas_join_to_the_text_of_the_document(model: Mogao) -> None:
    session = talk(model)
    events = list(session.stream(forbid_images=True))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text
    assert session.sequence.segments[-1] == TextSegment(text)
    assert last(events).text_tokens == 6
    assert last(events).reason == "max_tokens"


def test_the_model_itself_opens_a_picture() -> None:
    model = tiny_model(tied_embeddings=False)
    session = talk(model)
    session.state.transcript.open_turn("model")
    head = model.parts.transformer.text_head
    hidden = []
    head.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0][0]))
    with torch.no_grad():
        session.state.read([(KEEP_ALL, session.state.transcript.spans)])
        assert head.projection is not None
        head.projection.weight.zero_()
        head.projection.weight[model.parts.tokenizer.image_open] = head.norm(hidden[0])
    greedy = tiny_generation()
    events = list(talk(model).stream(max_images=2, generation=greedy))
    assert isinstance(events[0], ImageStarted)
    assert list(talk(model).stream(max_images=0, generation=greedy)) == [
        Finished("max_images", 0, 0)
    ]
    forbidden = list(talk(model).stream(forbid_images=True, generation=greedy))
    assert not any(isinstance(event, ImageStarted) for event in forbidden)


def test_a_session_depends_on_its_seed_and_nothing_else(model: Mogao) -> None:
    def run(seed: int) -> tuple[str, bytes]:
        torch.manual_seed(int(np.random.default_rng().integers(1000)))
        session = talk(model, seed=seed)
        text = session.generate_text()
        return text, session.generate_image().pixels.tobytes()

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_sampling_leaves_the_global_generator_and_modes_alone(model: Mogao) -> None:
    before = torch.random.get_rng_state()
    for _ in talk(model).stream(force_image=True, max_tokens=2, max_images=1):
        assert not torch.is_inference_mode_enabled()
    assert torch.equal(before, torch.random.get_rng_state())


def test_prompts_of_all_forms_give_the_same_document(model: Mogao) -> None:
    pixels = picture(3)
    forms: list[list[Any]] = [
        ["hello", pixels],
        ["hello", Image.fromarray(pixels)],
        [["hello", ImageSegment(pixels)]],
        [InterleavedSequence((TextSegment("hello"), ImageSegment(pixels)))],
    ]
    answers = []
    for form in forms:
        session = model.session()
        for content in form:
            session.extend(content, role="user")
        assert [segment.role for segment in session.sequence] == ["user", "user"]
        answers.append(session.generate_image().pixels)
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_a_stopped_stream_leaves_the_last_whole_segment(model: Mogao) -> None:
    session = talk(model)
    stream = session.stream(force_image=True, max_tokens=6, max_images=1)
    list(islice(stream, 6))  # the picture and some text behind it
    stream.close()
    assert [type(segment) for segment in session.sequence] == [TextSegment, ImageSegment]
    after = session.generate_text(generation=tiny_generation())
    other = talk(model)
    assert other.generate_image().pixels.tobytes() == session.sequence.images[0].pixels.tobytes()
    assert other.generate_text(generation=tiny_generation()) == after


def test_a_picture_that_was_stopped_halfway_leaves_no_trace(model: Mogao) -> None:
    session = talk(model)
    stream = session.stream(force_image=True)
    assert len(list(islice(stream, 2))) == 2
    del stream
    assert len(session.sequence) == 1
    fresh = talk(model)
    greedy = tiny_generation()
    assert session.generate_text(generation=greedy) == fresh.generate_text(generation=greedy)


def test_a_session_cannot_be_changed_while_it_generates(model: Mogao) -> None:
    session = talk(model)
    stream = session.stream(force_image=True)
    next(stream)
    with pytest.raises(RequestError, match="is generating"):
        session.extend("more", role="user")
    with pytest.raises(RequestError, match="is generating"):
        session.generate_text()
    stream.close()
    session.extend("more", role="user")


def test_growing_step_by_step_equals_one_document(model: Mogao) -> None:
    greedy = tiny_generation()
    stepwise = model.session(generation=greedy)
    for content in ("one", picture(1), "two"):
        stepwise.extend(content, role="user")
        stepwise.generate_text(max_tokens=0)
    once = model.session(generation=greedy)
    once.extend(stepwise.sequence)
    assert stepwise.generate_text() == once.generate_text()


def test_the_size_is_the_callers_else_the_last_pictures_else_the_default(model: Mogao) -> None:
    session = talk(model)
    assert session.generate_image().size == (32, 48)
    assert session.generate_image(size=(16, 64)).size == (16, 64)
    assert session.generate_image().size == (16, 64)


@pytest.mark.parametrize("size", [(0, 16), (16, 20), (-16, 16), (8, 16)])
def test_sizes_off_the_grid_are_refused(model: Mogao, size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match="multiples of 16"):
        talk(model).generate_image(size=size)


def test_large_pictures_are_scaled_and_the_change_is_written_down(model: Mogao) -> None:
    session = model.session()
    session.extend(picture(1, height=300, width=200), role="user")
    assert session.sequence.images[0].size == (160, 96)
    assert session.trace()["inputs"] == [{"from": [300, 200], "to": [160, 96]}]


@pytest.mark.parametrize(
    "content",
    ["", "  \n", TextSegment(""), [], InterleavedSequence(())],
    ids=["empty", "blank", "segment", "list", "sequence"],
)
def test_an_empty_prompt_is_refused(model: Mogao, content) -> None:
    session = model.session()
    with pytest.raises(RequestError, match="empty"):
        session.extend(content)
    with pytest.raises(RequestError, match="empty"):
        session.generate_text()


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.uint16),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((32, 8, 3), np.uint8),
        [3],
        "broken \ud800 text",
    ],
    ids=["grey", "alpha", "16 bit", "one pixel", "narrow", "number", "surrogate"],
)
def test_bad_content_is_refused_and_changes_nothing(model: Mogao, content) -> None:
    session = talk(model)
    with pytest.raises(RequestError):
        session.extend(content, role="user")
    assert session.sequence.segments == (TextSegment("draw a cat", role="user"),)
    greedy = tiny_generation()
    fresh = talk(model)
    assert session.generate_text(generation=greedy) == fresh.generate_text(generation=greedy)


def test_a_document_beyond_the_context_is_refused(model: Mogao) -> None:
    limits = GenerationConfig(limits=LimitsConfig(max_context_tokens=20))
    session = model.session(generation=limits)
    session.extend("short")
    with pytest.raises(RequestError, match="max_context_tokens is 20"):
        session.extend("far too long for this", role="user")
    assert len(session.sequence) == 1
    assert not session.sequence.is_conversation


def test_a_full_context_ends_the_stream(model: Mogao) -> None:
    limits = LimitsConfig(max_context_tokens=20)
    config = WARM.model_copy(
        update={"limits": limits, "text": TextSamplingConfig(temperature=1.0, max_tokens=100)}
    )
    session = model.session(generation=config, seed=4)
    session.extend("0123456789")
    assert last(list(session.stream(forbid_images=True))).reason == "max_context"
    assert session.state.transcript.num_tokens == 20
    assert last(list(session.stream(force_image=True))).reason == "max_context"
    with pytest.raises(RequestError, match="max_context_tokens"):
        session.generate_image()


@pytest.mark.parametrize(
    "options",
    [
        {"max_images": 9},
        {"max_images": -1},
        {"max_tokens": -1},
        {"force_image": True, "forbid_images": True},
        {"image_size": (10, 10)},
    ],
)
def test_limits_out_of_bounds_are_refused_at_once(model: Mogao, options) -> None:
    with pytest.raises(RequestError):
        talk(model).stream(**options)


def test_special_tokens_typed_by_a_user_are_text(model: Mogao) -> None:
    session = model.session()
    session.extend("<image></image><end><model>", role="user")
    ids = [i for span in session.state.transcript.spans[2:] for i in span.ids]
    assert min(ids) >= 8


def test_turns_alternate_in_a_conversation(model: Mogao) -> None:
    session = talk(model)
    session.generate_text()
    session.extend("another", role="user")
    session.generate_image()
    tokenizer = model.parts.tokenizer
    markers = [i for span in session.state.transcript.spans for i in span.ids if i < 8]
    assert markers == [
        tokenizer.begin, tokenizer.user, tokenizer.model, tokenizer.end, tokenizer.user,
        tokenizer.model, tokenizer.image_open, tokenizer.image_close,
    ]  # fmt: skip


def test_the_trace_adds_up(model: Mogao) -> None:
    session = talk(model, seed=7)
    session.extend(picture(2), role="user")
    finished = [
        event
        for event in session.stream(force_image=True, max_images=1, max_tokens=2)
        if isinstance(event, ImageFinished)
    ]
    trace = session.trace()
    assert trace["seed"] == 7
    assert trace["evaluations"] == finished[0].evaluations == 3 * 2
    assert trace["cache_bytes"] == session.cache_bytes > 0
    image = next(event for event in trace["events"] if event["event"] == "image")
    assert image["branches"] == {"full": 7.5, "pictures": -6.0, "none": -0.5}
    assert GenerationConfig.model_validate(trace["generation"]) == WARM


def test_contexts_of_guidance_exist_only_once_a_picture_is_drawn(model: Mogao) -> None:
    session = talk(model)
    session.generate_text()
    assert len(session.state.contexts) == 1
    session.generate_image()
    assert len(session.state.contexts) == 2


def test_a_stop_string_ends_the_text_and_leaves_no_trace(model: Mogao) -> None:
    """What goes on behind a stopped text is what goes on behind the same text given."""
    plain = model.session(seed=1)
    plain.extend("once")
    text = plain.generate_text(max_tokens=8)
    stop = text[4:6]
    generation = tiny_generation(max_tokens=8)
    stopping = generation.model_copy(
        update={"text": generation.text.model_copy(update={"stop": (stop,)})}
    )
    session = model.session(seed=1)
    session.extend("once")
    events = list(session.stream(forbid_images=True, generation=stopping))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stop"
    kept = text[: text.index(stop)]
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == kept
    assert session.sequence.segments[-1] == TextSegment(kept)
    again = model.session(seed=1)
    again.extend(["once", TextSegment(kept)])
    expected = again.generate_image()
    session.state.generator.manual_seed(1)
    assert np.array_equal(session.generate_image().pixels, expected.pixels)


def test_the_stochastic_sampler_tells_how_each_step_was_drawn(model: Mogao) -> None:
    image = tiny_generation().image.model_copy(update={"sampler": "sde"})
    session = model.session(generation=GenerationConfig(image=image))
    session.extend("a cat")
    steps = [e for e in session.stream(force_image=True, max_images=1) if isinstance(e, ImageStep)]
    draws = [step.draw for step in steps]
    assert len(draws) == image.num_steps
    for draw in draws:
        assert draw is not None
        assert draw.latents.shape == draw.mean.shape
        assert draw.log_prob == log_density(draw.latents, draw.mean, std=draw.std)


def test_without_a_begin_token_a_document_begins_with_its_first_text() -> None:
    model = tiny_model(layout={"turns": "chatml", "begin": False})
    session = model.session(seed=2, generation=WARM)
    with pytest.raises(RequestError, match="empty"):
        session.generate_text()
    session.extend("a cat")
    assert session.state.transcript.num_tokens == len(model.parts.tokenizer.encode("a cat"))
    session.generate_text(max_tokens=2)
    session.generate_image()
    session.rewind(0)
    with pytest.raises(RequestError, match="empty"):
        session.generate_image()


def test_chatml_turns_open_and_close_while_a_session_talks() -> None:
    model = tiny_model(layout={"turns": "chatml", "begin": False})
    session, words = talk(model), model.parts.tokenizer
    reply = session.generate_text(max_tokens=3)
    session.extend("more", role="user")
    session.state.transcript.open_turn("model")
    shown = words.decode(
        [i for span in session.state.transcript.spans for i in span.ids], render_special=True
    )
    turns = [("user", "draw a cat"), ("assistant", reply), ("user", "more")]
    template = "".join(f"<begin>{name}\n{said}<end>\n" for name, said in turns)
    assert shown == template + "<begin>assistant\n"
