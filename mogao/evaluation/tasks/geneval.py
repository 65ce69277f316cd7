"""GenEval: 553 short prompts in six tags, judged by a detector and a reader of colours.

In: `evaluation_metadata.jsonl`, or another file of the same form (long prompts, for example); name
the file beside the score. Out: accuracy over pictures for each tag, their mean, the graded mean.

Source: arXiv 2310.11513; repository djghosh13/geneval, `evaluation/summary_scores.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.geneval import judge, read_request
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_groups
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.records import distinct, document, field, read_json_lines
from mogao.sequence import Pixels

_PICTURES = 4  # for each prompt


class GenEval:
    """The benchmark GenEval.

    Args:
        data: File of records, one JSON object a line.
    """

    name = "geneval"
    protocols: tuple[str, ...] = ("official",)

    def __init__(self, data: Path) -> None:
        self._data = data

    def items(self) -> Sequence[Item]:
        """Return one item for each record, four pictures each.

        Raises:
            DataError: The file or a record is at fault.
        """
        items = []
        for number, row in enumerate(read_json_lines(self._data)):
            where = f"{self._data}: record {number + 1}"
            read_request(row, where=where)  # a fault shows before anything is drawn
            prompt = field(row, "prompt", str, where=where)
            items.append(
                Item(
                    f"{number:05d}",
                    field(row, "tag", str, where=where),
                    prompt,
                    "picture",
                    partial(document, prompt),
                    truth=row,
                    num=_PICTURES,
                )
            )
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie; the official folders have four or five digits."""
        samples = f"{item.id}/samples"
        return [f"{samples}/{k:04d}.png", f"{samples}/{k:05d}.png", *picture_places(item, k)]

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Apply the rule to each picture.

        Raises:
            ConfigError: There is no detector, or no reader of colours where one is needed.
        """
        detector = tools.need("detector")
        request = read_request(item.truth, where=item.id)
        has_colours = any(clause.colour is not None for clause in request.include)
        colours: Any = tools.need("colours") if has_colours else None

        def rule(pixels: Pixels) -> Judged:
            verdict = judge(
                request,
                detector.detect(pixels),
                colour=lambda found: colours.colour(pixels, found),
            )
            values = {"right": float(verdict.right), "graded": verdict.graded}
            return Judged(values, {"reasons": verdict.reasons})

        return picture_row(item, outputs, rule, names=("right", "graded"))

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the mean over the tags, each tag, and the graded mean over the tags."""
        return {
            "overall": over_groups(rows, "right"),
            **by_group(rows, "right"),
            "graded": over_groups(rows, "graded"),
        }
