"""The likelihood of a text is that of writing it."""

from __future__ import annotations

from functools import partial
from itertools import islice

import pytest

from mogao.bridges.likelihood import likelihood_of
from mogao.config import GenerationConfig, TextSamplingConfig
from mogao.errors import RequestError
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.events import TextDelta
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment
from tests.tiny import picture


def tell(session: Session) -> Session:
    session.extend(ImageSegment(picture(1)), role="user")
    session.extend("what is it?", role="user")
    return session


def told(model: Mogao, *, seed: int = 0) -> Session:
    return tell(model.session(seed=seed))


def written(model: Mogao, *, temperature: float, seed: int) -> tuple[str, list[float]]:
    """A text that the model writes, and the log-probabilities of its tokens."""
    text = TextSamplingConfig(temperature=temperature, log_probs=True, max_tokens=3)
    stream = told(model, seed=seed).stream(
        generation=GenerationConfig(text=text), forbid_images=True
    )
    deltas = [event for event in stream if isinstance(event, TextDelta)]
    return "".join(d.text for d in deltas), [p for d in deltas for p in d.log_probs]


def test_a_text_is_as_likely_as_writing_it(model: Mogao):
    texts = (written(model, temperature=1.0, seed=seed) for seed in range(40))
    # The tokens are bytes: of other texts the ids may not come back.
    whole = list(islice(((text, found) for text, found in texts if text and text.isascii()), 2))
    assert len(whole) == 2
    for text, log_probs in whole:
        found = likelihood_of(text, told(model))
        assert found.log_probs == pytest.approx(log_probs, abs=1e-4)
        assert found.loss == pytest.approx(-sum(log_probs) / len(log_probs), abs=1e-4)


def test_only_the_most_likely_tokens_are_greedy(model: Mogao):
    greedy, _ = written(model, temperature=0.0, seed=0)
    losses = {}
    for text in ("a", "b", "c"):
        found = likelihood_of(text, told(model))
        losses[text] = found.loss
        assert found.is_greedy == greedy.startswith(text)
    assert len(set(losses.values())) == 3


def test_many_at_once_are_as_likely_as_alone(model: Mogao):
    texts = ["red", "two cats", "no"]

    def job(text: str, session: Session) -> float:
        return likelihood_of(text, tell(session)).loss

    with Engine(model.parts, generation=model.generation) as engine:
        together = list(engine.map([partial(job, text) for text in texts], seeds=[0, 0, 0]))
    alone = [likelihood_of(text, told(model)).loss for text in texts]
    assert together == pytest.approx(alone, abs=1e-4)


def test_nothing_has_no_likelihood(model: Mogao):
    with pytest.raises(RequestError, match="needs a text"):
        likelihood_of("", told(model))
    with pytest.raises(RequestError, match="something before it"):
        likelihood_of("red", model.session())
