"""A steady engine forms the same rounds in each run, whatever its jobs do in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mogao.config import EngineConfig
from mogao.pipeline import Mogao
from mogao.sampling.engine import PATIENCE, Engine
from mogao.sampling.session import Session
from mogao.sampling.tickets import Ask
from tests.sampling.test_engine import JOBS, Told

ROUNDS = list[list[int]]
NUM_JOBS = 14


def late(job: Callable[[Session], Told], seconds: Sequence[float]) -> Callable[[Session], Told]:
    """The same job, which begins and ends late."""

    def wait(session: Session) -> Told:
        time.sleep(seconds[0])
        told = job(session)
        time.sleep(seconds[1])
        return told

    return wait


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> ROUNDS:
    """The numbers of the jobs of each round."""
    found: ROUNDS = []
    serve = Engine._serve

    def seen(self: Engine, chosen: Sequence[Ask]) -> None:
        found.append([ask.ticket.number for ask in chosen])
        serve(self, chosen)

    monkeypatch.setattr(Engine, "_serve", seen)
    return found


def run(model: Mogao, *, seed: int) -> list[Told]:
    """Run more jobs than wait at a time; they are late by other times with another seed."""
    config = EngineConfig(max_active=3, max_waiting=8, step_tokens=60, steady=True)
    delays = np.random.default_rng(seed).uniform(0, 2 * PATIENCE, (NUM_JOBS, 2))
    jobs = [late(JOBS[n % len(JOBS)], delays[n]) for n in range(NUM_JOBS)]
    generation = model.generation
    with Engine(model.parts, generation=generation, config=config) as engine:
        return list(engine.map(jobs, seeds=range(NUM_JOBS)))


def test_rounds_and_results_do_not_depend_on_time(model: Mogao, rounds: ROUNDS):
    told = [run(model, seed=0)]
    first = list(rounds)
    rounds.clear()
    told.append(run(model, seed=1))
    assert rounds == first
    assert max(map(len, rounds)) == 3
    for (one, drawn), (other, again) in zip(*told, strict=True):
        assert one == other
        assert all((a == b).all() for a, b in zip(drawn, again, strict=True))


def test_a_queue_that_others_fill_holds_nothing_up(model: Mogao):
    config = EngineConfig(max_active=1, max_waiting=2, steady=True)
    with Engine(model.parts, generation=model.generation, config=config) as engine:
        others = [engine.submit(JOBS[0]) for _ in range(2)]
        assert len(list(engine.map(JOBS, seeds=range(len(JOBS))))) == len(JOBS)
        assert all(ticket.result() for ticket in others)
