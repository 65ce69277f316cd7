"""Dense prompts: scenes of three or four things, told in full, checked fact by fact.

In: nothing but a seed and styles. Out: the mean over prompts of the share of questions that hold
with their parents, the share of prompts for which all do, and shares by category, each beside its
ceiling. The form is that of DPG-Bench; the judge of the world answers in place of a model.

Scenes show a colour or a pair that training never showed, of concepts that it knows. Those of
three things have the form of training's mixed scenes; four things, three or four of them different,
are one step beyond it, so the two have scores of their own.

Source: arXiv 2403.05135 (dense prompts), arXiv 2310.18235 (graph of questions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mogao.data.world.choice import pick
from mogao.data.world.language import NUMBERS, describe
from mogao.data.world.scene import Scene
from mogao.data.world.splits import Settings
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.judges.report import Report
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.facts import (
    CATEGORIES,
    Facts,
    answers,
    question_graph,
    report_facts,
    scene_facts,
)
from mogao.evaluation.rules.question_graph import grade
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    WorldBenchmark,
    item_of,
    scene_of,
    score_of,
    score_with_ceiling,
)
from mogao.evaluation.tasks.world.scenes import composed, painted, scene_of_split
from mogao.sequence import Pixels

_NUM = 100
_SHAPES = ((1, 1, 1), (1, 1, 1, 1), (2, 1), (2, 1, 1))  # how many of each thing; they take turns
_LEVEL = 3


class WorldDense(WorldBenchmark):
    """100 prompts in whole sentences, one picture each."""

    name = "world_dense"
    protocols: tuple[str, ...] = ("world-dense-1",)

    def items(self) -> Sequence[Item]:
        """Return all items; each prompt names at least a colour and a place."""
        scenes = [
            scene_of_split(
                partial(_draw, shape=_SHAPES[number % len(_SHAPES)], settings=self._settings),
                number=number,
                suite=self.name,
                seed=self._seed,
                split=self._settings.split,
            )
            for number in range(_NUM)
        ]
        return [item_of(_prompt(scene, i), "picture") for i, scene in enumerate(scenes)]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Answer the questions of a prompt about its picture, and about a real render."""
        target = scene_of(item.truth, "target")
        assert target is not None
        wanted = scene_facts(target, level=_LEVEL)
        top = verdict_on(wanted, self._judge.read_render(target))

        def rule(pixels: Pixels) -> Judged:
            return verdict_on(wanted, self._judge.read_pixels(pixels))

        row = picture_row(item, outputs, rule, names=list(top.values))
        # A picture that is missing takes nothing from the ceiling.
        values = {**row.values, CEILING: top.values["score"]}
        return replace(row, values=values, facts={**row.facts, CEILINGS: dict(top.values)})

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean score, the share of prompts all right, each category, each group."""
        names = dict.fromkeys(["score", "right", *CATEGORIES.values()])
        groups = dict.fromkeys(row.group for row in rows)
        return {
            **{name: score_with_ceiling(rows, name) for name in names},
            **{group: score_of(rows, "score", groups=[group]) for group in groups},
        }


def verdict_on(wanted: Facts, report: Report) -> Judged:
    """Return what questions after some facts make of a judge's report.

    Args:
        wanted: What a prompt says, at least one fact.
        report: What the picture shows.

    Returns:
        The score, whether all is right, and the share that counts of each category that is asked.
    """
    graph = question_graph(wanted)
    questions = [question for question, _ in graph]
    found = grade(questions, answers(graph, report_facts(report)))
    values = {"score": found.mean, "right": float(min(found.counted.values()) == 1)}
    for name in dict.fromkeys(question.category for question in questions):
        own = [found.counted[question.id] for question in questions if question.category == name]
        values[name] = sum(own) / len(own)
    wrong = [question.text for question in questions if not found.counted[question.id]]
    return Judged(values, {"wrong": wrong, "report": report.to_json()})


def _draw(rng: np.random.Generator, *, shape: Sequence[int], settings: Settings) -> Scene | None:
    """Draw a scene with so many of each thing, or None where it is not dense or does not fit."""
    names = [pick(rng, settings.concepts) for _ in shape]
    things = painted(rng, names, settings)
    style = pick(rng, settings.styles)
    if len(set(names)) < len(names):
        return None
    scene = composed(rng, things, shape, style=style, settings=settings)
    if scene is None:
        return None
    kinds = {fact.kind for fact in scene_facts(scene, level=_LEVEL)}
    return scene if {"colour", "place"} <= kinds else None


def _prompt(scene: Scene, number: int) -> Prompt:
    text = describe(scene, level=_LEVEL)
    return Prompt(f"dense-{number:03d}", f"{NUMBERS[len(scene.objects)]}_things", text, scene)
