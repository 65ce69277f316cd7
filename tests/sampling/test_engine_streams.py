"""Streams of an engine: what happens when nobody reads them fast enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from jaxtyping import Bool
from torch import Tensor

from mogao.config import EngineConfig
from mogao.errors import CancelledError
from mogao.pipeline import Mogao
from mogao.sampling.engine import MOST_LATE, PATIENCE, Engine
from mogao.sampling.events import Event, TextDelta
from mogao.sampling.session import Session
from tests.tiny import tiny_generation

MOST = 3


class Counting:
    """A session that has ten events to tell, and how many it got rid of."""

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self, session: Session) -> Iterator[Event]:
        del session
        for number in range(10):
            self.begun += 1
            yield TextDelta(str(number))


def write(session: Session) -> str:
    session.extend("once upon a time", role="user")
    return session.generate_text(max_tokens=4)


@pytest.fixture
def narrow(model: Mogao) -> Iterator[Engine]:
    config = EngineConfig(max_events=MOST)
    with Engine(model.parts, generation=tiny_generation(), config=config) as engine:
        yield engine


def settled(count: Callable[[], int]) -> int:
    """Return a count once it has stood still for a while."""
    last, since = count(), time.monotonic()
    while time.monotonic() < since + 0.3:
        if count() != last:
            last, since = count(), time.monotonic()
        time.sleep(0.01)
    return last


def test_a_session_waits_for_its_reader(narrow: Engine) -> None:
    session = Counting()
    stream = narrow.stream(session)
    assert settled(lambda: session.begun) == MOST + 1
    assert next(stream) == TextDelta("0")
    assert settled(lambda: session.begun) == MOST + 2
    assert [event.text for event in stream if isinstance(event, TextDelta)] == list("123456789")


class Endless:
    """A grammar that forbids the end, so that a text stops at its limit alone."""

    def __init__(self, model: Mogao) -> None:
        config, tokenizer = model.config.transformer, model.parts.tokenizer
        self.allows = torch.ones(config.vocab_size, dtype=torch.bool)
        self.allows[tokenizer.end] = False

    def allowed(self, ids: Sequence[int]) -> Bool[Tensor, " vocab"]:
        del ids
        return self.allows


def test_a_text_waits_for_its_reader(model: Mogao, narrow: Engine) -> None:
    def events(session: Session) -> Iterator[Event]:
        session.extend("once", role="user")
        return session.stream(max_tokens=200, grammar=Endless(model), forbid_images=True)

    stream = narrow.stream(events)
    begun = settled(lambda: narrow.metrics().steps)
    assert begun < 40
    assert isinstance(narrow.submit(write).result(timeout=30.0), str)
    before = settled(lambda: narrow.metrics().steps)
    read = [next(stream) for _ in range(10)]
    assert settled(lambda: narrow.metrics().steps) > before
    assert sum(isinstance(event, TextDelta) for event in [*read, *stream]) > 50


def test_who_is_late_again_and_again_is_waited_for_no_more(narrow: Engine) -> None:
    def slow(session: Session) -> int:
        for _ in range(3 * MOST_LATE):
            time.sleep(3 * PATIENCE)
            session.extend("a", role="user")
            session.generate_text(max_tokens=1)
        return ticket.num_late

    def long(session: Session) -> None:
        while not ticket.has_ended:
            session.extend("b", role="user")
            session.generate_text(max_tokens=1)

    ticket = narrow.submit(slow)
    other = narrow.submit(long)
    assert ticket.result(timeout=60.0) == MOST_LATE
    other.result(timeout=60.0)


def test_others_go_on_while_a_session_waits_for_its_reader(narrow: Engine) -> None:
    unread = narrow.stream(Counting())
    written = narrow.submit(write)
    assert isinstance(written.result(timeout=30.0), str)
    unread.close()


def test_an_unread_stream_does_not_hold_up_the_end(model: Mogao) -> None:
    config = EngineConfig(max_events=MOST)
    engine = Engine(model.parts, generation=tiny_generation(), config=config)
    session = Counting()
    stream = engine.stream(session)
    assert settled(lambda: session.begun) == MOST + 1
    engine.close()
    assert [next(stream) for _ in range(MOST)] == [TextDelta(str(n)) for n in range(MOST)]
    with pytest.raises(CancelledError):
        next(stream)


def test_a_dropped_stream_ends_its_session(narrow: Engine) -> None:
    session = Counting()
    stream = narrow.stream(session)
    assert settled(lambda: session.begun) == MOST + 1
    del stream
    limit = time.monotonic() + 30
    while narrow.metrics().active and time.monotonic() < limit:
        time.sleep(0.01)
    assert narrow.metrics().active == 0
    assert session.begun == MOST + 1
