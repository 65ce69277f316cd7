"""GQA: questions about scenes that want one word or phrase.

In: `testdev_balanced_questions.json` (an object of questions by id) or the same rows as JSON Lines.
Out: items; the share of answers that match but for case and punctuation. Articles and plurals are
left as they are.

Source: arXiv 1902.09506; EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/gqa.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import plain_words
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import over_items
from mogao.evaluation.tasks.records import (
    distinct,
    document,
    field,
    name_field,
    picture_file,
    read_records,
    safe_id,
)
from mogao.evaluation.tasks.statistics import PERCENT, parse_failures
from mogao.evaluation.tasks.text_answers import SHORT_ANSWER, TextBenchmark, said


class Gqa(TextBenchmark):
    """The benchmark; `images` is the folder of files such as `n161313.jpg`."""

    name = "gqa"
    protocols: tuple[str, ...] = ("official",)

    def items(self) -> Sequence[Item]:
        """Return one item a question.

        Raises:
            DataError: The records break their format.
        """
        items = [
            self._item(row, where=f"{self.data}: record {number}")
            for number, row in enumerate(read_records(self.data, key="id"), 1)
        ]
        return distinct(items, path=self.data)

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Compare the words."""
        words = plain_words(said(outputs))
        return Row(
            item.id,
            item.group,
            {"right": float(words == plain_words(item.truth["answer"]))},
            failures=() if words else ("no words",),
            facts={"said": said(outputs), "read": words},
        )

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the accuracy."""
        accuracy = over_items(rows, "right", scale=PERCENT)
        return {"accuracy": accuracy, "parse_failures": parse_failures(rows)}

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        prompt = f"{field(row, 'question', str, where=where)}\n{SHORT_ANSWER}"
        name = f"{name_field(row, 'imageId', where=where)}.jpg"
        picture = picture_file(self.pictures, name, where=where)
        return Item(
            id=safe_id(name_field(row, "id", where=where)),
            group=self.name,
            prompt=prompt,
            want="text",
            given=partial(document, prompt, pictures=[picture]),
            truth={"answer": field(row, "answer", str, where=where)},
        )
