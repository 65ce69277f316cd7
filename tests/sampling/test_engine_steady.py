"""A steady engine forms the same rounds in each run, whatever its jobs do in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from mogao.config import EngineConfig
from mogao.pipeline import Mogao
from mogao.sampling.engine import PATIENCE, Engine
from mogao.sampling.session import Session
from mogao.sampling.tickets import Ask
from tests.sampling.test_engine import JOBS, Told

NUM_JOBS = 14
STEP_TOKENS = 16


@dataclass(frozen=True)
class Round:
    """What the worker took: jobs by number, their tokens, and whom it left in line."""

    jobs: list[int]
    tokens: int
    left: list[int]


Rounds = list[Round]


def late(job: Callable[[Session], Told], seconds: Sequence[float]) -> Callable[[Session], Told]:
    """The same job, which begins and ends late."""

    def wait(session: Session) -> Told:
        time.sleep(seconds[0])
        told = job(session)
        time.sleep(seconds[1])
        return told

    return wait


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    found: Rounds = []
    serve = Engine._serve

    def seen(self: Engine, chosen: Sequence[Ask]) -> None:
        numbers = [ask.ticket.number for ask in chosen]
        left = [ask.ticket.number for ask in self._asked]
        found.append(Round(numbers, sum(ask.num_tokens for ask in chosen), left))
        serve(self, chosen)

    monkeypatch.setattr(Engine, "_serve", seen)
    return found


def run(model: Mogao, *, seed: int) -> list[Told]:
    """Run more jobs than wait at a time; they are late by other times with another seed."""
    config = EngineConfig(max_active=3, max_waiting=8, step_tokens=STEP_TOKENS, steady=True)
    delays = np.random.default_rng(seed).uniform(0, 2 * PATIENCE, (NUM_JOBS, 2))
    jobs = [late(JOBS[n % len(JOBS)], delays[n]) for n in range(NUM_JOBS)]
    generation = model.generation
    with Engine(model.parts, generation=generation, config=config) as engine:
        return list(engine.map(jobs, seeds=range(NUM_JOBS)))


def test_rounds_and_results_do_not_depend_on_time(model: Mogao, rounds: Rounds):
    told = [run(model, seed=0)]
    first = list(rounds)
    rounds.clear()
    told.append(run(model, seed=1))
    assert rounds == first
    assert max(len(one.jobs) for one in rounds) == 3
    for (one, drawn), (other, again) in zip(*told, strict=True):
        assert one == other
        assert all((a == b).all() for a, b in zip(drawn, again, strict=True))


def test_rounds_keep_to_the_budget_and_nobody_is_overtaken(model: Mogao, rounds: Rounds):
    run(model, seed=0)
    assert all(one.tokens <= STEP_TOKENS or len(one.jobs) == 1 for one in rounds)
    waiting = [(one, after) for one, after in pairwise(rounds) if one.left]
    assert len(waiting) > 10
    assert all(after.jobs[0] == one.left[0] for one, after in waiting)


def test_a_queue_that_others_fill_holds_nothing_up(model: Mogao):
    config = EngineConfig(max_active=1, max_waiting=2, steady=True)
    with Engine(model.parts, generation=model.generation, config=config) as engine:
        others = [engine.submit(JOBS[0]) for _ in range(2)]
        assert len(list(engine.map(JOBS, seeds=range(len(JOBS))))) == len(JOBS)
        assert all(ticket.result() for ticket in others)
