"""The suite of the checkpoint that ships: draw, answer, edit and tell in the world.

In: nothing but a seed and styles. Out: shares of prompts that were fulfilled, beside the judge's
ceilings. Prompts are of trained concepts with unseen scene seeds, concept-colour pairs and object
pairs; pictures that are shown are of the styles that the checkpoint has learned.
"""

from __future__ import annotations

from collections.abc import Sequence

from mogao.evaluation.benchmark import Item, Output, Row, Want
from mogao.evaluation.judges.report import Report
from mogao.evaluation.prompts import make_prompts
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.world import (
    edit_done,
    same_answer,
    shows_all,
    shows_colours,
    shows_count,
    shows_relation,
    shows_single,
)
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING, over_items
from mogao.evaluation.tasks.world.base import (
    PERFECT,
    WorldBenchmark,
    item_of,
    scene_of,
    score_of,
)

SIZES = {
    "single_object": 300, "two_object": 300, "colors": 300, "counting": 100, "position": 100,
    "color_attr": 100, "questions": 420, "edits": 120, "stories": 20,
}  # fmt: skip
_WANTS: dict[str, Want] = {"questions": "text", "stories": "document"}
_LEAST_STORY_PICTURES = 3


class NanoSuite(WorldBenchmark):
    """The first suite of the world."""

    name = "nano"
    protocols: tuple[str, ...] = ("mogao-world-2",)

    def items(self) -> Sequence[Item]:
        """Return all items, task by task."""
        return [
            item_of(prompt, _WANTS.get(task, "picture"))
            for task, num in SIZES.items()
            for prompt in make_prompts(task, num, seed=self._seed, settings=self._settings)
        ]

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Apply the rule of the item's task."""
        output = outputs[0]
        facts = {key: value for key, value in item.truth.items() if key != PERFECT}
        if item.group == "questions":
            right = same_answer(output.text, item.truth["answer"])
            return Row(item.id, item.group, {"right": float(right)}, facts=facts)
        if item.group == "stories":
            count = len(output.pictures)
            values = {"right": float(count >= _LEAST_STORY_PICTURES), "pictures": float(count)}
            return Row(item.id, item.group, values, facts=facts)
        target = scene_of(item.truth, "target")
        assert target is not None
        report, failures = self._judge.read(output)
        values = {
            "right": float(report is not None and is_right(item, report)),
            CEILING: float(is_right(item, self._judge.read_render(target))),
        }
        facts["report"] = None if report is None else report.to_json()
        return Row(item.id, item.group, values, failures, facts)

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the share of each task, then of each kind of question and edit."""
        groups = dict.fromkeys(row.group for row in rows)
        scores = {name: score_of(rows, "right", groups=[name]) for name in groups}
        for row in rows:
            if "kind" in row.facts:
                name = f"{row.group}/{row.facts['kind']}"
                same = [
                    other
                    for other in rows
                    if (other.group, other.facts.get("kind")) == (row.group, row.facts["kind"])
                ]
                scores.setdefault(name, score_of(same, "right"))
        if "stories" in groups:
            scores["story_pictures"] = over_items(rows, "pictures")
        return scores


def is_right(item: Item, report: Report) -> bool:
    """Apply the rule of a picture task or of edits to what a judge saw."""
    truth = item.truth
    source, target = scene_of(truth, "source"), scene_of(truth, "target")
    if source is not None and target is not None:
        return edit_done(report, source, target)
    concepts: list[str] = truth["concepts"]
    match item.group:
        case "single_object":
            return shows_single(report, concepts[0])
        case "two_object":
            return shows_all(report, concepts)
        case "counting":
            return shows_count(report, concepts[0], truth["count"])
        case "position":
            return shows_relation(report, truth["relation"], (concepts[0], concepts[1]))
        case _:
            return shows_colours(report, list(zip(concepts, truth["colours"], strict=True)))
