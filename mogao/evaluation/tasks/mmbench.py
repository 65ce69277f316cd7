"""MMBench: multiple choice, where a question counts if it is right in every order of its options.

In: a TSV file with `index, question, hint, A..E, answer, category, l2-category, image`. Out: items;
accuracy overall, for each group of abilities and each ability. Rotations of one question have the
same index modulo a million. `circular` wants all of them right; `plain` looks at the first alone.
The step of the public script that asks a language model what an answer means is left out: an
answer without a letter or the text of one option is wrong and is counted.

Source: arXiv 2307.06281, sections 4.2 and 4.3; open-compass/opencompass, tools/eval_mmbench.py.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import mmbench_option
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.records import distinct, document, field, picture_base64, read_table
from mogao.evaluation.tasks.statistics import PERCENT, merged, parse_failures
from mogao.evaluation.tasks.text_answers import TextBenchmark, said, with_options

_ROTATION = 1_000_000  # rotation r of question q has the index r * _ROTATION + q
_LETTERS = string.ascii_uppercase[:5]
_LONGEST_INDEX = 16  # a shorter cell in the column of pictures is the index of another row


class MmBench(TextBenchmark):
    """The benchmark; its pictures lie in the records."""

    name = "mmbench"
    protocols: tuple[str, ...] = ("circular", "plain")

    def items(self) -> Sequence[Item]:
        """Return one item a row, rotations included.

        Raises:
            DataError: The records break their format, or hold no answers, as the test files.
        """
        rows = read_table(self.data, delimiter="\t")
        pictures = {row.get("index", ""): row.get("image", "") for row in rows}
        items = [
            self._item(row, pictures, where=f"{self.data}: record {number}")
            for number, row in enumerate(rows, 1)
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
        """Read the option."""
        read = mmbench_option(said(outputs), item.truth["options"])
        return Row(
            item.id,
            item.group,
            {"right": float(read == item.truth["answer"])},
            failures=() if read else ("no option",),
            facts={
                "said": said(outputs),
                "read": read,
                **{name: item.truth[name] for name in ("question", "rotation", "l2")},
            },
        )

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the accuracy over base questions: overall, "l2/..." and "category/..."."""
        if protocol == "plain":
            rows = [row for row in rows if row.facts["rotation"] == 0]
        whole = _questions(rows)
        broad = _questions([replace(row, group=row.facts["l2"]) for row in rows])
        parts = {"l2": by_group(broad, "right", scale=PERCENT)}
        parts["category"] = by_group(whole, "right", scale=PERCENT)
        named = {
            f"{kind}/{name}": one for kind, part in parts.items() for name, one in part.items()
        }
        overall = over_items(whole, "right", scale=PERCENT)
        return {"overall": overall, **named, "parse_failures": parse_failures(rows)}

    def _item(self, row: Mapping[str, str], pictures: Mapping[str, str], *, where: str) -> Item:
        index = field(row, "index", str, where=where)
        if not index.isdecimal():
            raise DataError(f"{where}: field 'index': expected a number, got {index!r}")
        rotation, question = divmod(int(index), _ROTATION)
        options = {letter: row[letter] for letter in _LETTERS if row.get(letter)}
        answer = field(row, "answer", str, where=where) if "answer" in row else ""
        if answer not in options:
            raise DataError(
                f"{where}: field 'answer': expected one of {', '.join(options)}, got {answer!r}; "
                "test files hold no answers, take a dev file"
            )
        text = "\n".join(
            part for part in (row.get("hint"), field(row, "question", str, where=where)) if part
        )
        prompt = with_options(f"{text}\nThere are several options:", options)
        image = field(row, "image", str, where=where)
        if len(image) <= _LONGEST_INDEX:
            image = field(pictures, image, str, where=f"{where}: field 'image'")
        return Item(
            id=index,
            group=field(row, "category", str, where=where),
            prompt=prompt,
            want="text",
            given=partial(document, prompt, pictures=[picture_base64(image, where=where)]),
            truth={
                "answer": answer,
                "options": options,
                "question": question,
                "rotation": rotation,
                "l2": row.get("l2-category") or field(row, "L2-category", str, where=where),
            },
        )


def _questions(rows: Sequence[Row]) -> list[Row]:
    """One row a question, right if each of its rotations is."""
    return merged(rows, lambda row: str(row.facts["question"]), value="right", combine=min)
