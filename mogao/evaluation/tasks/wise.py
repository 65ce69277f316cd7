"""WISE: 1,000 prompts that need knowledge of the world, one picture each, judged by a chat judge.

In: `final_data.json`, objects with `Prompt`, `Explanation`, `Subcategory`, `prompt_id`. Out: the
WiScore in [0, 1] of six categories and their mean: weighted as on the benchmark's own page, or
plain as in BAGEL's script. Both scripts give no figure at all while one score is missing (marked
999 or 9.9, or fewer scores than prompts); here a picture whose scores could not be read is left out
of the means and counted, and an output without a picture scores 0.

Source: arXiv 2503.07265; PKU-YuanGroup/WISE, `gpt_eval.py`, `wise_*.py`; BAGEL,
`eval/gen/wise/cal_score.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row, picture_places
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.rubric import Scale, ask, read_lines
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_groups
from mogao.evaluation.tasks.judged import (
    Opinion,
    load_templates,
    numbered_rows,
    picture_opinions,
)
from mogao.evaluation.tasks.records import distinct, document, field
from mogao.evaluation.tasks.statistics import scored
from mogao.sequence import Pixels

WEIGHTS = {
    "culture": 0.4,
    "time": 0.167,
    "space": 0.133,
    "biology": 0.1,
    "physics": 0.1,
    "chemistry": 0.1,
}
"""Of the categories in the overall score of the benchmark's own page."""
SCALE = Scale(("consistency", "realism", "aesthetic_quality"), 0, 2)

_RULES = ("official-weighted", "bagel-unweighted")
_TIMES = ("Longitudinal time", "Horizontal time")
_TEMPLATE = """Look at the picture. It was made for this prompt:
{prompt}

What a right picture has to show:
{explanation}

Give three scores, each 0, 1 or 2.
Consistency: does the picture show what the prompt means, knowledge included? 0 = no or against it,
1 = in part, 2 = all of it.
Realism: could it be so in the world, in physics, material and space? 0 = plainly not, 1 = with
small faults, 2 = like a photograph.
Aesthetic Quality: composition, colour, appeal. 0 = poor, 1 = plain, 2 = outstanding.
Be strict: when in doubt, take the lower score.

Answer with these three lines and nothing else:
Consistency: <score>
Realism: <score>
Aesthetic Quality: <score>"""


def wi_score(scores: Mapping[str, float]) -> float:
    """Return the WiScore in [0, 1] of three scores in [0, 2]."""
    weighted = 0.7 * scores["consistency"] + 0.2 * scores["realism"]
    return (weighted + 0.1 * scores["aesthetic_quality"]) / 2


def category(number: int, subcategory: str) -> str:
    """Return the category of a prompt, which goes by its number; time and space by its kind.

    Raises:
        DataError: The number is not one of 1 to 1,000.
    """
    if not 1 <= number <= 1000:
        raise DataError(f"field 'prompt_id': expected 1 to 1000, got {number}")
    if number <= 400:
        return "culture"
    if number <= 700:
        return "time" if subcategory in _TIMES else "space"
    return ("biology", "physics", "chemistry")[(number - 701) // 100]


class Wise:
    """The benchmark WISE.

    Args:
        data: File of records.
        templates: JSON object with the judge's text under "wise", with places {prompt} and
            {explanation}; None takes our own words.
    """

    name = "wise"

    def __init__(self, data: Path, *, templates: Path | None = None) -> None:
        self._data = data
        self._templates = load_templates(templates, {"wise": _TEMPLATE})
        self.protocols = self._templates.protocols(_RULES)

    def items(self) -> Sequence[Item]:
        """Return one item for each prompt.

        Raises:
            DataError: The file or a record is at fault.
        """
        items = []
        for where, row in numbered_rows(self._data):
            prompt = field(row, "Prompt", str, where=where)
            truth = {"explanation": field(row, "Explanation", str, where=where)}
            prompt_id = field(row, "prompt_id", int, where=where)
            subcategory = field(row, "Subcategory", str, where=where)
            try:
                group = category(prompt_id, subcategory)
            except DataError as error:
                raise DataError(f"{where}: {error}") from None
            given = partial(document, prompt)
            items.append(Item(str(prompt_id), group, prompt, "picture", given, truth))
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie; the official one is `<prompt_id>.png`."""
        return picture_places(item, k)

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Ask the judge, who sees the picture alone.

        Raises:
            ConfigError: There is no judge, or no such protocol.
        """
        self._templates.rule(protocol, _RULES)
        judge = tools.need("judge")
        values = {"prompt": item.prompt, "explanation": item.truth["explanation"]}
        question = self._templates.fill("wise", values)

        def rule(pixels: Pixels) -> Opinion:
            verdict = ask(judge, question, pictures=[pixels], read=partial(read_lines, scale=SCALE))
            facts = {"replies": verdict.replies}
            if verdict.scores is None:
                return Opinion(failures=("judge: wise",), facts=facts)
            return Opinion({"wiscore": wi_score(verdict.scores), **verdict.scores}, facts=facts)

        missing = dict.fromkeys(("wiscore", *SCALE.names), float(SCALE.low))
        return picture_opinions(item, outputs, rule, missing=missing)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean over the categories, each category, and the share of scored items."""
        rule = self._templates.rule(protocol, _RULES)
        plain = dict.fromkeys(WEIGHTS, 1.0)
        weights = WEIGHTS if rule == "official-weighted" else plain
        return {
            "overall": over_groups(rows, "wiscore", weights=weights),
            **by_group(rows, "wiscore"),
            "scored": scored(rows),
        }
