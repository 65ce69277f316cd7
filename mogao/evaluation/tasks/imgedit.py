"""ImgEdit: 737 single edits of nine types, and 47 hard ones (UGE), judged by a chat judge.

In: `basic_edit.json` or `UGE_edit.json`, an object key -> `{id, prompt, edit_type}` where `id` is
the path of the source picture below `images`; UGE has no types. Earlier files call the type
"adjust" "alter". Out: the mean over items on the scale of 1 to 5, and the mean of each type; an
output without a picture scores 1, where the script gives no figure at all. The suite of edits over
several turns is not here.

Source: arXiv 2505.20275; PKU-YuanGroup/ImgEdit, `Benchmark/Basic`, `Benchmark/UGE`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mogao.errors import DataError, nearest
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.rubric import Reader, Scale, ask, labelled_numbers, read_ordered
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
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
from mogao.evaluation.tasks.statistics import scored
from mogao.sequence import Pixels

SCALE = Scale(("compliance", "naturalness", "integrity"), 1, 5)
UGE_SCALE = Scale(("score",), 1, 5)
UGE_CAP = 3.0

_OLD_TYPES = {"alter": "adjust"}
_MISSING = {"score": float(SCALE.low)}
_FOCUS = {
    "add": "The new thing is there as described, in a fitting size and place.",
    "remove": "What was to go is gone altogether, and what lies behind it is filled in.",
    "replace": "The old thing is gone and the new one stands in its place.",
    "adjust": "The named property has the new value, on the named thing alone.",
    "background": "The background is the new one, and the thing in front is cut out cleanly.",
    "style": "The whole picture has the new style, and its content is still the same.",
    "action": "The subject does what was asked for and is still the same subject.",
    "extract": "The named thing, whole and alone, stands on the asked background.",
    "compose": "Each of the several changes that were asked for is there.",
}
_QUESTION = """You see two pictures: a source, then the result of editing it by this instruction:
{instruction}
"""
_TEMPLATES = {
    kind: f"""{_QUESTION}
Give three whole numbers from 1 (bad) to 5 (perfect).
Compliance: the result is what the instruction asks for. {focus}
Naturalness: no seams, no distortion, light and perspective fit.
Integrity: bodies and materials are sound, and details that were not to change are as before.
Neither of the last two may be larger than the first.

Write one sentence of reasons, and then these three lines:
Compliance: <number>
Naturalness: <number>
Integrity: <number>"""
    for kind, focus in _FOCUS.items()
}
_UGE_TEMPLATES = {
    "uge": f"""{_QUESTION}
Give one whole number from 1 (bad) to 5 (perfect) for the edit as a whole: everything that was
asked for is there and nothing else, and the result looks natural. Look also at all that was not
to change; where any of it differs from the source, the score is at most 3.

Write one sentence of reasons, and then these two lines:
Untouched areas changed: <yes or no>
Score: <number>"""
}


def read_official(reply: str) -> dict[str, float] | None:
    """Read as the script does: the mean of all labelled numbers, however many, to two places.

    It neither looks at the range nor holds the second and third score below the first.
    """
    numbers = labelled_numbers(reply)
    return {"score": round(sum(numbers) / len(numbers), 2)} if numbers else None


def read_capped(reply: str) -> dict[str, float] | None:
    """Read three scores of 1 to 5; the second and the third count at most as much as the first."""
    scores = read_ordered(reply, SCALE)
    if scores is None:
        return None
    capped = {name: min(score, scores["compliance"]) for name, score in scores.items()}
    return {"score": sum(capped.values()) / len(capped), **capped}


def read_capped_uge(reply: str) -> dict[str, float] | None:
    """Read one score of 1 to 5, at most 3 where the judge says that untouched areas changed.

    The script leaves this cap to the judge.
    """
    said = re.findall(r"(?im)^\W*untouched areas changed\W*(yes|no)\W*$", reply)
    scores = read_ordered(reply, UGE_SCALE)
    if not said or scores is None:
        return None
    most = UGE_CAP if said[-1].lower() == "yes" else UGE_SCALE.high
    return {"score": min(scores["score"], most)}


class ImgEdit:
    """The basic suite of ImgEdit.

    Args:
        data: `basic_edit.json`.
        images: Folder of the source pictures.
        templates: JSON object with the judge's text for each edit type, with the place
            {instruction}; None takes our own words.
    """

    name = "imgedit"
    _own: Mapping[str, str] = _TEMPLATES
    _readers: Mapping[str, Reader] = {"official": read_official, "capped": read_capped}

    def __init__(
        self, data: Path, *, images: Path | None = None, templates: Path | None = None
    ) -> None:
        self._data, self._images = data, images
        self._templates = load_templates(templates, self._own)
        self.protocols = self._templates.protocols(tuple(self._readers))

    def items(self) -> Sequence[Item]:
        """Return one item for each edit.

        Raises:
            DataError: The file or a record is at fault.
        """
        items = []
        for where, row in numbered_rows(self._data):
            key = name_field(row, "key", where=where)
            prompt = field(row, "prompt", str, where=where)
            source = field(row, "id", str, where=where)
            picture = picture_file(self._images, source, where=where)
            given = partial(document, prompt, pictures=[picture])
            group = self._group(row, where=where)
            items.append(Item(safe_id(key), group, prompt, "picture", given, {"source": source}))
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where results lie; the official one is `<key>.png`."""
        return picture_places(item, k)

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask the judge, who sees the source and then the result.

        Raises:
            ConfigError: There is no judge, or no such protocol.
        """
        read = self._readers[self._templates.rule(protocol, tuple(self._readers))]
        judge = tools.need("judge")
        question = self._templates.fill(item.group, {"instruction": item.prompt})
        source = item.given().images[0].pixels

        def rule(pixels: Pixels) -> Opinion:
            verdict = ask(judge, question, pictures=[source, pixels], read=read)
            failures = () if verdict.scores else (f"judge: {item.group}",)
            return Opinion(verdict.scores or {}, failures, {"replies": verdict.replies})

        return picture_opinions(item, outputs, rule, missing=_MISSING)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean over items, that of each type, and the share of items with a score."""
        self._templates.rule(protocol, tuple(self._readers))
        means = {"overall": over_items(rows, "score"), **by_group(rows, "score")}
        return {**means, "scored": scored(rows)}

    def _group(self, row: Mapping[str, Any], *, where: str) -> str:
        """The edit type, which is the name of its template too."""
        said = field(row, "edit_type", str, where=where)
        kind = _OLD_TYPES.get(said, said)
        if kind not in self._own:
            hint = nearest(kind, self._own)
            raise DataError(f"{where}: field 'edit_type': no type {kind!r}; {hint}")
        return kind


class ImgEditUge(ImgEdit):
    """The hard suite of ImgEdit (understanding, grounding, editing): one score for each edit.

    Args:
        data: `UGE_edit.json`.
        images: Folder of the source pictures.
        templates: JSON object with the judge's text under "uge", with the place {instruction};
            None takes our own words. Under "capped" the reply must have the line "Untouched areas
            changed: yes" or "... no", which the official text does not ask for.
    """

    name = "imgedit_uge"
    _own = _UGE_TEMPLATES
    _readers: Mapping[str, Reader] = {"official": read_official, "capped": read_capped_uge}

    def _group(self, row: Mapping[str, Any], *, where: str) -> str:
        return "uge"
