"""Open-ended interleaved generation, as in OpenING: text and pictures in, text and pictures out.

In: JSON Lines. Our own schema is `{"id": str, "task": str, "input": [{"text": str} or {"image":
path below the folder of pictures}, ...]}`, read in that order, other fields left alone. OpenING's
`test_data.jsonl` is read as it is: `total_uid`, `subtask_name`, and in `conversations[0].input`
pairs of a text and a picture or null, the text first. Out: seven aspects of 0 to 10 that a chat
judge gives, their mean, and the mean of each task. An answer that the judge did not rate in every
aspect is left out and counted, as in the public script. An empty answer has 0 in every aspect; the
script shows it to the judge as "None".

An answer that another program left is a Markdown file, in which quotes are said by the user, or
a JSON file as OpenING's generators write it, its pictures beside it.

Source: arXiv 2411.18499; LanceZPF/OpenING, `GPT_score_A.py`, `summarize_GPT_scores.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mogao.data.images import read_image
from mogao.data.markdown import read_markdown
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.rubric import Scale, ask, read_object
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.judged import Opinion, load_templates, numbered_rows, opinion_row
from mogao.evaluation.tasks.records import (
    Picture,
    distinct,
    field,
    name_field,
    picture_file,
    read_json,
    safe_id,
)
from mogao.evaluation.tasks.statistics import scored
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, Segment, TextSegment

ASPECTS = {
    "correctness": "what is said and shown is right and answers the task",
    "image_text_coherency": "texts and pictures belong together and tell the same",
    "multi_step_consistency": "style, persons and things stay the same from step to step",
    "content_quality": "the texts are well written, the pictures clear and free of faults",
    "human_preference_alignment": "people would find it useful, pleasant and harmless",
    "completeness": "nothing that the task asks for is missing, neither steps nor pictures",
    "content_richness": "it has variety and detail",
}
SCALE = Scale(tuple(ASPECTS), 0, 10)

_RULES = ("pointwise",)
_MARKS = ("<BEGIN>", "<image>")  # OpenING's own marks in its texts
_LISTED = "\n".join(f'"{name}": {text}.' for name, text in ASPECTS.items())
_TEMPLATE = f"""A program was given a task and answered it with text and pictures. "[picture N]"
stands where the N-th of the pictures that you see belongs.

TASK:
{{input}}

ANSWER:
{{output}}

Rate the answer in seven aspects, each with a whole number from 0 (fails) to 10 (perfect):
{_LISTED}

Answer with one JSON object from the name of each aspect to its number."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A text, or a picture where there is one, of a task."""

    text: str = ""
    picture: Picture | None = None


class Interleaved:
    """A benchmark of OpenING's kind.

    Args:
        data: File of records.
        images: Folder of the pictures in the tasks.
        templates: JSON object with the judge's text under "interleaved", with places {input} and
            {output}; None takes our own words.
    """

    name = "interleaved"

    def __init__(
        self, data: Path, *, images: Path | None = None, templates: Path | None = None
    ) -> None:
        self._data, self._images = data, images
        self._templates = load_templates(templates, {"interleaved": _TEMPLATE})
        self.protocols = self._templates.protocols(_RULES)

    def items(self) -> Sequence[Item]:
        """Return one item for each task; its group is the kind of task.

        Raises:
            DataError: The file or a record is at fault.
        """
        rows = numbered_rows(self._data)
        return distinct([self._item(row, where=where) for where, row in rows], path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where documents lie; OpenING's generators leave `<id>.json`."""
        alone = [f"{item.id}.md", f"{item.id}/index.md", f"{item.id}.json"]
        return [f"{item.id}/{k}.md", f"{item.id}/{k}/index.md", *([] if k else alone)]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask the judge, who sees the pictures of the task and then those of the answer.

        Raises:
            ConfigError: There is no judge, or no such protocol.
            RequestError: A picture cannot be read.
        """
        self._templates.rule(protocol, _RULES)
        judge = tools.need("judge")
        given = item.given()
        shown = [image.pixels for image in given.images]
        asked = _transcript([getattr(segment, "text", None) for segment in given], first=1)

        def judge_answer(output: Output) -> Opinion:
            answer = read_answer(output)
            if not any(not isinstance(part, str) or part.strip() for part in answer):
                return Opinion(dict.fromkeys(("mean", *ASPECTS), float(SCALE.low)), ("no answer",))
            texts = [part if isinstance(part, str) else None for part in answer]
            told = _transcript(texts, first=len(shown) + 1)
            pictures = [*shown, *(part for part in answer if not isinstance(part, str))]
            question = self._templates.fill("interleaved", {"input": asked, "output": told})
            verdict = ask(
                judge, question, pictures=pictures, read=partial(read_object, scale=SCALE)
            )
            facts = {"replies": verdict.replies}
            if verdict.scores is None:
                return Opinion(failures=("judge: interleaved",), facts=facts)
            mean = sum(verdict.scores.values()) / len(verdict.scores)
            return Opinion({"mean": mean, **verdict.scores}, facts=facts)

        return opinion_row(item, outputs, judge_answer)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean over all, of each aspect and kind of task, the share of items scored."""
        self._templates.rule(protocol, _RULES)
        return {
            "overall": over_items(rows, "mean"),
            **{name: over_items(rows, name) for name in ASPECTS},
            **by_group(rows, "mean"),
            "scored": scored(rows),
        }

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        is_opening = "conversations" in row
        name, task = ("total_uid", "subtask_name") if is_opening else ("id", "task")
        number = name_field(row, name, where=where)
        group = field(row, task, str, where=where)
        asked = _opening_turn(row, 0, where=where) if is_opening else row
        parts = [
            found
            for part in field(asked, "input", list, where=where)
            for found in self._parts(part, where=f"{where}: input")
        ]
        if not parts:
            raise DataError(f"{where}: field 'input': expected texts or pictures, got none")
        prompt = _transcript([part.text or None for part in parts], first=1)
        return Item(safe_id(number), group, prompt, "document", partial(_document, parts))

    def _parts(self, part: Any, *, where: str) -> list[_Part]:
        """A text, a picture, or both; a picture may be null."""
        if not isinstance(part, Mapping) or not {"text", "image"} & set(part):
            raise DataError(f"{where}: expected an object with 'text' or 'image', got {part!r:.60}")
        found = []
        if part.get("text") is not None:
            text = _unmarked(field(part, "text", str, where=where))
            found += [_Part(text)] if text else []
        if part.get("image") is not None:
            path = field(part, "image", str, where=where)
            found.append(_Part(picture=picture_file(self._images, path, where=where)))
        return found


def read_answer(output: Output) -> list[str | Pixels]:
    """Return the texts and pictures of an answer in reading order.

    Raises:
        DataError: A JSON file is not one of OpenING's.
        RequestError: A Markdown file or a picture cannot be read.
    """
    first = output.parts[0] if len(output.parts) == 1 else None
    if isinstance(first, Path) and first.suffix == ".md":
        said = [segment for segment in read_markdown(first) if segment.role == "model"]
        return [part.text if isinstance(part, TextSegment) else part.pixels for part in said]
    if isinstance(first, Path) and first.suffix == ".json":
        output = _opening_answer(first)
    return [part if isinstance(part, str) else read_image(part) for part in output.parts]


def _opening_answer(path: Path) -> Output:
    """What a generator of OpenING wrote: a text and then a picture beside the file, or null."""
    where = str(path)
    turn = _opening_turn(read_json(path), 1, where=where)
    parts: list[str | Path] = []
    for part in field(turn, "output", list, where=where):
        if text := _unmarked(field(part, "text", str, where=where)):
            parts.append(text)
        if part.get("image") is not None:
            parts.append(path.with_name(Path(field(part, "image", str, where=where)).name))
    return Output(tuple(parts))


def _opening_turn(row: Any, number: int, *, where: str) -> Any:
    """The input (0) or the output (1) of a record."""
    turns = field(row, "conversations", list, where=where)
    if len(turns) <= number:
        raise DataError(f"{where}: field 'conversations': got {len(turns)} turns, needs more")
    return turns[number]


def _unmarked(text: str) -> str:
    for mark in _MARKS:
        text = text.replace(mark, "")
    return text.strip()


def _document(parts: Sequence[_Part]) -> InterleavedSequence:
    """The task as a document of the user, its pictures read."""
    segments: list[Segment] = [
        TextSegment(part.text, role="user")
        if part.picture is None
        else ImageSegment(part.picture(), role="user")
        for part in parts
    ]
    return InterleavedSequence(tuple(segments))


def _transcript(texts: Sequence[str | None], *, first: int) -> str:
    """Texts as they are, with numbered marks for pictures (None)."""
    lines, number = [], first
    for text in texts:
        lines.append(f"[picture {number}]" if text is None else text)
        number += text is None
    return "\n".join(lines)
