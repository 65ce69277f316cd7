"""MM-Vet: open questions that need several abilities at once, graded between 0 and 1.

In: `mm-vet.json` (an object of questions by id) or the same rows as JSON Lines. Out: items; the
mean grade x 100, overall and for each ability; a question counts for each of its abilities.
`official` asks a language model (tool `judge`) up to five times, until the first word of a reply is
a grade; without one the grade is 0 and counted as a failure. Published scores used GPT-4 with a
table of examples that is not ours to ship: name a file with it as `grader` and the protocol ends in
`/given-template`; without one our own examples are used and it ends in `/own-template`. The script
cuts replies at three tokens and asks again at a higher temperature, with the same words each time;
here the words say which try it is. `offline` asks nobody and compares words; its numbers compare
with no published ones.

Source: arXiv 2308.02490, section 3.3; yuweihao/MM-Vet, mm-vet_evaluator.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import mm_vet_grade, token_f1
from mogao.evaluation.providers.base import ChatJudge, Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import over_items
from mogao.evaluation.tasks.judged import Templates
from mogao.evaluation.tasks.records import (
    distinct,
    document,
    field,
    name_field,
    picture_of,
    read_records,
    read_text,
    safe_id,
)
from mogao.evaluation.tasks.statistics import PERCENT, parse_failures
from mogao.evaluation.tasks.text_answers import TextBenchmark, said

_AND, _OR = "<AND>", "<OR>"
_OWN_GRADER = """\
Grade how well a prediction agrees with the ground truth, as one number: 0.0 for not at all, 1.0 for
fully, in steps of 0.1. Where parts of the ground truth are joined by <AND>, each part found counts
alike and all are needed for 1.0. Where they are joined by <OR>, any one of them is enough. Reply
with the number that belongs in the last column, and nothing else.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
Which fruits lie on the table? | pear <AND> plum | There is a plum. | 0.5
Which fruits lie on the table? | pear <AND> plum | A pear and a plum lie there. | 1.0
Which fruits lie on the table? | pear <AND> plum | Two cups. | 0.0
What is this animal? | hare <OR> rabbit | It looks like a rabbit. | 1.0
Why do they laugh? | The cat has stolen the fish while the cook slept. | The cook is asleep. | 0.4
"""
_AGAIN = "\nThe number alone, between 0.0 and 1.0 (try {} of {}): "
_TRIES = 5
_JUDGED, _OFFLINE = "official", "offline"


class MmVet(TextBenchmark):
    """The benchmark."""

    name = "mm_vet"

    def __init__(
        self, data: Path, *, images: Path | None = None, grader: str | Path | None = None
    ) -> None:
        """Remember where things lie; nothing is read.

        Args:
            data: Record file.
            images: Folder of the pictures; None takes the folder of the records.
            grader: Text file with the instruction and the examples for the language model; None
                takes our own.
        """
        super().__init__(data, images=images)
        self.grader = None if grader is None else Path(grader)
        self._templates = Templates({_JUDGED: _OWN_GRADER}, is_given=grader is not None)
        self.protocols = (*self._templates.protocols((_JUDGED,)), _OFFLINE)

    def items(self) -> Sequence[Item]:
        """Return one item a question.

        Raises:
            DataError: The records break their format.
        """
        items = [
            self._item(row, where=f"{self.data}: record {number}")
            for number, row in enumerate(read_records(self.data, key="question_id"), 1)
        ]
        return distinct(items, path=self.data)

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Grade the answer.

        Raises:
            ConfigError: There is no tool `judge`, which `official` needs, or no such protocol.
            DataError: The grader's file cannot be read.
        """
        text, right = said(outputs), item.truth["answer"]
        facts: dict[str, Any] = {"said": text, "abilities": item.truth["abilities"]}
        grade: float | None
        if protocol == _OFFLINE:
            grade = _overlap(text, right)
        else:
            self._templates.rule(protocol, (_JUDGED,))
            facts["grader"] = str(self.grader or "own examples")
            spaced = right.replace(_AND, f" {_AND} ").replace(_OR, f" {_OR} ")
            line = " | ".join([item.truth["question"], spaced, text, ""])
            table = read_text(self.grader) if self.grader else _OWN_GRADER
            facts["replies"], grade = _asked(tools.need("judge"), f"{table}\n{line}")
        return Row(
            item.id,
            item.group,
            {"grade": grade or 0.0},
            failures=("no number from the judge",) if grade is None else (),
            facts=facts,
        )

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the mean grade x 100: overall, then of each ability."""
        scores = {"overall": over_items(rows, "grade", scale=PERCENT)}
        abilities = dict.fromkeys(name for row in rows for name in row.facts["abilities"])
        for name in abilities:
            inside = [row for row in rows if name in row.facts["abilities"]]
            scores[name] = over_items(inside, "grade", scale=PERCENT)
        return scores | {"parse_failures": parse_failures(rows)}

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        question = field(row, "question", str, where=where)
        listed = row.get("capability")
        names = (
            listed.split(",")
            if isinstance(listed, str)
            else field(row, "capability", list, where=where)
        )
        abilities = [name.strip() for name in names]
        image = field(row, "imagename" if "imagename" in row else "image", object, where=where)
        picture = picture_of(image, self.pictures, where=f"{where}: picture")
        return Item(
            id=safe_id(name_field(row, "question_id", where=where)),
            group="_".join(abilities),
            prompt=question,
            want="text",
            given=partial(document, question, pictures=[picture]),
            truth={
                "question": question,
                "answer": field(row, "answer", str, where=where),
                "abilities": abilities,
            },
        )


def _asked(judge: ChatJudge, prompt: str) -> tuple[list[str], float | None]:
    """Replies, and the grade that the last of them gives."""
    replies: list[str] = []
    grade = None
    while grade is None and len(replies) < _TRIES:
        again = _AGAIN.format(len(replies) + 1, _TRIES) if replies else ""
        replies.append(judge.ask(prompt + again))
        grade = mm_vet_grade(replies[-1])
    return replies, grade


def _overlap(text: str, right: str) -> float:
    """F1 of words: the best of alternatives, each the mean over the parts that it asks for."""
    return max(
        sum(token_f1(text, part) for part in parts) / len(parts)
        for parts in (way.split(_AND) for way in right.split(_OR))
    )
