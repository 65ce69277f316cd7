"""How chat models are asked yes/no questions, and how likely their first token makes either word.

In: questions; tokens with their probabilities. Out: messages; the probabilities of "yes" and "no".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mogao.evaluation.parsing import YesNo
from mogao.evaluation.providers.base import YesNoProbabilities

REQUEST = "Answer with one lower-case word: yes or no."
"""Words behind a question that does not say how it wants to be answered."""

_HAS_REQUEST = re.compile(r"\byes or no\W*$", re.IGNORECASE)
_AROUND_WORDS = " \t\r\n\"'.,:;!*\u2581\u0120"  # the last two stand for a space in vocabularies


def message(question: str) -> str:
    """Return a yes/no question with the request for one word, unless it ends in "yes or no"."""
    return question if _HAS_REQUEST.search(question) else f"{question}\n{REQUEST}"


def word_of(token: str) -> YesNo | None:
    """Return the word that a token is, without its spaces, punctuation and case."""
    word = token.strip(_AROUND_WORDS).casefold()
    return "yes" if word == "yes" else "no" if word == "no" else None


def summed(tokens: Iterable[tuple[str, float]]) -> YesNoProbabilities:
    """Sum the probabilities of tokens that spell the same word; other tokens are left out."""
    total = {"yes": 0.0, "no": 0.0}
    for token, probability in tokens:
        word = word_of(token)
        if word is not None:
            total[word] += probability
    return YesNoProbabilities(**total)
