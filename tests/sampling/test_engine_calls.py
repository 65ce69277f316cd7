"""Calls on other networks than the transformer take of the budget of a round too."""

from __future__ import annotations

import threading

import pytest

from mogao.config import EngineConfig
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.session import Session
from mogao.sampling.tickets import Call
from tests.tiny import picture, tiny_generation

SESSIONS = 4


@pytest.mark.parametrize(("pictures", "most"), [(1, 1), (2, 2), (SESSIONS, SESSIONS)])
def test_pictures_are_read_within_the_budget(
    model: Mogao, monkeypatch: pytest.MonkeyPatch, pictures: int, most: int
) -> None:
    one = (32 // model.parts.config.token_pixels) ** 2
    rounds: list[int] = []
    serve = Engine._serve

    def watched(self, chosen):
        costs = [ask.work.num_tokens for ask in chosen if isinstance(ask.work, Call)]
        rounds.append(sum(cost == one for cost in costs))
        serve(self, chosen)

    monkeypatch.setattr(Engine, "_serve", watched)
    together = threading.Barrier(SESSIONS)

    def look(session: Session) -> str:
        together.wait(30)
        session.extend(picture(3, height=32, width=32), role="user")
        return session.generate_text(max_tokens=2)

    config = EngineConfig(step_tokens=pictures * one)
    with Engine(model.parts, generation=tiny_generation(), config=config) as engine:
        told = list(engine.map([look] * SESSIONS, seeds=[0] * SESSIONS))
    assert len(set(told)) == 1
    assert sum(rounds) == 2 * SESSIONS  # each picture by both encoders
    assert max(rounds) == most
