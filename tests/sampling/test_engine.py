"""The engine: many sessions together equal each alone; queue, cancellation, errors."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from weakref import WeakSet

import numpy as np
import pytest

from mogao.config import EngineConfig
from mogao.errors import BusyError, CancelledError, RequestError
from mogao.packing.layout import TokenKind
from mogao.pipeline import Mogao
from mogao.sampling import runner
from mogao.sampling.engine import Engine
from mogao.sampling.events import Event, Finished, ImageFinished, ImageStep, TextDelta
from mogao.sampling.session import Session
from mogao.sampling.slabs import Slab, SlabPool
from mogao.sequence import Pixels
from tests.tiny import picture, tiny_generation

Told = tuple[str, list[Pixels]]


def write(session: Session) -> Told:
    session.extend("once upon a time", role="user")
    return session.generate_text(max_tokens=12), []


def draw(session: Session) -> Told:
    session.extend("a cat")
    return "", [session.generate_image().pixels for _ in range(2)]


def edit(session: Session) -> Told:
    session.extend([picture(3, height=32, width=32), "make it red"], role="user")
    image = session.generate_image()
    return session.generate_text(max_tokens=5), [image.pixels]


def choose(session: Session) -> Told:
    """A method of its own: two forks draw, the session goes on with one of them."""
    session.extend("a dog")
    forks = [session.fork(seed=seed) for seed in (1, 2)]
    pictures = [fork.generate_image() for fork in forks]
    best = max(pictures, key=lambda image: int(image.pixels.sum()))
    session.extend(best)
    return session.generate_text(max_tokens=5), [best.pixels]


JOBS: list[Callable[[Session], Told]] = [write, draw, edit, choose]


def same(got: Told, expected: Told) -> bool:
    close = [
        np.abs(a.astype(int) - b.astype(int)).max() <= 1
        for a, b in zip(got[1], expected[1], strict=True)
    ]
    return got[0] == expected[0] and all(close)


@pytest.mark.parametrize("jobs", [[job] * 4 for job in JOBS] + [JOBS * 2], ids=str)
def test_batch_mates_do_not_matter(model: Mogao, engine: Engine, jobs) -> None:
    alone = [
        job(model.session(seed=seed, generation=tiny_generation())) for seed, job in enumerate(jobs)
    ]
    together = list(engine.map(jobs, seeds=range(len(jobs))))
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))
    metrics = engine.metrics()
    assert metrics.jobs == len(jobs)
    assert metrics.joined > 1.5 * metrics.steps


def test_sessions_in_different_phases_share_forward_passes(engine: Engine) -> None:
    list(engine.map([write, draw] * 3, seeds=range(6)))
    alone = EngineConfig(max_active=1)
    assert engine.metrics().joined > 2 * engine.metrics().steps
    with Engine(engine._parts, generation=tiny_generation(), config=alone) as single:
        list(single.map([write, draw] * 3, seeds=range(6)))
        assert single.metrics().joined == single.metrics().steps


def test_steps_beyond_the_budget_wait_their_turn(model: Mogao) -> None:
    config = EngineConfig(step_tokens=8)
    with Engine(model.parts, generation=tiny_generation(), config=config) as engine:
        told = list(engine.map(JOBS, seeds=range(4)))
    alone = [
        job(model.session(seed=seed, generation=tiny_generation())) for seed, job in enumerate(JOBS)
    ]
    assert all(same(a, b) for a, b in zip(told, alone, strict=True))


def test_an_error_belongs_to_its_job(engine: Engine) -> None:
    def broken(session: Session) -> Told:
        session.generate_text()  # the document is empty
        return "", []

    good, bad = engine.submit(write), engine.submit(broken)
    with pytest.raises(RequestError, match="empty"):
        bad.result(timeout=30.0)
    assert good.result(timeout=30.0)[0]
    assert engine.submit(write).result(timeout=30.0) == good.result()


def test_an_error_inside_a_joint_step_is_not_spread(
    model: Mogao, engine: Engine, monkeypatch
) -> None:
    poison = model.parts.tokenizer.encode("~")[0]
    real = runner.run_together
    sizes = []

    def brittle(transformer, steps):
        sizes.append(len(steps))
        for step in steps:
            for group in getattr(step, "groups", []):
                if group.runs[0].kind is TokenKind.TEXT and poison in group.runs[0].content:
                    raise ValueError("poisoned")
        return real(transformer, steps)

    def poisoned(session: Session) -> Told:
        session.extend("~")
        return session.generate_text(), []

    monkeypatch.setattr("mogao.sampling.engine.run_together", brittle)
    tickets = [engine.submit(job) for job in (write, poisoned, draw)]
    assert tickets[0].result(timeout=30.0)[0]
    assert len(tickets[2].result(timeout=30.0)[1]) == 2
    with pytest.raises(ValueError, match="poisoned"):
        tickets[1].result(timeout=30.0)
    assert max(sizes) > 1


def test_events_stream_and_leaving_early_cancels(model: Mogao, engine: Engine) -> None:
    def story(session: Session) -> Iterator[Event]:
        session.extend("a cat")
        return session.stream(force_image=True, max_images=1, max_tokens=6)

    alone = list(story(model.session(seed=3, generation=tiny_generation())))
    events = list(engine.stream(story, seed=3))
    assert [type(event) for event in events] == [type(event) for event in alone]
    texts = ["".join(e.text for e in each if isinstance(e, TextDelta)) for each in (events, alone)]
    assert texts[0] == texts[1]
    assert isinstance(events[-1], Finished)
    started = engine.stream(story, seed=3)
    assert next(started) is not None
    started.close()
    until = time.monotonic() + 30
    while engine.metrics().active and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.metrics().active == 0


def test_a_cancelled_job_ends_and_frees_its_place(engine: Engine) -> None:
    begun = threading.Event()

    def endless(session: Session) -> None:
        session.extend("x")
        begun.set()
        while True:
            session.generate_image()
            session.rewind(1)

    ticket = engine.submit(endless)
    assert begun.wait(30)
    assert not ticket.is_done
    ticket.cancel()
    with pytest.raises(CancelledError):
        ticket.result(timeout=30.0)
    assert engine.submit(write).result(timeout=30.0)[0]


def test_nothing_of_an_ended_job_stays_in_memory(engine: Engine, monkeypatch) -> None:
    slabs: WeakSet[Slab] = WeakSet()
    real = Slab.__init__

    def counted(slab: Slab, pool: SlabPool, num_rows: int) -> None:
        real(slab, pool, num_rows)
        slabs.add(slab)

    monkeypatch.setattr(Slab, "__init__", counted)

    def broken(session: Session) -> Told:
        write(session)
        raise ValueError("broken")

    def left(session: Session) -> None:
        session.extend("x")
        stream = session.stream(force_image=True)
        next(event for event in stream if isinstance(event, ImageStep))
        reached.set()
        list(stream)

    reached = threading.Event()
    tickets = [engine.submit(job) for job in (write, broken, draw)]
    cancelled = engine.submit(left)
    assert reached.wait(30)
    cancelled.cancel()
    with pytest.raises(CancelledError):
        cancelled.result(timeout=30.0)
    del cancelled
    with pytest.raises(ValueError, match="broken"):
        tickets[1].result(timeout=30.0)
    assert tickets[0].result(timeout=30.0)[0]
    assert tickets[2].result(timeout=30.0)[1]
    until = time.monotonic() + 10
    while len(slabs) and time.monotonic() < until:
        time.sleep(0.01)
        gc.collect()
    assert len(slabs) == 0


def test_a_cancelled_job_leaves_the_line_at_once(model: Mogao) -> None:
    gate = threading.Event()

    def held(_: Session) -> None:
        gate.wait(30)

    config = EngineConfig(max_active=1, max_waiting=1)
    with Engine(model.parts, generation=tiny_generation(), config=config) as engine:
        first = engine.submit(held)
        second = engine.submit(write)
        second.cancel()
        with pytest.raises(CancelledError):
            second.result(timeout=1.0)
        third = engine.submit(write)
        gate.set()
        first.result(timeout=30.0)
        assert third.result(timeout=30.0)[0]


def test_a_stream_that_never_began_ends(model: Mogao) -> None:
    gate = threading.Event()
    config = EngineConfig(max_active=1)
    engine = Engine(model.parts, generation=tiny_generation(), config=config)
    engine.submit(lambda _: gate.wait(30))
    stream = engine.stream(lambda session: session.stream())
    threading.Timer(0.2, gate.set).start()
    engine.close()
    with pytest.raises(CancelledError):
        next(stream)


def test_a_dropped_stream_is_cancelled(engine: Engine) -> None:
    def endless(session: Session) -> Iterator[Event]:
        while True:
            session.extend("x")
            yield from session.stream(force_image=True, max_images=1, max_tokens=0)
            session.rewind(0)

    stream = engine.stream(endless)
    del stream
    until = time.monotonic() + 30
    while engine.metrics().active and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.metrics().active == 0


def test_who_waits_for_something_else_holds_nobody_up_for_long(engine: Engine) -> None:
    gate = threading.Event()
    engine.submit(lambda _: gate.wait(30))
    assert engine.submit(write).result(timeout=30.0)[0]
    assert len(engine._slow) == 1
    gate.set()


def test_a_full_queue_refuses_and_waiting_gets_in(model: Mogao) -> None:
    config = EngineConfig(max_active=1, max_waiting=1)
    gate = threading.Event()

    def held(session: Session) -> Told:
        gate.wait(30)
        return write(session)

    with Engine(model.parts, generation=tiny_generation(), config=config) as engine:
        first = engine.submit(held)
        while not engine.metrics().active:
            time.sleep(0.001)
        second = engine.submit(write)
        with pytest.raises(BusyError, match="max_waiting"):
            engine.submit(write)
        threading.Timer(0.05, gate.set).start()
        third = engine.submit(write, wait=True)
        assert (
            first.result(timeout=30.0) == second.result(timeout=30.0) == third.result(timeout=30.0)
        )
    with pytest.raises(BusyError, match="closed"):
        engine.submit(write)


def test_closing_cancels_what_runs(model: Mogao) -> None:
    engine = Engine(model.parts, generation=tiny_generation())
    tickets = [engine.submit(draw, seed=seed) for seed in range(40)]
    engine.close()
    assert all(ticket.is_done for ticket in tickets)
    assert any(ticket._error is not None for ticket in tickets)
    engine.close()


def test_the_queue_of_a_map_stays_bounded(model: Mogao) -> None:
    config = EngineConfig(max_active=2, max_waiting=2)
    made = []

    def jobs() -> Iterator[Callable[[Session], Told]]:
        for number in range(12):
            made.append(number)
            yield write

    with Engine(model.parts, generation=tiny_generation(), config=config) as engine:
        results = engine.map(jobs(), seeds=range(12))
        next(results)
        assert len(made) < 12
        assert len(list(results)) == 11


def test_images_of_events_are_whole(engine: Engine) -> None:
    def story(session: Session) -> Iterator[Event]:
        session.extend("a cat")
        return session.stream(force_image=True, max_images=1, max_tokens=0)

    (image,) = [e for e in engine.stream(story) if isinstance(e, ImageFinished)]
    assert image.pixels.shape == (32, 48, 3)


def test_a_session_outlives_neither_its_job_nor_its_engine(model: Mogao) -> None:
    def hand_over(session: Session) -> Session:
        session.extend("x")
        return session

    with Engine(model.parts, generation=tiny_generation()) as engine:
        session = engine.submit(hand_over).result(timeout=30.0)
        with pytest.raises(RequestError, match="has ended"):
            session.generate_text(max_tokens=1)
    with pytest.raises(RequestError, match="has ended"):
        session.generate_text(max_tokens=1)


def test_an_error_of_the_engine_itself_ends_all_who_wait(model: Mogao, monkeypatch) -> None:
    def broken(self, chosen):  # noqa: ARG001 - the method that it replaces
        raise ZeroDivisionError("a bug")

    gate = threading.Event()

    def late(session: Session) -> Told:
        assert gate.wait(30)
        return write(session)

    with Engine(model.parts, generation=tiny_generation()) as engine:
        monkeypatch.setattr(Engine, "_serve", broken)
        tickets = [engine.submit(late, seed=seed) for seed in range(3)]
        gate.set()  # an engine that breaks at the first job takes no more
        for ticket in tickets:
            with pytest.raises((ZeroDivisionError, CancelledError)):
                ticket.result(timeout=30.0)
        with pytest.raises(BusyError, match="closed"):
            engine.submit(write)


def test_the_memory_of_an_engine_is_counted_by_the_page(engine: Engine) -> None:
    gate, begun = threading.Event(), threading.Event()

    def held(session: Session) -> int:
        write(session)
        begun.set()
        gate.wait(30)
        return session.cache_bytes

    ticket = engine.submit(held)
    assert begun.wait(30)
    counted = engine.metrics().cache_bytes
    gate.set()
    assert counted >= ticket.result(timeout=30.0) > 0
