"""T2I-CompBench: prompts about attributes, positions and numbers, 300 a category.

In: a folder with the public lists `<category>_<split>.txt`, of all categories or some, and
`new_objects.txt`, by which numeracy knows plurals. Out: the mean of each category and over them.

Protocol `original-rules` has the rules of the public scripts over whatever answers and detects: for
color, shape and texture the product over noun phrases of the share of "yes" in P(yes) + P(no), as
the script has it of BLIP, for spatial and numeracy the boxes of a detector. Protocol
`vqa-substitute` is not the original scorer: VQAScore of the whole prompt, for all categories.

Where the original needs CLIP, depth or several scorers at once (non_spatial, 3d_spatial, complex),
`original-rules` gives no score and says so; such rows are left out of the means, so that the
overall mean is one over the other five categories.

Source: arXiv 2307.06350; repository Karine-Huang/T2I-CompBench, `BLIPvqa_eval/models/blip_vqa.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools, VisualQuestions
from mogao.evaluation.rules.compbench import (
    counted_things,
    noun_phrases,
    number_score,
    placed_pair,
    position_score,
)
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_groups
from mogao.evaluation.tasks.genai_bench import vqa_score
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.records import distinct, document, read_text
from mogao.sequence import Pixels

Rule = Callable[[Pixels], tuple[float, tuple[str, ...]]]
"""From a picture to its score and what could not be read."""

ATTRIBUTES = ("color", "shape", "texture")
CATEGORIES = (*ATTRIBUTES, "spatial", "numeracy", "non_spatial", "3d_spatial", "complex")
_PICTURES = 10  # for each prompt
_PLURALS = "new_objects.txt"


class CompBench:
    """The benchmark T2I-CompBench.

    Args:
        data: Folder of the lists.
        split: Which lists are read; published figures rest on "val".
    """

    name = "compbench"
    protocols: tuple[str, ...] = ("original-rules", "vqa-substitute")

    def __init__(self, data: Path, *, split: str = "val") -> None:
        self._data = data
        self._split = split

    def items(self) -> Sequence[Item]:
        """Return one item for each prompt, ten pictures each.

        Raises:
            DataError: A list cannot be read, or there is none.
        """
        items = []
        for category in CATEGORIES:
            path = self._data / f"{category}_{self._split}.txt"
            if path.exists():
                items += self._category(category, read_text(path).splitlines())
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie; public scripts number all pictures of a category."""
        official = f"samples/{item.prompt}_{item.truth['number'] * _PICTURES + k:06d}.png"
        return [*picture_places(item, k), f"{item.group}/{official}", official]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Apply the rule of the item's category to each picture.

        Raises:
            ConfigError: The tool that it needs is missing.
        """
        try:
            rule = _rule(item, tools=tools, protocol=protocol)
        except DataError as error:
            return Row(item.id, item.group, {}, (str(error),))

        def judged(pixels: Pixels) -> Judged:
            score, failures = rule(pixels)
            return Judged({"score": score}, failures=failures)

        return picture_row(item, outputs, judged, names=["score"], facts=item.truth)

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the mean over the categories that have scores, then each of them."""
        scored = [row for row in rows if row.values]
        return {"overall": over_groups(scored, "score"), **by_group(scored, "score")}

    def _category(self, category: str, lines: Sequence[str]) -> list[Item]:
        singulars = self._singulars() if category == "numeracy" else {}
        readers: dict[str, Callable[[str], list[Any]]] = {
            **dict.fromkeys(ATTRIBUTES, noun_phrases),
            "spatial": placed_pair,
            "numeracy": lambda prompt: list(map(list, counted_things(prompt, singulars))),
        }
        prompts = [line.split("\t")[0].strip() for line in lines]
        return [
            Item(
                f"{category}-{number:04d}",
                category,
                prompt,
                "picture",
                partial(document, prompt),
                truth={
                    "number": number,
                    "asks": readers[category](prompt) if category in readers else [],
                },
                num=_PICTURES,
            )
            for number, prompt in enumerate(filter(None, prompts))
        ]

    def _singulars(self) -> dict[str, str]:
        """Return the singular of each known name, given in either form; pictures need none."""
        path = self._data / _PLURALS
        found: dict[str, str] = {}
        for number, line in enumerate(read_text(path).splitlines() if path.exists() else [], 1):
            names = [name.strip().lower() for name in line.split(" - ")]
            if len(names) != 2:
                raise DataError(
                    f"{path}: line {number}: expected 'singular - plural', got {line!r}"
                )
            found |= dict.fromkeys(names, names[0])
        return found


def _rule(item: Item, *, tools: Tools, protocol: str) -> Rule:
    """Return what scores one picture of an item.

    Raises:
        ConfigError: The tool that it needs is missing.
        DataError: There is no rule for the category, or its prompt form was not met.
    """
    asks = item.truth["asks"]
    if protocol == "vqa-substitute":
        questions = tools.need("questions")
        return lambda pixels: vqa_score(questions, pixels, item.prompt)
    if item.group not in {*ATTRIBUTES, "spatial", "numeracy"}:
        raise DataError(f"no original rule for {item.group} here; use protocol vqa-substitute")
    if item.group in ATTRIBUTES:
        questions = tools.need("questions")
        return lambda pixels: _attributes(questions, pixels, asks)
    detector = tools.need("detector")
    if not asks:
        hint = f"; is {_PLURALS} beside the lists?" if item.group == "numeracy" else ""
        raise DataError(f"the rule of {item.group} cannot read this prompt{hint}")
    if item.group == "spatial":
        return lambda pixels: (
            position_score(detector.detect(pixels), asks, size=pixels.shape[:2]),
            (),
        )
    things = [(name, number) for name, number in asks]
    return lambda pixels: (number_score(detector.detect(pixels), things), ())


def _attributes(
    questions: VisualQuestions, pixels: Pixels, phrases: Sequence[str]
) -> tuple[float, tuple[str, ...]]:
    """The product of the shares of "yes"; a phrase without an answer has 0."""
    found = [questions.yes_no_probabilities(pixels, f"{phrase}?") for phrase in phrases]
    pairs = zip(phrases, found, strict=True)
    failures = tuple(f"{phrase}: {text}" for phrase, one in pairs for text in one.failures)
    return math.prod(one.share for one in found), failures
