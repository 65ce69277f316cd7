"""GenAI-Bench (VQAScore): 1,600 prompts or 527, scored by the probability of "yes".

In: a folder with `genai_image.json` (prompts) and `genai_skills.json` (which prompt needs which
skill). Out: the mean over all prompts that have a skill, over the basic and the advanced ones, and
over each skill. Not to be confused with the arena of the same name.

Source: arXiv 2406.13743, 2404.01291; repository linzhiqiu/t2v_metrics, `genai_bench/evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools, VisualQuestions
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import over_items
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.records import distinct, document, field, read_json, safe_id
from mogao.sequence import Pixels

_QUESTION = 'Does this figure show "{}"? Please answer yes or no.'  # published figures rest on it
_LEVELS = ("basic", "advanced")


def vqa_score(
    questions: VisualQuestions, pixels: Pixels, text: str
) -> tuple[float, tuple[str, ...]]:
    """Return VQAScore in [0, 1], and what could not be read.

    It is the probability of "Yes" among all words with which the answer could begin, not only
    beside "No"; spellings in other cases are added.
    """
    found = questions.yes_no_probabilities(pixels, _QUESTION.format(text))
    return found.yes, found.failures


class GenAIBench:
    """The benchmark GenAI-Bench.

    Args:
        data: Folder with the two files.
    """

    name = "genai_bench"
    protocols: tuple[str, ...] = ("vqascore",)

    def __init__(self, data: Path) -> None:
        self._data = data

    def items(self) -> Sequence[Item]:
        """Return one item for each prompt, one picture each.

        Raises:
            DataError: A file or a record is at fault.
        """
        path = self._data / "genai_image.json"
        records = read_json(path)
        if not isinstance(records, dict):
            raise DataError(f"{path}: expected an object from ids to prompts")
        skills = self._skills(known={_number(name) for name in records})
        items = []
        for name, row in records.items():
            prompt = field(row, "prompt", str, where=f"{path}: record {name!r}")
            found = [skill for skill, numbers in skills.items() if _number(name) in numbers]
            group = next((level for level in _LEVELS if level in found), "no skill")
            given = partial(document, prompt)
            truth = {"skills": found}
            items.append(Item(safe_id(name), group, prompt, "picture", given, truth))
        return distinct(items, path=path)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie; the public scripts write JPEG."""
        jpeg = [] if k else [f"{item.id}.jpeg", f"{item.id}.jpg"]
        return [*picture_places(item, k), *jpeg]

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Ask of each picture whether it shows the prompt.

        Raises:
            ConfigError: Nobody answers questions.
        """
        questions = tools.need("questions")

        def rule(pixels: Pixels) -> Judged:
            score, failures = vqa_score(questions, pixels, item.prompt)
            return Judged({"vqascore": score}, failures=failures)

        return picture_row(item, outputs, rule, names=["vqascore"], facts=item.truth)

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the overall mean, basic, advanced, then each skill.

        A prompt without any skill counts nowhere, as in the public script.
        """
        found = dict.fromkeys(skill for row in rows for skill in row.facts["skills"])
        skills = sorted(found.keys() - set(_LEVELS))
        return {
            "overall": over_items([row for row in rows if row.facts["skills"]], "vqascore"),
            **{
                name: over_items([row for row in rows if name in row.facts["skills"]], "vqascore")
                for name in (*_LEVELS, *skills)
            },
        }

    def _skills(self, *, known: set[int | None]) -> dict[str, set[int]]:
        """Return the numbers of the prompts of each skill, all of them `known`."""
        path = self._data / "genai_skills.json"
        table = read_json(path)
        for level in _LEVELS:
            field(table, level, list, where=str(path))
        for name in table:
            for number in field(table, name, list, where=str(path)):
                if type(number) is not int or number not in known:
                    raise DataError(f"{path}: skill {name!r}: there is no prompt {number!r}")
        return {name: set(numbers) for name, numbers in table.items()}


def _number(name: str) -> int | None:
    """Return the number that an id such as "00042" stands for."""
    return int(name) if name.isdecimal() else None
