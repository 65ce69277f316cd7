"""DPG-Bench: 1,065 dense prompts, each with a graph of yes/no questions about the picture.

In: the public CSV, one question a row. Out: the mean over prompts of the share of questions that
hold with their parents; shares of each category as answered. The protocol `official` keeps what
the public script does, `fixed-2` what it seems to mean:

| | official | fixed-2 |
|---|---|---|
| first row of data | skipped | read |
| right answer | exactly "yes" | "yes" as the first word, in any case |
| categories | answers on the last picture of a prompt | answers on all pictures |

Under both, a prompt with a question whose parent is missing has no score and is a failure; under
`official` the skipped row can make this so. The script asks mPLUG the bare question; a chat model
is told besides to answer with one word. Scores of the name `fixed` took "Yes, there is." as wrong.

Source: arXiv 2403.05135; repository TencentQQGYLab/ELLA, `dpg_bench/compute_dpg_bench.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mogao.data.images import read_image
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.parsing import YesNo, leading_yes_no
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.question_graph import Question, grade
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import over_items
from mogao.evaluation.tasks.pictures import NO_PICTURE, last_picture
from mogao.evaluation.tasks.records import distinct, document, field, read_table, safe_id
from mogao.evaluation.tasks.statistics import PERCENT, resampled
from mogao.sequence import Pixels

_PICTURES = 4  # for each prompt


class DPGBench:
    """The benchmark DPG-Bench.

    Args:
        data: The public CSV file.
    """

    name = "dpg"
    protocols: tuple[str, ...] = ("official", "fixed-2")

    def __init__(self, data: Path) -> None:
        self._data = data

    def items(self) -> Sequence[Item]:
        """Return one item for each prompt, four pictures each.

        Raises:
            DataError: The file or a row is at fault.
        """
        prompts: dict[str, str] = {}
        questions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for number, row in enumerate(read_table(self._data, delimiter=",")):
            where = f"{self._data}: row {number + 1}"
            name = field(row, "item_id", str, where=where)
            prompts.setdefault(name, field(row, "text", str, where=where))
            questions[name].append(_question(row, where=where) | {"is_first_row": number == 0})
        items = [
            Item(
                safe_id(name),
                "prompts",
                prompt,
                "picture",
                partial(document, prompt),
                truth={"questions": questions[name]},
                num=_PICTURES,
            )
            for name, prompt in prompts.items()
        ]
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie; a file that bears the name of its item is a grid of four."""
        return [*picture_places(item, k), *([] if k else [f"{item.id}.jpg"])]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask all questions of each picture; an output without a picture has no right answer.

        Raises:
            ConfigError: Nobody answers questions.
            RequestError: A picture cannot be read.
        """
        asker = tools.need("questions")
        is_official = protocol == "official"
        questions = _questions(item.truth, is_official=is_official)
        failures: list[str] = []
        answers: list[dict[int, str]] = []
        for k, output in enumerate(outputs):
            views = _views(item, output)
            said = [
                {one.id: asker.answer(pixels, one.text) for one in questions} for pixels in views
            ]
            failures += [text for one in said for text in _unreadable(one, is_official=is_official)]
            if not views:
                failures.append(f"output {k}: {NO_PICTURE}")
                said = [{one.id: "" for one in questions}]
            answers += said
        right = [
            {i: float(_read(text, is_official=is_official) == "yes") for i, text in said.items()}
            for said in answers
        ]
        facts: dict[str, Any] = {"answers": [list(said.values()) for said in answers]}
        try:
            means = [grade(questions, raw).mean for raw in right]
        except DataError as error:
            return Row(item.id, item.group, {}, (*failures, str(error)), facts)
        facts["categories"] = _categories(questions, right[-1:] if is_official else right)
        return Row(item.id, item.group, {"score": sum(means) / len(means)}, tuple(failures), facts)

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the mean over prompts, then broad and detailed categories, all out of 100."""
        names = {name for row in rows for name in row.facts.get("categories", {})}
        broad_first = sorted(names, key=lambda name: ("-" in name, name))
        return {
            "overall": over_items(rows, "score", scale=PERCENT),
            **{name: _pooled(rows, name) for name in broad_first},
        }


def _question(row: Mapping[str, str], *, where: str) -> dict[str, Any]:
    """Return a row as JSON values; in `dependency` 0 stands for no parent."""
    parents = [
        _number(one, "dependency", where=where)
        for one in field(row, "dependency", str, where=where).split(",")
    ]
    return {
        "id": _number(
            field(row, "proposition_id", str, where=where), "proposition_id", where=where
        ),
        "text": field(row, "question_natural_language", str, where=where),
        "parents": [parent for parent in parents if parent],
        "category": field(row, "tuple", str, where=where).split("(")[0].strip(),
    }


def _number(text: str, name: str, *, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: field {name!r}: expected a whole number, got {text!r}") from None


def _questions(truth: Mapping[str, Any], *, is_official: bool) -> list[Question]:
    """Return the questions of a prompt; a number that comes twice stands for its last row."""
    found = {
        row["id"]: Question(row["id"], row["text"], tuple(row["parents"]), row["category"])
        for row in truth["questions"]
        if not (is_official and row["is_first_row"])
    }
    return list(found.values())


def _views(item: Item, output: Output) -> list[Pixels]:
    """Return the pictures to be asked about: one, or the quarters of a grid, row by row."""
    path = last_picture(output)
    if path is None:
        return []
    pixels = read_image(path)
    if path.stem != item.id or path.parent.name == item.id:
        return [pixels]
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    return [
        pixels[top : top + height, left : left + width]
        for top in (0, height)
        for left in (0, width)
    ]


def _read(text: str, *, is_official: bool) -> YesNo | None:
    if not is_official:
        return leading_yes_no(text)
    return "yes" if text == "yes" else "no" if text == "no" else None


def _unreadable(said: Mapping[int, str], *, is_official: bool) -> list[str]:
    """Name the answers that say neither yes nor no, under the official rule in just these words."""
    words = "not exactly yes or no" if is_official else "neither yes nor no"
    return [
        f"question {i}: {words}: {text!r:.40}"
        for i, text in said.items()
        if _read(text, is_official=is_official) is None
    ]


def _categories(
    questions: Sequence[Question], scores: Sequence[Mapping[int, float]]
) -> dict[str, list[float]]:
    """Return [right, asked] for each detailed category and, before the dash, each broad one."""
    totals: dict[str, list[float]] = {}
    for one in questions:
        for name in dict.fromkeys((one.category, one.category.split("-")[0].strip())):
            right, asked = totals.get(name, [0.0, 0.0])
            totals[name] = [right + sum(raw[one.id] for raw in scores), asked + len(scores)]
    return totals


def _pooled(rows: Sequence[Row], category: str) -> Score:
    """Return the share of right answers over all questions of a category, out of 100.

    Questions are pooled over prompts; the resamples of the interval draw whole prompts.
    """
    tables = [row.facts.get("categories", {}) for row in rows]
    counts = np.array([table[category] for table in tables if category in table])
    return resampled(counts, lambda means: PERCENT * means[..., 0] / means[..., 1])
