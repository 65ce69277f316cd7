"""Questions for one word, and the tokens that spell it."""

from __future__ import annotations

import pytest

from mogao.evaluation.providers.base import YesNoProbabilities
from mogao.evaluation.providers.yes_no import REQUEST, message, summed, word_of


@pytest.mark.parametrize(
    ("question", "is_changed"),
    [
        ("Is it red?", True),
        ("a red hat?", True),
        ("Is the sign on, yes or no?", False),
        ('Does this figure show "a cat"? Please answer yes or no.', False),
        ('Does it say "yes or no" on the sign?', True),
    ],
)
def test_only_a_question_without_a_request_gets_one(question, is_changed):
    assert message(question) == (f"{question}\n{REQUEST}" if is_changed else question)
    assert message(message(question)) == message(question)


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("yes", "yes"), (" Yes", "yes"), ("\u2581YES", "yes"), ("\u0120No", "no"), ("**no", "no"),
        ("Yes.", "yes"), ("not", None), ("yesterday", None), ("", None), ("\u0120", None),
    ],
)  # fmt: skip
def test_a_token_is_a_word_without_case_and_marks(token, word):
    assert word_of(token) == word


def test_spellings_are_summed_and_the_rest_is_left_out():
    found = summed([("Yes", 0.25), ("\u0120yes", 0.125), ("no", 0.125), ("The", 0.5)])
    assert found == YesNoProbabilities(0.375, 0.125)
    assert (found.share, found.failures) == (0.75, ())
    assert YesNoProbabilities(0.0, 0.5).share == 0
