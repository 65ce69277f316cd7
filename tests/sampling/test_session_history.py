"""Sessions that fork, go back, show previews and run out of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mogao.config import (
    KEEP_ALL,
    Drop,
    GenerationConfig,
)
from mogao.errors import RequestError
from mogao.pipeline import Mogao
from mogao.sampling.cache import held_bytes
from mogao.sampling.events import Finished, ImageStarted, ImageStep
from mogao.sequence import ImageSegment
from tests.sampling.talks import talk
from tests.tiny import picture, tiny_generation


def changed(generation: GenerationConfig, **parts: dict[str, object]) -> GenerationConfig:
    data = generation.model_dump()
    return GenerationConfig.model_validate(
        {name: value | parts.get(name, {}) for name, value in data.items()}
    )


def test_a_fork_goes_on_as_the_session_itself_would(model: Mogao) -> None:
    session = talk(model)
    session.generate_text(max_tokens=4)
    alone = [talk(model), talk(model)]
    for other in alone:
        other.generate_text(max_tokens=4)
    fork = session.fork()
    other_seed = session.fork(seed=7)
    before = session.cache_bytes
    pixels, text = alone[0].generate_image().pixels, alone[0].generate_text(max_tokens=4)
    for each in (session, fork):
        assert np.array_equal(each.generate_image().pixels, pixels)
        assert each.generate_text(max_tokens=4) == text
    assert not np.array_equal(other_seed.generate_image().pixels, pixels)
    assert before > 0
    assert {"event": "forked", "seed": None} in fork.trace()["events"]
    assert "forked" not in {event["event"] for event in session.trace()["events"]}


def test_a_fork_shares_what_was_read(model: Mogao) -> None:
    session = talk(model)
    session.generate_text(max_tokens=4)
    fork = session.fork()
    caches = [each.state.context(KEEP_ALL).cache for each in (session, fork)]
    assert held_bytes(caches) == session.cache_bytes == fork.cache_bytes


def test_going_back_forgets_and_goes_on_as_before(model: Mogao) -> None:
    session = talk(model)
    count = len(session.sequence)
    state = session.state.generator.get_state()
    first = session.generate_image()
    session.generate_text(max_tokens=4)
    session.rewind(count)
    assert len(session.sequence) == count
    session.state.generator.set_state(state)
    assert np.array_equal(session.generate_image().pixels, first.pixels)
    for wrong in (-1, 99):
        with pytest.raises(RequestError, match="cannot go back"):
            session.rewind(wrong)
    session.rewind(0)
    assert session.sequence.segments == ()
    with pytest.raises(RequestError, match="empty"):
        session.generate_text()


def test_text_behind_two_rewinds_is_that_of_a_new_document(model: Mogao) -> None:
    session = model.session(generation=tiny_generation())
    for text in ("one", "two", "three"):
        session.extend(text)
    session.generate_text()
    session.rewind(2)
    session.rewind(1)
    fresh = model.session(generation=tiny_generation())
    fresh.extend("one")
    with torch.inference_mode():
        (got,), (expected,) = (
            each.state.read([(KEEP_ALL, each.state.transcript.spans)]) for each in (session, fresh)
        )
    assert got.logits is not None
    assert expected.logits is not None
    assert torch.equal(got.logits, expected.logits)


def test_branches_begin_with_what_they_share(model: Mogao) -> None:
    """A large picture at the beginning is read once for the full and the text-free branch."""
    session = model.session()
    session.extend(ImageSegment(picture(1, height=64, width=64), role="model"))
    session.extend("make it red")
    session.generate_image(size=(32, 32))
    full, pictures = (session.state.contexts[d] for d in (KEEP_ALL, Drop(text=True)))
    assert pictures.cache.slabs[0] is full.cache.slabs[0]
    assert session.cache_bytes < full.cache.bytes + pictures.cache.bytes


@pytest.mark.parametrize("kind", ["linear", "decoder"])
def test_previews_come_at_their_turn(model: Mogao, kind: str) -> None:
    settings = {"previews": kind, "preview_every": 2, "num_steps": 5}
    generation = changed(tiny_generation(), image=settings)
    session = talk(model)
    events = list(session.stream(force_image=True, max_tokens=0, max_images=1,
                                 generation=generation))  # fmt: skip
    steps = [event for event in events if isinstance(event, ImageStep)]
    assert [step.preview is not None for step in steps] == [False, True, False, True, False]
    preview = steps[1].preview
    assert preview is not None
    assert preview.shape == (32, 48, 3)
    plain = talk(model)
    plain.generation = changed(tiny_generation(), image={"num_steps": 5})
    assert np.array_equal(plain.generate_image().pixels, session.sequence.images[-1].pixels)


def test_previews_come_after_chosen_steps(model: Mogao) -> None:
    settings = {"previews": "linear", "preview_every": [1, 5], "num_steps": 5}
    generation = changed(tiny_generation(), image=settings)
    events = talk(model).stream(force_image=True, max_tokens=0, max_images=1, generation=generation)
    steps = [event for event in events if isinstance(event, ImageStep)]
    assert [step.preview is not None for step in steps] == [True, False, False, False, True]


def test_time_may_run_out_inside_a_picture(model: Mogao, monkeypatch) -> None:
    longer = changed(tiny_generation(), image={"num_steps": 6}, limits={"max_seconds": 1000.0})
    session = talk(model)
    count = len(session.sequence)
    events = session.stream(force_image=True, generation=longer)
    assert isinstance(next(events), ImageStarted)
    assert isinstance(next(events), ImageStep)
    monkeypatch.setattr("mogao.sampling.plan.Plan.is_late", property(lambda _: True))
    assert list(events) == [Finished("max_seconds", text_tokens=0, images=0)]
    assert len(session.sequence) == count


def test_time_runs_out_between_steps(model: Mogao) -> None:
    hurry = changed(tiny_generation(), limits={"max_seconds": 1e-9})
    session = talk(model)
    count = len(session.sequence)
    events = list(session.stream(generation=hurry))
    assert events == [Finished("max_seconds", text_tokens=0, images=0)]
    assert len(session.sequence) == count
    with pytest.raises(RequestError, match="max_seconds"):
        session.generate_image(generation=hurry)
    with pytest.raises(RequestError, match="max_images = 0"):
        session.generate_image(generation=changed(tiny_generation(), limits={"max_images": 0}))
    with pytest.raises(RequestError, match="exceeds"):
        session.generate_image(generation=changed(tiny_generation(),
                                                  limits={"max_output_pixels": 100}))  # fmt: skip
