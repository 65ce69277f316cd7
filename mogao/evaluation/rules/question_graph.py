"""Questions about a picture that rest on each other: where a parent is wrong, the child is too.

In: questions with their parents, one answer each. Out: the answers as given and as they count.
Who asks, of which picture, and what makes an answer right is for the benchmark to say.

Source: arXiv 2310.18235 (graph of questions); repository TencentQQGYLab/ELLA,
`dpg_bench/compute_dpg_bench.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mogao.errors import DataError


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        id: Unique among the questions of a picture.
        text: What is asked.
        parents: Questions without which this one makes no sense.
        category: What it is about.
    """

    id: int
    text: str
    parents: tuple[int, ...] = ()
    category: str = ""


@dataclass(frozen=True, slots=True)
class GraphScore:
    """Scores of all questions about one picture.

    Attributes:
        raw: As answered.
        counted: The same, with 0 where a parent has 0.
    """

    raw: Mapping[int, float]
    counted: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean of the scores that count."""
        return sum(self.counted.values()) / len(self.counted)


def grade(questions: Sequence[Question], raw: Mapping[int, float]) -> GraphScore:
    """Return the scores with the children of wrong parents set to 0.

    Questions are taken in their order, so a parent that was itself set to 0 takes its children
    with it where it comes before them. A parent that comes later counts as it was answered.

    Args:
        questions: At least one.
        raw: Score of each question, 0 for wrong.

    Raises:
        DataError: There are no questions, or a parent is not among them.
    """
    if not questions:
        raise DataError("there are no questions to be scored")
    counted = {one.id: raw[one.id] for one in questions}
    for one in questions:
        for parent in one.parents:
            if parent not in counted:
                raise DataError(f"question {one.id} rests on question {parent}, which is not there")
            if counted[parent] == 0:
                counted[one.id] = 0.0
    return GraphScore({one.id: raw[one.id] for one in questions}, counted)
