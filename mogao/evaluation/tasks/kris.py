"""KRIS-Bench: 1,267 edits of twenty types that need knowledge, judged by a chat judge.

In: `final_data.json`, rows `{id, type, ori_img, ins_en, explain_en, gt_img}`; pictures lie in
`images/<type>/`. Out: 0 to 100 for seven dimensions, three levels and all: each score s of 1 to 5
counts (s - 1) x 25, and the mean is over all scores of all samples together, so that a sample with
four scores weighs more than one with three. A sample without a picture is passed over, as in the
scripts, and `scored` is the share of samples that have a score.

Source: arXiv 2505.16707; BAGEL, `eval/gen/kris/summarize.py` and `metrics_*.py`. The script for
common edits tests for a type "abnormality_correction" that no row has, so that corrections are
judged without their explanation there and here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mogao.errors import DataError, nearest
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.rubric import Scale, ask, read_lines, read_object
from mogao.evaluation.scores import Score
from mogao.evaluation.tasks.judged import (
    Opinion,
    load_templates,
    numbered_rows,
    picture_opinions,
)
from mogao.evaluation.tasks.records import (
    distinct,
    document,
    field,
    name_field,
    picture_file,
    safe_id,
)
from mogao.evaluation.tasks.statistics import resampled, scored
from mogao.sequence import Pixels

DIMENSIONS = {
    "attribute": (
        "count_change",
        "color_change",
        "size_adjustment",
        "part_completion",
        "anomaly_correction",
    ),
    "spatial": ("viewpoint_change", "position_movement"),
    "temporal": ("temporal_prediction",),
    "social": ("humanities", "practical_knowledge"),
    "natural": ("biology", "chemistry", "geography", "medicine", "mathematics", "physics"),
    "logical": ("abstract_reasoning", "rule-based_reasoning"),
    "decomposition": ("multi-element_composition", "multi-instruction_execution"),
}
LEVELS = {
    "factual": ("attribute", "spatial", "temporal"),
    "conceptual": ("social", "natural"),
    "procedural": ("logical", "decomposition"),
}
KNOWLEDGE = ("social", "natural", "logical")
"""Dimensions whose samples are also judged for the plausibility of the knowledge."""
METRICS = ("consistency", "quality", "instruction", "knowledge")

_RULES = ("bagel-pooled",)
_TYPES = {kind: name for name, kinds in DIMENSIONS.items() for kind in kinds}
_FRAMES = 4  # of a sequence whose one missing frame is predicted

_EDIT = """You see the source picture, then the result of editing it by this instruction:
{instruction}
"""
_MULTI = """You see several source pictures, then a result that was to put parts of them together
by this instruction:
{instruction}
"""
_TEMPORAL = """You see the frames of one sequence in order. Frame {frame} was predicted from the
others by this instruction; judge that frame:
{instruction}
"""
_VIEWPOINT = """You see the source picture, then the result of editing it by this instruction, then
a picture of what is right:
{instruction}
"""
_CONSISTENCY = """
How well was everything kept that the instruction does not speak of: things, places, style, light?
1 = another picture altogether, 3 = clear changes, 5 = all of it was kept."""
_INSTRUCTION = """
How well was the instruction carried out? 1 = not at all, 3 = in part, 5 = wholly and exactly."""
_KNOWLEDGE = """
The right outcome, in words: {explanation}
How well does the result agree with what is known, as told by these words? 1 = against it,
3 = in part, 5 = in every way."""
_QUALITY = """Judge the quality of this picture as it stands: sharpness, sound shapes, no seams, no
faults. 1 = broken, 3 = clear faults, 5 = none."""


def _question(text: str, *names: str) -> str:
    """A question with the form of its answer: whole numbers from 1 to 5 under these names."""
    form = ", ".join(f'"{name}_score": <1 to 5>' for name in names)
    return f'{text}\n\nAnswer with one JSON object: {{{form}, "reasoning": "<one sentence>"}}'


_TEMPLATES = {
    "consistency": _question(_EDIT + _CONSISTENCY, "consistency"),
    "multi-consistency": _question(_MULTI + _CONSISTENCY, "consistency"),
    "temporal-consistency": _question(_TEMPORAL + _CONSISTENCY, "consistency"),
    "instruction": _question(_EDIT + _INSTRUCTION, "instruction"),
    "multi-instruction": _question(_MULTI + _INSTRUCTION, "instruction"),
    "temporal-instruction": _question(_TEMPORAL + _INSTRUCTION, "instruction"),
    "viewpoint-instruction": _question(_VIEWPOINT + _INSTRUCTION, "instruction"),
    "knowledge": _question(_EDIT + _INSTRUCTION + _KNOWLEDGE, "instruction", "knowledge"),
    "quality": _question(_QUALITY, "quality"),
}


def dimension(kind: str) -> str:
    """Return the dimension of a type of edit.

    Raises:
        DataError: There is no such type.
    """
    if kind not in _TYPES:
        raise DataError(f"field 'type': no type {kind!r}; {nearest(kind, _TYPES)}")
    return _TYPES[kind]


def percent(score: float) -> float:
    """Return a score of 1 to 5 on the scale of 0 to 100."""
    return (score - 1) * 25


def pooled(rows: Sequence[Row], *, metrics: Sequence[str] = METRICS) -> Score:
    """Return the mean over all scores of all samples, with an interval over samples."""
    found = [[row.values[name] for name in metrics if name in row.values] for row in rows]
    sums = np.array([[sum(scores), len(scores)] for scores in found if scores], np.float64)
    sums = sums.reshape(-1, 2)  # also where there is no row
    return resampled(sums, lambda means: means[..., 0] / means[..., 1])


class Kris:
    """The benchmark KRIS-Bench.

    Args:
        data: File of records.
        images: Folder with one folder of pictures for each type.
        templates: JSON object with the judge's texts: "consistency" and "instruction", both also
            after "multi-" and "temporal-", "viewpoint-instruction", "knowledge", "quality"; places
            {instruction}, {explanation} in "knowledge", {frame} after "temporal-". Answers name
            `consistency_score` and so on. None takes our own words.
    """

    name = "kris"

    def __init__(
        self, data: Path, *, images: Path | None = None, templates: Path | None = None
    ) -> None:
        self._data, self._images = data, images
        self._templates = load_templates(templates, _TEMPLATES)
        self.protocols = self._templates.protocols(_RULES)

    def items(self) -> Sequence[Item]:
        """Return one item for each edit; its group is the type.

        Raises:
            DataError: The file or a record is at fault.
        """
        rows = numbered_rows(self._data)
        return distinct([self._item(row, where=where) for where, row in rows], path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where results lie; the public scripts have `images/<type>/<id>.png`."""
        name = f"{item.group}/{item.truth['id']}.png"
        return [*picture_places(item, k), *([] if k else [name, f"images/{name}"])]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask the judge one question for each metric; instruction and knowledge share one.

        Raises:
            ConfigError: There is no judge, or no such protocol.
        """
        self._templates.rule(protocol, _RULES)
        judge = tools.need("judge")
        sources = [image.pixels for image in item.given().images]
        reference = self._reference(item)
        values = {name: str(item.truth[name]) for name in ("explanation", "frame")}
        values["instruction"] = item.prompt

        def rule(pixels: Pixels) -> Opinion:
            scores: dict[str, float] = {}
            failures, replies = [], {}
            for asked in _questions(item, sources, result=pixels, reference=reference):
                verdict = ask(
                    judge,
                    self._templates.fill(asked.template, values),
                    pictures=asked.pictures,
                    read=partial(_read, metrics=asked.metrics),
                )
                replies[asked.template] = verdict.replies
                if verdict.scores is None:
                    failures += [f"judge: {name}" for name in asked.metrics]
                scores |= verdict.scores or {}
            return Opinion(scores, tuple(failures), {"replies": replies})

        return picture_opinions(item, outputs, rule, missing={})

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the pooled mean of all, of each level, of each dimension and of each metric."""
        self._templates.rule(protocol, _RULES)
        found = {name: [row for row in rows if dimension(row.group) == name] for name in DIMENSIONS}
        levels = {
            level: [row for name in names for row in found[name]] for level, names in LEVELS.items()
        }
        return {
            "overall": pooled(rows),
            **{name: pooled(some) for name, some in {**levels, **found}.items()},
            **{metric: pooled(rows, metrics=[metric]) for metric in METRICS},
            "scored": scored(rows),
        }

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        kind = field(row, "type", str, where=where)
        try:
            name = dimension(kind)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        prompt = field(row, "ins_en", str, where=where)
        sources = row.get("ori_img")
        if isinstance(sources, str):
            sources = [sources]
        if not isinstance(sources, list) or not all(isinstance(one, str) for one in sources):
            raise DataError(f"{where}: field 'ori_img': expected one file name or several")
        pictures = [
            picture_file(self._images, f"{kind}/{source}", where=where) for source in sources
        ]
        frames = _frames(sources, where=where) if name == "temporal" else []
        is_viewpoint = kind == "viewpoint_change"
        number = name_field(row, "id", where=where)
        truth = {
            "id": number,
            "explanation": field(row, "explain_en", str, where=where),
            "frames": frames,
            "frame": _missing(frames) if frames else "",
            "reference": field(row, "gt_img", str, where=where) if is_viewpoint else "",
        }
        given = partial(document, prompt, pictures=pictures)
        return Item(safe_id(f"{kind}-{number}"), kind, prompt, "picture", given, truth)

    def _reference(self, item: Item) -> Pixels | None:
        """The right picture, which the records show the judge for changes of the viewpoint."""
        name = item.truth["reference"]
        where = f"{self._data}: {item.id}"
        return picture_file(self._images, f"{item.group}/{name}", where=where)() if name else None


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One question to the judge: its template, the metrics it gives, the pictures in order."""

    template: str
    metrics: tuple[str, ...]
    pictures: Sequence[Pixels]


def _questions(
    item: Item, sources: Sequence[Pixels], *, result: Pixels, reference: Pixels | None
) -> list[_Asked]:
    """What the judge is asked about one result; quality is judged from the result alone."""
    shown, prefix = [*sources, result], ""
    if item.group == "multi-element_composition":
        prefix = "multi-"
    if item.group == "temporal_prediction":
        numbers = [*item.truth["frames"], item.truth["frame"]]
        shown = [shown[i] for i in sorted(range(len(shown)), key=lambda i: numbers[i])]
        prefix = "temporal-"
    if dimension(item.group) in KNOWLEDGE:
        last = _Asked("knowledge", ("instruction", "knowledge"), shown)
    elif reference is not None:
        last = _Asked("viewpoint-instruction", ("instruction",), [*shown, reference])
    else:
        last = _Asked(f"{prefix}instruction", ("instruction",), shown)
    return [
        _Asked(f"{prefix}consistency", ("consistency",), shown),
        _Asked("quality", ("quality",), [result]),
        last,
    ]


def _read(reply: str, metrics: Sequence[str]) -> dict[str, float] | None:
    """Read the scores of some metrics, from JSON or from lines, as percentages."""
    scale = Scale(tuple(f"{name}_score" for name in metrics), 1, 5)
    scores = read_object(reply, scale) or read_lines(reply, scale)
    if scores is None:
        return None
    return {name: percent(scores[f"{name}_score"]) for name in metrics}


def _frames(sources: Sequence[str], *, where: str) -> list[int]:
    """The number of each frame, which its file name gives after the number of the sample."""
    numbers = [re.search(r"\d+-(\d+)", source) for source in sources]
    found = [int(number[1]) for number in numbers if number]
    if not found or len(found) < len(sources):
        raise DataError(
            f"{where}: field 'ori_img': expected names such as '7-2.jpg', got {sources}"
        )
    return found


def _missing(frames: Sequence[int]) -> int:
    """The frame that is to be predicted: the one that is not there, else the next."""
    missing = set(range(1, _FRAMES + 1)) - set(frames)
    return missing.pop() if len(missing) == 1 else max(frames) + 1
