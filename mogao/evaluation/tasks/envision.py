"""Envision: 1,000 events in four pictures each, judged as a chain by a chat judge.

In: one of the files `envision_*.json`, rows `{index, category, process_type, prompts: [{step,
prompt, explanation} x 4]}`, or a folder with several of them. Out: nine scores of 0 to 5, weighted
within three dimensions (.33, .33, .34) and over them (.4 consistency, .4 physicality, .2
aesthetics), their plain mean, and the shares of scores of at least 3 and 4. The paper's tables run
to 100; twenty times these figures is our reading of them.

Under "official" the quirks of the script hold: a score that the judge leaves out counts 0 in the
weighted means; dynamics is found under two names and counts twice in the plain mean and the shares;
each figure of a chain is rounded to two places; a chain of fewer than four pictures is left out of
the means. Under the other rules such a chain has 0 in every figure. A chain whose scores could not
be read is left out under each, and `scored` is the share of chains that the means rest on.

Source: arXiv 2512.01816; opendatalab-raiser/Envision, `eval.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mogao.data.images import read_image
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Made, Output, Row, Turn
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.rubric import Scale, ask, find_lines, read_lines
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.judged import (
    Opinion,
    check_choice,
    load_templates,
    numbered_rows,
    opinion_row,
)
from mogao.evaluation.tasks.records import distinct, document, field, safe_id
from mogao.evaluation.tasks.statistics import scored
from mogao.sequence import InterleavedSequence

STEPS = 4
DIMENSIONS = {
    "consistency": {
        "semantic_consistency": 0.33,
        "factual_consistency": 0.33,
        "spatial_temporal_consistency": 0.34,
    },
    "physicality": {
        "basic_properties": 0.33,
        "dynamics_and_interactivity": 0.33,
        "physical_reliability": 0.34,
    },
    "aesthetics": {"expressiveness": 0.33, "artistic_quality": 0.33, "authenticity": 0.34},
}
WEIGHTS = {"consistency": 0.4, "physicality": 0.4, "aesthetics": 0.2}
SCALE = Scale(tuple(name for names in DIMENSIONS.values() for name in names), 0, 5)

_RULES = ("official", "weighted", "unweighted")
_TWICE = "dynamics_and_interactivity"
_FIGURES = ("overall", *WEIGHTS, "plain_mean", "share_3", "share_4")
_ASKED = "Draw the four pictures of one event, one after another, as one course of things."
_TEMPLATE = """You see four pictures. In this order they tell one event ({category}, {process}):
{steps}

Judge the four together and give nine scores, each a whole number from 0 (fails) over 3 (fair) to
5 (without fault). Be strict.
Semantic Consistency: they show what the words mean.
Factual Consistency: they agree with what is known.
Spatial-Temporal Consistency: places and times go on from picture to picture.
Basic Properties: numbers, shapes, sizes are right.
Dynamics and Interactivity: movement, forces and contact are as in the world.
Physical Reliability: the laws of physics hold throughout.
Expressiveness: they tell the event clearly and with effect.
Artistic Quality: composition and one style throughout.
Authenticity: they look real, not made.

Answer with nine lines and nothing else, each a name from above, a colon and the score."""


def dimension_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the weighted mean in each dimension; a missing score counts 0."""
    return {
        name: sum(weight * scores.get(score, 0.0) for score, weight in weights.items())
        for name, weights in DIMENSIONS.items()
    }


def figures(scores: Mapping[str, float], rule: str) -> dict[str, float]:
    """Return all figures of one chain under a rule."""
    counted = list(scores.values())
    dimensions = dimension_scores(scores)
    overall = sum(WEIGHTS[name] * score for name, score in dimensions.items())
    if rule == "official" and _TWICE in scores:
        counted.append(scores[_TWICE])
    mean = sum(counted) / len(counted)
    if rule == "unweighted":
        overall = mean
        dimensions = {
            name: sum(scores[score] for score in weights) / len(weights)
            for name, weights in DIMENSIONS.items()
        }
    found = {
        "overall": overall,
        **dimensions,
        "plain_mean": mean,
        **{f"share_{n}": sum(score >= n for score in counted) / len(counted) for n in (3, 4)},
    }
    if rule == "official":
        return {name: round(figure, 2) for name, figure in found.items()}
    return found


class Envision:
    """The benchmark Envision.

    Args:
        data: A file of records, or a folder of such files; their indices all begin with 1, so
            that with a folder the pictures of each process type lie in a folder of its name.
        templates: JSON object with the judge's text under "envision", with places {category},
            {process} and {steps}; None takes our own words.
        generation: How the pictures are made: "history" is one document in which later pictures
            see earlier ones; "independent" is each picture from its own prompt alone, in a document
            of its own. It is part of the protocols' names.

    Raises:
        ConfigError: There is no such way of generation.
        DataError: The templates are not valid.
    """

    name = "envision"

    def __init__(
        self,
        data: Path,
        *,
        templates: Path | None = None,
        generation: str = "history",
    ) -> None:
        check_choice("generation", generation, ("history", "independent"))
        self._data, self._generation = data, generation
        self._templates = load_templates(templates, {"envision": _TEMPLATE})
        self._rules = tuple(f"{rule}/{generation}" for rule in _RULES)
        self.protocols = self._templates.protocols(self._rules)

    def items(self) -> Sequence[Item]:
        """Return one item for each event.

        Raises:
            DataError: A file or a record is at fault.
        """
        files = sorted(self._data.glob("*.json")) if self._data.is_dir() else [self._data]
        rows = [found for path in files for found in numbered_rows(path)]
        return distinct([self._item(row, where=where) for where, row in rows], path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where the first of the four pictures may lie.

        The last place is that of pictures that `mogao sample` drew from one prompt a step.
        """
        index = item.truth["index"]
        stems = (f"index_{index:04d}", f"index_{index}", str(index))
        steps = [*(f"{stem}_step_1.png" for stem in stems), "step_1.png", "1.png"]
        names = [f"{stem}/{step}" for stem in stems for step in steps] + steps[: len(stems)]
        roots = [f"{item.group}/"] if self._data.is_dir() else ["", f"{item.group}/"]
        official = [f"{root}{name}" for root in roots for name in names]
        return [*([] if k else official), f"{item.id}-step-1/{k}.png"]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask the judge, who sees the four pictures in order.

        Raises:
            ConfigError: There is no judge, or no such protocol.
            RequestError: A picture cannot be read.
        """
        rule = self._rule(protocol)
        judge = tools.need("judge")
        names = ("category", "process", "steps")
        question = self._templates.fill("envision", {name: item.truth[name] for name in names})

        def judge_chain(output: Output) -> Opinion:
            paths = step_pictures(output)
            if len(paths) < STEPS:
                values = {} if rule == "official" else dict.fromkeys(_FIGURES, 0.0)
                return Opinion(values, (f"{len(paths)} of {STEPS} pictures",))
            pictures = [read_image(path) for path in paths]
            read = partial(_read, is_partial=rule == "official")
            verdict = ask(judge, question, pictures=pictures, read=read)
            if verdict.scores is None:
                return Opinion(failures=("judge: envision",), facts={"replies": verdict.replies})
            missing = [name for name in SCALE.names if name not in verdict.scores]
            return Opinion(
                figures(verdict.scores, rule),
                tuple(f"judge: {name}" for name in missing),
                {"replies": verdict.replies, "scores": verdict.scores},
            )

        return opinion_row(item, outputs, judge_chain)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean of each figure, the overall one of each process, the share of chains."""
        self._rule(protocol)
        return {
            **{name: over_items(rows, name) for name in _FIGURES},
            **by_group(rows, "overall"),
            "scored": scored(rows),
        }

    def _rule(self, protocol: str) -> str:
        return _RULES[self._rules.index(self._templates.rule(protocol, self._rules))]

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        index = field(row, "index", int, where=where)
        process = field(row, "process_type", str, where=where)
        prompts = field(row, "prompts", list, where=where)
        steps = {field(one, "step", int, where=f"{where}: prompts"): one for one in prompts}
        if sorted(steps) != list(range(1, STEPS + 1)):
            raise DataError(f"{where}: field 'prompts': expected steps 1 to 4, got {sorted(steps)}")
        said: dict[str, list[str]] = {
            name: [
                field(steps[n], name, str, where=f"{where}: step {n}") for n in range(1, STEPS + 1)
            ]
            for name in ("prompt", "explanation")
        }
        told = zip(said["prompt"], said["explanation"], strict=True)
        truth = {
            "index": index,
            "category": field(row, "category", str, where=where),
            "process": process,
            "prompts": said["prompt"],
            "steps": "\n".join(f"{n}. {text}\n({why})" for n, (text, why) in enumerate(told, 1)),
        }
        listed = "\n".join(f"{n}. {text}" for n, text in enumerate(said["prompt"], 1))
        name = safe_id(f"{process}-{index:04d}")
        if self._generation == "history":
            prompt = f"{_ASKED}\n{listed}"
            return Item(name, process, prompt, "document", partial(document, prompt), truth)
        first, *others = said["prompt"]
        turns = tuple(Turn("picture", partial(_alone, text), is_fresh=True) for text in others)
        given = partial(document, first)
        return Item(name, process, listed, "picture", given, truth, turns=turns)


def step_pictures(output: Output) -> list[Path]:
    """Return the pictures of a chain, as far as they are there.

    They are those of a document. Where an output is one file of a first step alone, the others are
    the files beside it that differ in the number of the step.
    """
    if len(output.parts) != 1 or not output.pictures:
        return list(output.pictures[:STEPS])
    paths = _steps(output.pictures[0])
    return [path for path in paths if path.exists()]


def _steps(first: Path) -> list[Path]:
    """The files of all steps, or the first alone where its name is not that of a first step."""
    folder, others = first.parent, range(2, STEPS + 1)
    if folder.name.endswith("-step-1"):
        stem = folder.name[:-1]
        return [first, *(folder.with_name(f"{stem}{step}") / first.name for step in others)]
    # A bare "1.png" is a step in a folder that has an index, elsewhere the second output.
    is_step = re.search(r"step_1\.\w+$", first.name) or (
        first.stem == "1" and re.fullmatch(r"(index_)?\d+", folder.name)
    )
    if not is_step:
        return [first]
    return [first, *(first.with_stem(f"{first.stem[:-1]}{step}") for step in others)]


def _read(reply: str, *, is_partial: bool) -> dict[str, float] | None:
    """Read nine scores, or for the official rule as many as there are, at least one."""
    return (find_lines(reply, SCALE) or None) if is_partial else read_lines(reply, SCALE)


def _alone(prompt: str, made: Made) -> InterleavedSequence:
    """The document of one step, whatever was drawn for the others."""
    del made
    return document(prompt)
