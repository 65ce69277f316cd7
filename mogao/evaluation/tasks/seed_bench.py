"""SEED-Bench: multiple choice about pictures, in nine types of questions.

In: `SEED-Bench.json`. Out: items; the accuracy of each type, and "image", pooled over all
questions about pictures, which is not the mean of the types. Questions about videos, types ten to
twelve, are passed over. `generate` takes the first letter of what a model writes; the other way in
use, the option with the lowest loss, needs the model and no answers.

Source: arXiv 2307.16125; AILab-CVC/SEED-Bench, eval.py; EvolvingLMMs-Lab/lmms-eval,
lmms_eval/tasks/seedbench/utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import first_letter
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.records import (
    distinct,
    document,
    field,
    name_field,
    picture_file,
    read_json,
    safe_id,
)
from mogao.evaluation.tasks.statistics import PERCENT, parse_failures
from mogao.evaluation.tasks.text_answers import TextBenchmark, said, with_options

_LETTERS = "ABCD"


class SeedBench(TextBenchmark):
    """The benchmark; `images` is the folder of the pictures named by `data_id`."""

    name = "seed"
    protocols: tuple[str, ...] = ("generate",)

    def items(self) -> Sequence[Item]:
        """Return one item a question about a picture.

        Raises:
            DataError: The records break their format.
        """
        whole, where = read_json(self.data), str(self.data)
        types = {
            number: name
            for name, number in field(whole, "question_type", dict, where=where).items()
        }
        questions = field(whole, "questions", list, where=where)
        items = [
            self._item(row, types, where=f"{where}: question {number}")
            for number, row in enumerate(questions, 1)
            if field(row, "data_type", str, where=f"{where}: question {number}") == "image"
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
        """Read the first letter."""
        read = first_letter(said(outputs), _LETTERS)
        return Row(
            item.id,
            item.group,
            {"right": float(read == item.truth["answer"])},
            failures=() if read else ("no letter at the start",),
            facts={"said": said(outputs), "read": read},
        )

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the pooled accuracy, then that of each type."""
        return {
            "image": over_items(rows, "right", scale=PERCENT),
            **by_group(rows, "right", scale=PERCENT),
            "parse_failures": parse_failures(rows),
        }

    def _item(self, row: Mapping[str, Any], types: Mapping[int, str], *, where: str) -> Item:
        options = {
            letter: field(row, f"choice_{letter.lower()}", str, where=where) for letter in _LETTERS
        }
        answer = field(row, "answer", str, where=where)
        kind = field(row, "question_type_id", int, where=where)
        if answer not in options:
            raise DataError(f"{where}: field 'answer': expected A to D, got {answer!r}")
        if kind not in types:
            raise DataError(f"{where}: field 'question_type_id': no type has the number {kind}")
        prompt = with_options(field(row, "question", str, where=where), options)
        name = field(row, "data_id", str, where=where)
        picture = picture_file(self.pictures, name, where=where)
        return Item(
            id=safe_id(name_field(row, "question_id", where=where)),
            group=types[kind],
            prompt=prompt,
            want="text",
            given=partial(document, prompt, pictures=[picture]),
            truth={"answer": answer},
        )
