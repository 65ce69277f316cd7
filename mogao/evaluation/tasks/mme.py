"""MME: fourteen subtasks of yes-or-no questions, two to a picture, one for each answer.

In: a folder of files such as `existence.txt`, each line a picture, a question and the right answer
with tabs between. Out: items; for each subtask 100 x accuracy + 100 x the share of pictures with
both answers right, so at most 200; the sums of perception (2000) and cognition (800), where all
their subtasks were taken.

Source: arXiv 2306.13394, section 2.2; the calculation script, as in Bagel
eval/vlm/eval/mme/calculation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import mme_yes_no
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_groups
from mogao.evaluation.tasks.records import distinct, document, picture_file, read_text
from mogao.evaluation.tasks.statistics import PERCENT, merged, parse_failures
from mogao.evaluation.tasks.text_answers import TextBenchmark, said
from mogao.sequence import Pixels

SUMS = {
    "perception": (
        "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
        "artwork", "OCR",
    ),
    "cognition": (
        "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning",
    ),
}  # fmt: skip
_TO_A_PICTURE = 2


class Mme(TextBenchmark):
    """The benchmark; `images` is the folder with a folder of pictures for each subtask."""

    name = "mme"
    protocols: tuple[str, ...] = ("official",)

    def items(self) -> Sequence[Item]:
        """Return one item a question; the two of a picture stand together.

        Raises:
            DataError: The records break their format.
        """
        paths = [self.data / f"{task}.txt" for tasks in SUMS.values() for task in tasks]
        items = [item for path in paths if path.is_file() for item in self._items(path)]
        return distinct(items, path=self.data)

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Read yes or no; what is neither is wrong."""
        read = mme_yes_no(said(outputs))
        return Row(
            item.id,
            item.group,
            {"right": float(read == item.truth["answer"])},
            failures=() if read else ("neither yes nor no",),
            facts={"said": said(outputs), "read": read, "pair": item.truth["pair"]},
        )

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the sums, then each subtask; resamples draw pictures inside subtasks."""
        pairs = merged(rows, lambda row: row.facts["pair"], value="right", combine=_of_pair)
        taken = {row.group for row in rows}
        sums = {
            name: over_groups(
                pairs, "right", weights=dict.fromkeys(tasks, 1.0), scale=float(len(tasks))
            )
            for name, tasks in SUMS.items()
            if taken.issuperset(tasks)
        }
        return {**sums, **by_group(pairs, "right"), "parse_failures": parse_failures(rows)}

    def _items(self, path: Path) -> list[Item]:
        """The questions of one subtask."""
        task, items = path.stem, []
        lines = [line for line in read_text(path).split("\n") if line.strip()]
        if len(lines) % _TO_A_PICTURE:
            raise DataError(f"{path}: {len(lines)} lines, expected two to each picture")
        rows = [_cells(line, where=f"{path}: record {n}") for n, line in enumerate(lines, 1)]
        for number, (name, question, answer) in enumerate(rows):
            where = f"{path}: record {number + 1}"
            first = rows[number - number % _TO_A_PICTURE][0]
            if name != first:
                raise DataError(f"{where}: picture {name!r}, but its pair has {first!r}")
            pair = f"{task}-{number // _TO_A_PICTURE:04d}"
            items.append(
                Item(
                    id=f"{pair}-{number % _TO_A_PICTURE}",
                    group=task,
                    prompt=question,
                    want="text",
                    given=partial(
                        document, question, pictures=[partial(self._picture, task, name, where)]
                    ),
                    truth={"answer": answer, "pair": pair},
                    whole=pair,
                )
            )
        return items

    def _picture(self, task: str, name: str, where: str) -> Pixels:
        """A picture; some subtasks of the public folder keep theirs one folder further down."""
        folder = self.pictures / task
        inner = folder / "images"
        return picture_file(inner if (inner / name).is_file() else folder, name, where=where)()


def _cells(line: str, *, where: str) -> tuple[str, str, str]:
    """Picture, question and answer of a line, the answer in lower case."""
    cells = line.strip().split("\t")
    if len(cells) != 3:
        raise DataError(f"{where}: {len(cells)} cells, expected picture, question and answer")
    if cells[2].lower() not in {"yes", "no"}:
        raise DataError(f"{where}: the answer must be Yes or No, got {cells[2]!r}")
    return cells[0], cells[1], cells[2].lower()


def _of_pair(rights: Sequence[float]) -> float:
    """Accuracy plus both right, of one picture; a lone question cannot have both right."""
    both = float(sum(rights) == _TO_A_PICTURE)
    return PERCENT * sum(rights) / len(rights) + PERCENT * both
