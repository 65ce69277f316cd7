"""Texts in an engine: written by its worker, read by their job or by nobody."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator

import pytest
import torch

from mogao.config import TextSamplingConfig
from mogao.errors import CancelledError, RequestError
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.events import Event, ImageFinished, TextDelta
from mogao.sampling.session import Session
from tests.tiny import tiny_generation


def write(session: Session) -> str:
    session.extend("once upon a time", role="user")
    return session.generate_text(max_tokens=12)


class Endless:
    """A grammar without an end, as quick as a test needs it."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def allowed(self, ids):  # noqa: ARG002 - the protocol
        time.sleep(self.seconds)
        allowed = torch.ones(272, dtype=torch.bool)
        allowed[:8] = False
        return allowed


def read_one(
    session: Session, *, max_tokens: int, seconds: float = 0.0
) -> Generator[Event, None, None]:
    """Begin a text and read its first characters."""
    session.extend("once upon a time")
    stream = session.stream(max_tokens=max_tokens, grammar=Endless(seconds=seconds))
    next(stream)
    return stream


def until(condition: Callable[[], object]) -> bool:
    limit = time.monotonic() + 30
    while not condition() and time.monotonic() < limit:
        time.sleep(0.005)
    return bool(condition())


def test_a_text_goes_on_while_its_reader_waits(engine: Engine) -> None:
    gate, begun, seen = threading.Event(), threading.Event(), list[int]()

    def slow_reader(session: Session) -> int:
        stream = read_one(session, max_tokens=60)
        seen.append(engine.metrics().tokens)
        begun.set()
        gate.wait(30)
        return sum(len(event.text) for event in stream if isinstance(event, TextDelta))

    ticket = engine.submit(slow_reader)
    assert begun.wait(30)
    assert until(lambda: engine.metrics().tokens >= len("once upon a time") + 60)
    assert seen[0] < len("once upon a time") + 60
    gate.set()
    assert ticket.result(timeout=30.0) > 0


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_what_follows_a_text_left_early_does_not_depend_on_when(
    model: Mogao, engine: Engine, pause: float
) -> None:
    text = TextSamplingConfig(max_tokens=8, temperature=1.0)
    settings = tiny_generation().model_copy(update={"text": text})

    def leave(session: Session) -> str:
        stream = read_one(session, max_tokens=40)
        time.sleep(pause)
        stream.close()
        assert len(session.sequence.segments) == 1
        return session.generate_text(max_tokens=12)

    alone = leave(model.session(seed=1, generation=settings))
    other = model.session(seed=1, generation=settings)
    other.extend("once upon a time")
    tickets = [engine.submit(leave, seed=1, generation=settings), engine.submit(write)]
    assert tickets[0].result(timeout=30.0) == alone
    assert other.generate_text(max_tokens=12) != alone


def test_a_whole_picture_leaves_the_draws_where_a_stream_leaves_them(model: Mogao) -> None:
    one, other = (model.session(seed=1, generation=tiny_generation()) for _ in range(2))
    for session in (one, other):
        session.extend("a cat")
    first = one.generate_image()
    events = list(other.stream(force_image=True, max_images=1, max_tokens=0))
    (drawn,) = (event for event in events if isinstance(event, ImageFinished))
    assert (first.pixels == drawn.pixels).all()
    assert (one.generate_image().pixels == other.generate_image().pixels).all()


def test_a_forgotten_stream_that_the_collector_finds_stops_nobody(engine: Engine) -> None:
    def forget(session: Session) -> None:
        circle: list[object] = [read_one(session, max_tokens=5000, seconds=0.002)]
        circle.append(circle)

    assert engine.submit(forget).result(timeout=30.0) is None
    collector = threading.Thread(target=gc.collect)
    collector.start()
    assert engine.submit(write).result(timeout=30.0)
    gc.collect()
    collector.join()
    assert until(lambda: not engine._asked)
    assert engine.submit(write).result(timeout=30.0)


def test_the_collector_may_find_a_stream_in_the_worker(engine: Engine) -> None:
    """A stream is left in the very thread that writes its text."""
    streams = list[Generator[Event, None, None]]()

    class Leaves(Endless):
        def allowed(self, ids):
            if len(ids) == 4 and streams:
                streams.pop().close()
            return super().allowed(ids)

    def other(session: Session) -> str:
        session.extend("x")
        return session.generate_text(max_tokens=8, grammar=Leaves())

    def held(session: Session) -> str:
        streams.append(read_one(session, max_tokens=5000))
        told = engine.submit(other)
        assert until(lambda: told.is_done)
        return told.result() + session.generate_text(max_tokens=3)

    assert engine.submit(held).result(timeout=60.0)


def test_a_job_may_read_two_texts_in_turn(model: Mogao, engine: Engine) -> None:
    def both(session: Session) -> str:
        session.extend("once upon a time")
        forks = [session.fork(seed=seed) for seed in (1, 2)]
        streams = [fork.stream(forbid_images=True, max_tokens=9) for fork in forks]
        for _ in zip(*streams, strict=False):
            pass
        for stream in streams:
            list(stream)
        return "|".join(fork.sequence.text for fork in forks)

    alone = both(model.session(generation=tiny_generation()))
    tickets = [engine.submit(both), engine.submit(write)]
    assert tickets[0].result(timeout=30.0) == alone
    assert tickets[1].result(timeout=30.0)


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_a_text_that_nobody_reads_can_be_cancelled(model: Mogao, way: str) -> None:
    gate, begun = threading.Event(), threading.Event()

    def paused(session: Session) -> None:
        stream = read_one(session, max_tokens=5000, seconds=0.002)
        begun.set()
        gate.wait(30)
        list(stream)

    with Engine(model.parts, generation=tiny_generation()) as engine:
        ticket = engine.submit(paused)
        assert begun.wait(30)
        if way == "cancel":
            ticket.cancel()
            assert until(lambda: not engine._asked)
            gate.set()
        else:
            threading.Timer(0.1, gate.set).start()
            engine.close()
        with pytest.raises(CancelledError):
            ticket.result(timeout=30.0)


def test_a_grammar_that_uses_its_engine_is_refused(engine: Engine) -> None:
    class Uses(Endless):
        def __init__(self, session: Session) -> None:
            super().__init__()
            self.session = session

        def allowed(self, ids):
            if ids:
                self.session.generate_text(max_tokens=1)
            return super().allowed(ids)

    def wrong(session: Session) -> str:
        session.extend("x")
        return session.generate_text(max_tokens=4, grammar=Uses(session.fork()))

    with pytest.raises(RequestError, match="cannot wait for itself"):
        engine.submit(wrong).result(timeout=30.0)


def test_an_exit_in_a_grammar_ends_its_own_job(engine: Engine) -> None:
    class Exits(Endless):
        def allowed(self, ids):
            if ids:
                raise SystemExit(1)
            return super().allowed(ids)

    def leave(session: Session) -> str:
        session.extend("x")
        return session.generate_text(max_tokens=4, grammar=Exits())

    with pytest.raises(SystemExit):
        engine.submit(leave).result(timeout=30.0)
    assert engine.submit(write).result(timeout=30.0)


def test_a_grammar_without_a_way_on_ends_its_own_job(engine: Engine) -> None:
    class Dead:
        def allowed(self, ids):
            return torch.zeros(272, dtype=torch.bool) if len(ids) > 2 else None

    def stuck(session: Session) -> str:
        session.extend("once upon a time")
        return session.generate_text(max_tokens=12, grammar=Dead())

    bad, good = engine.submit(stuck), engine.submit(write)
    with pytest.raises(RequestError, match="grammar allows no token"):
        bad.result(timeout=30.0)
    assert good.result(timeout=30.0)
