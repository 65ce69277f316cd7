"""Random programs of sessions: nobody changes another's output, and no memory stays behind.

`MOGAO_PROGRAMS=10000 pytest tests/sampling/test_programs.py` runs more of them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from itertools import islice
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mogao.config import KEEP_ALL, GenerationConfig
from mogao.pipeline import Mogao
from mogao.sampling.runner import Runner, slab_pool
from mogao.sampling.session import Session
from mogao.sampling.slabs import Slab, SlabPool
from mogao.sequence import ImageSegment
from tests.tiny import picture, tiny_model

NUM_PROGRAMS = int(os.environ.get("MOGAO_PROGRAMS", "200"))
MAX_SESSIONS = 4
GENERATION = GenerationConfig.model_validate(
    {
        "text": {"temperature": 1.0, "max_tokens": 3},
        "image": {"num_steps": 1, "height": 16, "width": 32},
    }
)

Step = Callable[[Session], Any]


class Programs(RuleBasedStateMachine):
    """Sessions that run side by side; each is compared with its own program run alone."""

    model: Mogao
    pools: list[SlabPool]

    def __init__(self) -> None:
        super().__init__()
        self.running: list[tuple[Session, list[Step]]] = []
        # The sessions of a program lie side by side on pages, as in an engine.
        self.pool = slab_pool(self.model.parts.transformer, num_slots=MAX_SESSIONS)
        self.pools.append(self.pool)
        self.begin()

    def begin(self) -> None:
        parts = self.model.parts
        runner = Runner(parts.transformer, pool=self.pool)
        session = Session(parts, generation=GENERATION, seed=5, runner=runner)
        self.running.append((session, []))

    def act(self, which: int, step: Step) -> None:
        session, program = self.running[which % len(self.running)]
        program.append(step)
        step(session)

    @precondition(lambda self: len(self.running) < MAX_SESSIONS)
    @rule()
    def open(self) -> None:
        self.begin()

    @rule(which=st.integers(0, 9), text=st.sampled_from(["a", "once upon", "x y z"]))
    def say(self, which: int, text: str) -> None:
        self.act(which, lambda session: session.extend(text))

    @rule(which=st.integers(0, 9), seed=st.integers(0, 3))
    def show(self, which: int, seed: int) -> None:
        shown = ImageSegment(picture(seed, height=16, width=32), role="user")
        self.act(which, lambda session: session.extend(shown))

    @rule(which=st.integers(0, 9))
    def write(self, which: int) -> None:
        self.act(which, lambda session: len(session.sequence) and session.generate_text())

    @rule(which=st.integers(0, 9))
    def draw(self, which: int) -> None:
        self.act(which, lambda session: len(session.sequence) and session.generate_image())

    @rule(which=st.integers(0, 9), count=st.integers(1, 4))
    def leave_early(self, which: int, count: int) -> None:
        def step(session: Session) -> None:
            if len(session.sequence):
                events = session.stream(max_images=1)
                list(islice(events, count))
                events.close()

        self.act(which, step)

    @rule(which=st.integers(0, 9), back=st.integers(0, 3))
    def rewind(self, which: int, back: int) -> None:
        self.act(which, lambda session: session.rewind(max(0, len(session.sequence) - back)))

    @precondition(lambda self: len(self.running) < MAX_SESSIONS)
    @rule(which=st.integers(0, 9), seed=st.sampled_from([None, 11]))
    def fork(self, which: int, seed: int | None) -> None:
        session, program = self.running[which % len(self.running)]
        fork = session.fork(seed=seed)
        if seed is None:
            self.running.append((fork, list(program)))
        else:

            def reseed(fresh: Session) -> None:
                fresh.state.generator.manual_seed(seed)

            self.running.append((fork, [*program, reseed]))

    @precondition(lambda self: len(self.running) > 1)
    @rule(which=st.integers(0, 9))
    def close(self, which: int) -> None:
        self.compare(*self.running.pop(which % len(self.running)))

    def compare(self, session: Session, program: list[Step]) -> None:
        """A session equals its own program alone, and what it has read equals its document."""
        fresh = self.model.session(generation=GENERATION)
        fresh.state.transcript = session.state.transcript.copy()
        fresh.state.codes = session.state.codes.copy()
        with torch.inference_mode():
            (new,), (old,) = (
                each.state.read([(KEEP_ALL, each.state.transcript.spans)])
                for each in (fresh, session)
            )
        if new.logits is not None:
            assert old.logits is not None
            torch.testing.assert_close(old.logits, new.logits, rtol=1e-3, atol=1e-4)
        alone = self.model.session(seed=5, generation=GENERATION)
        for step in program:
            step(alone)
        for got, expected in zip(session.sequence, alone.sequence, strict=True):
            assert type(got) is type(expected)
            if isinstance(got, ImageSegment) and isinstance(expected, ImageSegment):
                assert np.array_equal(got.pixels, expected.pixels)
            else:
                assert got == expected

    def teardown(self) -> None:
        for session, program in self.running:
            self.compare(session, program)
        self.running.clear()


def test_sessions_never_meet_and_never_leak(monkeypatch) -> None:
    slabs: WeakSet[Slab] = WeakSet()
    real, made = Slab.__init__, []

    def counted(slab: Slab, pool: SlabPool, num_rows: int) -> None:
        real(slab, pool, num_rows)
        slabs.add(slab)
        made.append(1)

    monkeypatch.setattr(Slab, "__init__", counted)
    monkeypatch.setattr(Programs, "model", tiny_model(num_layers=1), raising=False)
    pools: list[SlabPool] = []
    monkeypatch.setattr(Programs, "pools", pools, raising=False)
    machine = Programs.TestCase
    machine.settings = settings(
        max_examples=NUM_PROGRAMS,
        stateful_step_count=8,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
    gc.collect()
    assert len(made) > NUM_PROGRAMS / 4
    assert len(slabs) == 0
    assert sum(pool.bytes for pool in pools) == 0
