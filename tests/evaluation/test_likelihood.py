"""The likelihoods of several texts are those of each alone, with the end of the turn."""

from __future__ import annotations

from functools import partial
from itertools import islice

import pytest

from mogao.config import GenerationConfig, TextSamplingConfig
from mogao.errors import RequestError
from mogao.evaluation.likelihood import Likelihood, likelihood_of, likelihoods_of
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.events import TextDelta
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment
from tests.tiny import picture

CHOICES = ("red", "red cat", "two cats", "no")


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


def test_several_texts_are_as_likely_as_each_alone(model: Mogao):
    together = likelihoods_of(CHOICES, told(model))
    alone = [likelihood_of(text, told(model), ends=True) for text in CHOICES]
    for one, other in zip(together, alone, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


def test_the_end_of_a_turn_is_one_more_token(model: Mogao):
    open_, ended = (likelihood_of("red", told(model), ends=ends) for ends in (False, True))
    assert ended.log_probs[:-1] == pytest.approx(open_.log_probs, abs=1e-5)
    assert len(ended.log_probs) == len(open_.log_probs) + 1
    assert Likelihood((-1.0, -2.0, -6.0), is_greedy=False).loss == 3.0


def test_in_an_engine_they_are_as_likely(model: Mogao):
    def job(text: str, session: Session) -> list[Likelihood]:
        return likelihoods_of((text, "no"), tell(session))

    with Engine(model.parts, generation=model.generation) as engine:
        found = list(engine.map([partial(job, text) for text in CHOICES], seeds=[0] * 4))
    for text, (one, other) in zip(CHOICES, found, strict=True):
        alone = likelihoods_of((text, "no"), told(model))
        assert one.log_probs == pytest.approx(alone[0].log_probs, abs=1e-4)
        assert other.log_probs == pytest.approx(alone[1].log_probs, abs=1e-4)


def test_nothing_has_no_likelihood(model: Mogao):
    with pytest.raises(RequestError, match="needs a text"):
        likelihoods_of(["red", ""], told(model))
    with pytest.raises(RequestError, match="something before it"):
        likelihoods_of(["red"], model.session())
