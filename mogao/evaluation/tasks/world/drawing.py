"""GenEval's form in the world: six tags, GenEval's rule, the world's judge.

In: nothing but a seed. Out: strict and graded accuracy of each tag and their means, beside
ceilings. An empty sheet has a graded mean of 1/12, for it shows no thing too many. Colours, pairs
and places are such as training never showed; things alone and numbers are of trained concepts in
unseen scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.judges.report import Report
from mogao.evaluation.prompts import make_prompts
from mogao.evaluation.providers.base import Detection, Tools
from mogao.evaluation.rules.geneval import Options, Verdict, judge, read_request
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    WorldBenchmark,
    item_of,
    mean_of_groups,
    scene_of,
    score_of,
)
from mogao.sequence import Pixels

SIZES = {
    "single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100,
    "color_attr": 100,
}  # fmt: skip
"""As many prompts of each tag as GenEval has."""
PICTURES = 4
# The judge names what fits best and is never unsure as a detector is.
OPTIONS = Options(confidence=0.0, counting_confidence=0.0)


class WorldGenEval(WorldBenchmark):
    """553 prompts, four pictures each."""

    name = "world_geneval"
    protocols: tuple[str, ...] = ("world-geneval-2",)

    def items(self) -> Sequence[Item]:
        """Return all items, tag by tag; the truth of each is a record of GenEval."""
        return [
            item_of(prompt, "picture", num=PICTURES, truth=record(task, prompt.truth))
            for task, num in SIZES.items()
            for prompt in make_prompts(task, num, seed=self._seed, settings=self._settings)
        ]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Apply GenEval's rule to each picture, and to a real render."""
        target = scene_of(item.truth, "target")
        assert target is not None
        top = verdict_on(item, self._judge.read_render(target))

        def rule(pixels: Pixels) -> Judged:
            found = verdict_on(item, self._judge.read_pixels(pixels))
            values = {"right": float(found.right), "graded": found.graded}
            return Judged(values, {"reasons": found.reasons})

        row = picture_row(item, outputs, rule, names=("right", "graded"))
        # A picture that is missing takes nothing from the ceiling.
        values = {**row.values, CEILING: float(top.right)}
        tops = {"right": float(top.right), "graded": top.graded}
        return replace(row, values=values, facts={**row.facts, CEILINGS: tops})

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean over the tags, the graded one, then each tag."""
        tags = dict.fromkeys(row.group for row in rows)
        return {
            "overall": mean_of_groups(rows, "right"),
            "graded": mean_of_groups(rows, "graded"),
            **{tag: score_of(rows, "right", groups=[tag]) for tag in tags},
        }


def verdict_on(item: Item, report: Report) -> Verdict:
    """Apply GenEval's rule to what the judge saw."""
    found = [Detection(one.concept, one.box, one.score) for one in report.findings]
    colours = {one.box: seen.colour for one, seen in zip(found, report.findings, strict=True)}
    return judge(
        read_request(item.truth, where=item.id),
        found,
        colour=lambda one: colours[one.box],
        options=OPTIONS,
    )


def record(task: str, truth: dict[str, Any]) -> dict[str, Any]:
    """Return what a prompt asks for in the form of GenEval's records.

    A place is that of the second clause, seen from the first, as in GenEval.
    """
    clauses: list[dict[str, Any]] = [
        {"class": name, "count": 1} | ({} if colour is None else {"color": colour})
        for name, colour in zip(truth["concepts"], truth["colours"], strict=True)
    ]
    exclude = []
    if task == "counting":
        clauses[0]["count"] = truth["count"]
        exclude = [{"class": truth["concepts"][0], "count": truth["count"] + 1}]
    if task == "position":
        clauses.reverse()
        clauses[1]["position"] = [truth["relation"], 0]
    return {"tag": task, "include": clauses, "exclude": exclude}
