"""Questions that rest on each other, worked by hand."""

from __future__ import annotations

import pytest

from mogao.errors import DataError
from mogao.evaluation.rules.question_graph import Question, grade

# 1 -> 2 -> 4, 1 -> 3, and 5 rests on both 3 and 4.
FIVE = [
    Question(1, "Is there a dog?"),
    Question(2, "Is the dog in a basket?", (1,)),
    Question(3, "Is the dog red?", (1,)),
    Question(4, "Is the basket large?", (2,)),
    Question(5, "Is the dog as red as the basket?", (3, 4)),
]


@pytest.mark.parametrize(
    ("raw", "counted", "mean"),
    [
        ([1, 1, 1, 1, 1], [1, 1, 1, 1, 1], 1.0),
        ([0, 1, 1, 1, 1], [0, 0, 0, 0, 0], 0.0),
        ([1, 0, 1, 1, 1], [1, 0, 1, 0, 0], 0.4),
        ([1, 1, 0, 1, 1], [1, 1, 0, 1, 0], 0.6),
        ([1, 1, 1, 0, 1], [1, 1, 1, 0, 0], 0.6),
        ([1, 1, 1, 1, 0], [1, 1, 1, 1, 0], 0.8),
        ([1, 0.5, 1, 1, 1], [1, 0.5, 1, 1, 1], 0.9),
    ],
)
def test_a_wrong_parent_takes_all_that_rest_on_it(raw, counted, mean):
    score = grade(FIVE, dict(enumerate(map(float, raw), 1)))
    assert list(score.counted.values()) == counted
    assert list(score.raw.values()) == raw
    assert score.mean == pytest.approx(mean)


def test_a_parent_that_comes_later_counts_as_answered():
    late = [FIVE[0], FIVE[3], FIVE[1]]  # 4 rests on 2, which is only then set to 0
    assert grade(late, {1: 0.0, 2: 1.0, 4: 1.0}).counted == {1: 0, 4: 1, 2: 0}


def test_a_missing_parent_is_named():
    with pytest.raises(DataError, match="question 2 rests on question 1, which is not there"):
        grade(FIVE[1:], dict.fromkeys(range(1, 6), 1.0))


def test_no_questions_have_no_score():
    with pytest.raises(DataError, match="no questions"):
        grade([], {})
