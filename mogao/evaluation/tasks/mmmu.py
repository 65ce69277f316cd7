"""MMMU: college questions in thirty subjects, multiple choice and open, with one or more pictures.

In: JSON Lines of the public rows, one file or a folder with one for each subject; a picture
`image_1` to `image_7` is a path or {"base64": ...}. Out: items whose pictures stand where the text
names them; the accuracy of each subject, of six disciplines, and of all questions together.
`official` draws a letter where an answer names none, and counts how often (`random_fallbacks`);
`strict` counts such answers as wrong. `bagel` is `official` with the first release of the rule for
letters, as in the scripts of Bagel and InternVL.

Source: arXiv 2311.16502; MMMU-Benchmark/MMMU, eval/eval_utils.py, main_eval_only.py.
"""

from __future__ import annotations

import ast
import random
import re
import string
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mogao.errors import DataError, nearest
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import mmmu_open, mmmu_open_agrees, mmmu_option
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.records import distinct, field, picture_of, read_json_lines, safe_id
from mogao.evaluation.tasks.statistics import PERCENT, parse_failures
from mogao.evaluation.tasks.text_answers import SHORT_ANSWER, TextBenchmark, said, with_options
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment

DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy", "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics",
        "Energy_and_Power", "Materials", "Mechanical_Engineering",
    ),
}  # fmt: skip
SEED = 42
_SUBJECTS = {subject for subjects in DISCIPLINES.values() for subject in subjects}
_ID = re.compile(r"[a-z]+_(\w+)_\d+")
_MARK = re.compile(r"<image (\d)>")


class Mmmu(TextBenchmark):
    """The benchmark."""

    name = "mmmu"
    protocols: tuple[str, ...] = ("official", "strict", "bagel")

    def items(self) -> Sequence[Item]:
        """Return one item a question.

        Raises:
            DataError: The records break their format.
        """
        files = sorted(self.data.glob("*.jsonl")) if self.data.is_dir() else [self.data]
        items = [
            self._item(row, where=f"{path}: record {number}")
            for path in files
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
        """Read the letter, or what an open answer may state."""
        options, text = item.truth["options"], said(outputs)
        if not options:
            stated = mmmu_open(text)
            right, failed = mmmu_open_agrees(stated, item.truth["answers"]), not text
            read: object = stated
        else:
            letter = mmmu_option(text, options, loose=protocol != "bagel")
            failed = letter is None
            if letter is None and protocol != "strict":
                # Each item has a generator of its own: the script has one for the whole run, with
                # which a run that was broken off and resumed would draw other letters.
                letter = random.Random(f"{SEED} {item.id}").choice(list(options))
            right, read = letter in item.truth["answers"], letter
        return Row(
            item.id,
            item.group,
            {"right": float(right), "drawn": float(failed and bool(options))},
            failures=("no option" if options else "no answer",) if failed else (),
            facts={"said": text, "read": read},
        )

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the accuracy over questions: overall, of disciplines, of subjects."""
        scores = {"overall": over_items(rows, "right", scale=PERCENT)}
        found = {row.group for row in rows}
        for name, subjects in DISCIPLINES.items():
            if found & set(subjects):
                scores[f"discipline/{name}"] = over_items(
                    rows, "right", groups=subjects, scale=PERCENT
                )
        parts = by_group(rows, "right", scale=PERCENT)
        scores |= {f"subject/{name}": score for name, score in parts.items()}
        if protocol != "strict":
            drawn = sum(row.values["drawn"] for row in rows)
            scores["random_fallbacks"] = Score(drawn, drawn, drawn, len(rows))
        return scores | {"parse_failures": parse_failures(rows)}

    def _item(self, row: Mapping[str, Any], *, where: str) -> Item:
        name = field(row, "id", str, where=where)
        found = _ID.fullmatch(name)
        subject = found[1] if found else ""
        if subject not in _SUBJECTS:
            raise DataError(
                f"{where}: field 'id': {name!r} names no subject; {nearest(subject, _SUBJECTS)}"
            )
        question = field(row, "question", str, where=where)
        answers = _texts(row.get("answer"), where=f"{where}: field 'answer'")
        options: dict[str, str] = {}
        prompt = f"{question}\n{SHORT_ANSWER}"
        if field(row, "question_type", str, where=where) == "multiple-choice":
            texts = _texts(row.get("options"), where=f"{where}: field 'options'")
            options = dict(zip(string.ascii_uppercase, texts, strict=False))
            prompt = with_options(question, options, form="({}) {}")
            if not set(answers) <= set(options):
                raise DataError(
                    f"{where}: field 'answer': expected one of {', '.join(options)}, got {answers}"
                )
        return Item(
            id=safe_id(name),
            group=subject,
            prompt=prompt,
            want="text",
            given=partial(self._document, row, prompt, where),
            truth={"answers": answers, "options": options},
        )

    def _document(self, row: Mapping[str, Any], prompt: str, where: str) -> InterleavedSequence:
        """The prompt with each picture where it is first named; further marks stay as words."""
        segments: list[Segment] = []
        words, shown = "", set()
        for place, piece in enumerate(_MARK.split(prompt)):
            if place % 2 and piece not in shown:
                key = f"image_{piece}"
                picture = picture_of(row.get(key), self.pictures, where=f"{where}: field {key!r}")
                if words.strip():
                    segments.append(TextSegment(words, role="user"))
                segments.append(ImageSegment(picture(), role="user"))
                shown.add(piece)
                words = ""
            else:
                words += f"<image {piece}>" if place % 2 else piece
        return InterleavedSequence((*segments, TextSegment(words, role="user")))


def _texts(value: Any, *, where: str) -> list[str]:
    """A list of texts, which the public rows hold as the text of a Python list, or one text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise DataError(f"{where}: not a list of texts: {error}") from None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise DataError(f"{where}: expected a text or a list of texts, got {value!r:.60}")
    return texts
