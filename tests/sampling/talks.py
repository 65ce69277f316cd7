"""A session that has been told something, for tests of sessions."""

from __future__ import annotations

from mogao.config import GenerationConfig, TextSamplingConfig
from mogao.pipeline import Mogao
from mogao.sampling.session import Session
from tests.tiny import tiny_generation

WARM = GenerationConfig(
    text=TextSamplingConfig(temperature=1.0, max_tokens=6), image=tiny_generation().image
)


def talk(model: Mogao, *, seed: int = 0) -> Session:
    """A conversation in which a user has asked for a picture."""
    session = model.session(seed=seed, generation=WARM)
    session.extend("draw a cat", role="user")
    return session
