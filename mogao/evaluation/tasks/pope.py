"""POPE: is a thing in the picture, yes or no, in three kinds of questions.

In: a folder of `coco_pope_<category>.json`, or one file of JSON Lines with a category in each row.
Out: items; accuracy, precision, recall, F1 and the share of yes for each category. Two public
scripts read answers in two ways. `llava-parse` takes whatever does not deny as yes; its headline is
the mean F1 of the categories. `lmms-strict` takes the words alone; its headline is the accuracy of
all questions together.

Source: arXiv 2305.10355; haotian-liu/LLaVA, llava/eval/eval_pope.py; EvolvingLMMs-Lab/lmms-eval,
lmms_eval/tasks/pope/utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import llava_yes_no, strict_yes_no
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import over_items
from mogao.evaluation.tasks.records import (
    distinct,
    document,
    field,
    name_field,
    picture_of,
    read_json_lines,
    safe_id,
)
from mogao.evaluation.tasks.statistics import (
    PERCENT,
    Means,
    Numbers,
    Statistic,
    parse_failures,
    resampled,
)
from mogao.evaluation.tasks.text_answers import SHORT_ANSWER, TextBenchmark, said

_READERS = {"llava-parse": llava_yes_no, "lmms-strict": strict_yes_no}
_PREFIX = "coco_pope_"


class Pope(TextBenchmark):
    """The benchmark."""

    name = "pope"
    protocols: tuple[str, ...] = ("llava-parse", "lmms-strict")

    def items(self) -> Sequence[Item]:
        """Return one item a question.

        Raises:
            DataError: The records break their format.
        """
        files: list[tuple[Path, str | None]] = [(self.data, None)]
        if self.data.is_dir():
            found = sorted(self.data.glob(f"{_PREFIX}*.json"))
            files = [(path, path.stem.removeprefix(_PREFIX)) for path in found]
        if not files:
            raise DataError(f"{self.data}: no file {_PREFIX}<category>.json")
        items = [
            self._item(row, category, where=f"{path}: record {number}")
            for path, category in files
            for number, row in enumerate(read_json_lines(path), 1)
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
        """Read yes or no."""
        return yes_no_row(item, outputs, protocol=protocol)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the headline, then the five scores of each category.

        lmms-eval prints the share of yes among the right answers as its yes ratio; here that is
        `truth_yes_ratio`, and `yes_ratio` is what the model says under both protocols.
        """
        groups = list(dict.fromkeys(row.group for row in rows))
        scores: dict[str, Score] = {}
        if protocol == "llava-parse":
            scores["f1"] = _mean_f1(rows, groups)
        else:
            scores |= five_scores(rows)
            scores["truth_yes_ratio"] = over_items(rows, "truth", scale=PERCENT)
        for group in groups:
            inside = five_scores([row for row in rows if row.group == group])
            scores |= {f"{group}/{name}": score for name, score in inside.items()}
        return scores | {"parse_failures": parse_failures(rows)}

    def _item(self, row: Mapping[str, Any], category: str | None, *, where: str) -> Item:
        category = category or field(row, "category", str, where=where)
        question = field(row, "text" if "text" in row else "question", str, where=where)
        answer = field(row, "label" if "label" in row else "answer", str, where=where)
        answer = answer.strip().lower()
        if answer not in {"yes", "no"}:
            raise DataError(f"{where}: the answer must be yes or no, got {answer!r}")
        # LLaVA's question file holds the request already.
        prompt = question if SHORT_ANSWER in question else f"{question}\n{SHORT_ANSWER}"
        image = field(row, "image", object, where=where)
        picture = picture_of(image, self.pictures, where=where)
        return Item(
            id=safe_id(f"{category}-{name_field(row, 'question_id', where=where)}"),
            group=category,
            prompt=prompt,
            want="text",
            given=partial(document, prompt, pictures=[picture]),
            truth={"answer": answer} | ({"picture": image} if isinstance(image, str) else {}),
        )


def yes_no_row(item: Item, outputs: Sequence[Output], *, protocol: str) -> Row:
    """Read yes or no and compare it with the item's answer.

    Args:
        item: Its truth has an `answer`, "yes" or "no", and maybe the name of its `picture`, which
            makes all questions about one picture one unit.
        outputs: The answer of a model.
        protocol: Whose script reads it, one of `Pope.protocols`.
    """
    read = _READERS[protocol](said(outputs))
    return Row(
        item.id,
        item.group,
        {
            "right": float(read == item.truth["answer"]),
            "yes": float(read == "yes"),
            "no": float(read == "no"),
            "truth": float(item.truth["answer"] == "yes"),
        },
        failures=() if read else ("neither yes nor no",),
        facts={"said": said(outputs), "read": read, "answer": item.truth["answer"]},
        unit=item.truth.get("picture", ""),
    )


def five_scores(rows: Sequence[Row], *, scale: float = PERCENT) -> dict[str, Score]:
    """Return accuracy, precision, recall, F1 and the share of yes.

    Args:
        rows: Of `yes_no_row`.
        scale: What all right is worth; per cent as in the scripts.
    """
    cells, units = _cells(rows), [row.unit for row in rows]

    def scaled(statistic: Statistic) -> Statistic:
        return lambda means: scale * statistic(means)

    return {
        "accuracy": over_items(rows, "right", scale=scale),
        **{
            name: resampled(cells, scaled(statistic), units=units)
            for name, statistic in _STATISTICS.items()
        },
        "yes_ratio": over_items(rows, "yes", scale=scale),
    }


def _mean_f1(rows: Sequence[Row], groups: Sequence[str]) -> Score:
    """The mean of the F1 of all categories."""
    columns = np.zeros((len(rows), len(groups), 3))
    for row, place, cells in zip(rows, columns, _cells(rows), strict=True):
        place[groups.index(row.group)] = cells

    def statistic(means: Means) -> Numbers:
        return PERCENT * _f1(means.reshape(-1, 3)).reshape(-1, len(groups)).mean(1)

    values = columns.reshape(len(rows), 3 * len(groups))
    return resampled(values, statistic, units=[row.unit for row in rows])


def _cells(rows: Sequence[Row]) -> Float64[np.ndarray, "items 3"]:
    """Flags for true yes, false yes and false no.

    An answer that says neither is no false no: lmms-eval leaves it out of the recall too.
    """
    yes, no, truth = (
        np.array([row.values[name] for row in rows], np.float64) for name in ("yes", "no", "truth")
    )
    return np.stack([yes * truth, yes * (1 - truth), no * truth], axis=1)


def _precision(cells: Means) -> Numbers:
    return _ratio(cells[:, 0], cells[:, 0] + cells[:, 1])


def _recall(cells: Means) -> Numbers:
    return _ratio(cells[:, 0], cells[:, 0] + cells[:, 2])


def _f1(cells: Means) -> Numbers:
    return _ratio(2 * cells[:, 0], 2 * cells[:, 0] + cells[:, 1] + cells[:, 2])


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    """A share; 0 where there is nothing to divide by, where LLaVA's script ends."""
    return part / np.where(whole == 0, 1, whole)


_STATISTICS: dict[str, Statistic] = {"precision": _precision, "recall": _recall, "f1": _f1}
