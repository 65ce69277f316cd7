"""GEdit-Bench: 606 edits each in English and Chinese, in eleven groups, judged by VIEScore.

In: rows `{key, task_type, instruction, instruction_language, Intersection_exist, input_image}` as
JSON list or JSON Lines, where `input_image` is a path below `images`; where a row has none, the
source is `fullset/<task>/<language>/<key>_SRCIMG.png` there, as the public scripts leave it. The
object of interleaved records that bytedance/Lance ships is read too. Out: semantic consistency,
perceptual quality and their geometric mean, 0 to 10, over all items of a language and over those
that all compared models would edit (the intersection). An output without a picture is left out of
the means, as in BAGEL's script, and `scored` is the share of items that they rest on.

Source: arXiv 2504.17761 (GEdit-Bench), 2312.14867 (VIEScore); BAGEL, `eval/gen/gedit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from mogao.errors import DataError, nearest
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.rubric import Scale, ask, read_viescore
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_groups
from mogao.evaluation.tasks.judged import (
    Opinion,
    check_choice,
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
from mogao.evaluation.tasks.statistics import scored
from mogao.sequence import Pixels

GROUPS = (
    "background_change",
    "color_alter",
    "material_alter",
    "motion_change",
    "ps_human",
    "style_change",
    "subject-add",
    "subject-remove",
    "subject-replace",
    "text_change",
    "tone_transfer",
)
SEMANTICS = Scale(("edit_success", "no_overedit"), 0, 10, is_whole=False)
QUALITY = Scale(("naturalness", "no_artefacts"), 0, 10, is_whole=False)

_RULES = ("viescore",)
_ANSWER = """Answer with one JSON object and nothing else:
{"score": [<first>, <second>], "reasoning": "<one sentence>"}"""
_TEMPLATES = {
    "semantics": f"""You see two pictures: a source, then the result of editing it by this
instruction:
{{instruction}}

Give two scores from 0 to 10.
First: how well the edit was done. 0 = nothing of what was asked for is there, 10 = all of it.
Second: how well the rest was kept. 0 = another picture altogether, 10 = nothing changed beyond
what the instruction needs.

{_ANSWER}""",
    "quality": f"""Judge this picture as it stands.

Give two scores from 0 to 10.
First: how natural it looks. 0 = scene, light or distances make no sense, 10 = like a photograph.
Second: how free it is of faults. 0 = distorted, blurred or broken parts, seams or marks
everywhere, 10 = none at all.

{_ANSWER}""",
}


def viescore(semantics: Mapping[str, float], quality: Mapping[str, float]) -> dict[str, float]:
    """Return the three scores of an item, 0 to 10: the least of each pair, their geometric mean."""
    low, other = min(semantics.values()), min(quality.values())
    return {"overall": math.sqrt(low * other), "semantics": low, "quality": other}


class GEdit:
    """The benchmark GEdit-Bench.

    Args:
        data: File of records; those of the other language are passed over.
        images: Folder of the source pictures.
        templates: JSON object with the judge's texts under "semantics", with the place
            {instruction}, and "quality"; None takes our own words.
        language: Of the instructions.
    """

    name = "gedit"

    def __init__(
        self,
        data: Path,
        *,
        images: Path | None = None,
        templates: Path | None = None,
        language: Literal["en", "cn"] = "en",
    ) -> None:
        check_choice("language", language, ("en", "cn"))
        self._data, self._images, self._language = data, images, language
        self._templates = load_templates(templates, _TEMPLATES)
        self.protocols = self._templates.protocols(_RULES)

    def items(self) -> Sequence[Item]:
        """Return one item for each edit in the language.

        Raises:
            DataError: The file or a record is at fault, or none has the language.
        """
        items = []
        for where, record in numbered_rows(self._data):
            row = _plain(record, where=where)
            if field(row, "instruction_language", str, where=where) == self._language:
                items.append(self._item(row, where=where))
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where results lie; the official folders are named by group and language."""
        official = f"fullset/{item.group}/{self._language}/{item.truth['key']}.png"
        return [*picture_places(item, k), *([] if k else [official])]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask the judge twice: about source and result, and about the result alone.

        As in the public script, the judge sees the result in the size of the source.

        Raises:
            ConfigError: There is no judge, or no such protocol.
        """
        self._templates.rule(protocol, _RULES)
        judge = tools.need("judge")
        values = {"instruction": item.prompt}
        asked = {name: self._templates.fill(name, values) for name in ("semantics", "quality")}
        source = item.given().images[0].pixels

        def rule(pixels: Pixels) -> Opinion:
            result = _resized(pixels, source)
            semantics = ask(
                judge,
                asked["semantics"],
                pictures=[source, result],
                read=partial(read_viescore, scale=SEMANTICS),
            )
            quality = ask(
                judge,
                asked["quality"],
                pictures=[result],
                read=partial(read_viescore, scale=QUALITY),
            )
            said = {"semantics": semantics, "quality": quality}
            facts = {"replies": {name: verdict.replies for name, verdict in said.items()}}
            if semantics.scores is None or quality.scores is None:
                unread = [name for name, verdict in said.items() if verdict.scores is None]
                return Opinion(failures=tuple(f"judge: {name}" for name in unread), facts=facts)
            scores = viescore(semantics.scores, quality.scores)
            if item.truth["intersection"]:
                scores |= {f"intersection/{name}": score for name, score in scores.items()}
            return Opinion(scores, facts={**facts, **semantics.scores, **quality.scores})

        return picture_opinions(item, outputs, rule, missing={})

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return means over the groups, for the full set and the intersection, and each group.

        A group without a judged item is left out, where the public script would give no number.
        """
        self._templates.rule(protocol, _RULES)
        names = ("overall", "semantics", "quality")
        means = [*names, *(f"intersection/{name}" for name in names)]
        return {
            **{name: over_groups(rows, name) for name in means},
            **by_group(rows, "overall"),
            "scored": scored(rows),
        }

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        key = name_field(row, "key", where=where)
        prompt = field(row, "instruction", str, where=where)
        group = field(row, "task_type", str, where=where)
        if group not in GROUPS:
            hint = nearest(group, GROUPS)
            raise DataError(f"{where}: field 'task_type': no group {group!r}; {hint}")
        source = f"fullset/{group}/{self._language}/{key}_SRCIMG.png"
        if "input_image" in row:
            source = field(row, "input_image", str, where=where)
        picture = picture_file(self._images, source, where=where)
        truth = {
            "key": key,
            "intersection": field(row, "Intersection_exist", bool, where=where),
            "source": source,
        }
        given = partial(document, prompt, pictures=[picture])
        return Item(safe_id(key), group, prompt, "picture", given, truth)


def _plain(row: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """A row with the benchmark's own fields, also where it is an interleaved record."""
    if "interleave_array" not in row:
        return row
    parts = field(row, "interleave_array", list, where=where)
    if len(parts) < 2:
        raise DataError(f"{where}: field 'interleave_array': expected words and a picture")
    facts = field(row, "additional_info", dict, where=where)
    return {**facts, "instruction": parts[0], "input_image": parts[1]}


def _resized(pixels: Pixels, source: Pixels) -> Pixels:
    """A picture in the size of another, by the filter that Pillow takes where none is named."""
    if pixels.shape == source.shape:
        return pixels
    height, width = source.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width, height)))
