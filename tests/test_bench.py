"""Every bench of sampling runs and says what it counted; how fast, no test asks."""

from __future__ import annotations

import json

import pytest

from mogao.bench import sampling
from mogao.sampling.session import Session
from tests.tiny import tiny_model


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    monkeypatch.setattr(sampling, "REPEATS", 1)
    monkeypatch.setattr(sampling, "NEW_TOKENS", 3)


def test_decode_measures_each_context() -> None:
    facts = sampling.decode(dtype="float32", compiled=False, contexts=(8, 300))
    assert [row["context"] for row in facts["rows"]] == [8, 300]
    assert all(row["tokens_per_second"] > 0 for row in facts["rows"])


def test_denoise_measures_each_number_of_branches() -> None:
    facts = sampling.denoise(model=tiny_model(), side=32, history=5, branches=(1, 2, 3))
    assert [row["branches"] for row in facts["rows"]] == [1, 2, 3]
    json.dumps(facts)


@pytest.mark.parametrize("num_documents", [1, 2])
def test_interleave_draws_two_pictures_a_document(monkeypatch, num_documents: int) -> None:
    drawn = []
    real = Session.generate_image

    def counted(session: Session) -> object:
        drawn.append(session)
        return real(session)

    monkeypatch.setattr(Session, "generate_image", counted)
    facts = sampling.interleave(dtype="float32", compiled=False, num_documents=num_documents)
    assert facts["seconds"] > 0
    assert len(drawn) == 2 * 2 * num_documents  # once to warm up


def test_picture_is_of_256_tokens() -> None:
    assert sampling.picture(dtype="float32", compiled=False)["seconds"] > 0


def test_batch_compares_what_it_measures() -> None:
    model = tiny_model()
    rows = sampling.batch(model=model, exact=model)["rows"]
    assert [row["mix"] for row in rows] == ["text", "pictures", "mixed"]
    assert all(row["equal"] for row in rows)


def test_a_runtime_without_a_compiler_is_eager(monkeypatch) -> None:
    monkeypatch.setattr(sampling, "compiler_available", lambda _: False)
    assert sampling.runtime(compiled=True).compile == "off"
    assert sampling.runtime(compiled=False).compile == "off"


def test_a_picture_at_default_quality_and_a_first_token_are_measured() -> None:
    model = tiny_model()
    assert sampling.default_picture(model)["seconds"] > 0
    assert sampling.first_token(model)["seconds"] > 0
