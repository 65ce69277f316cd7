"""Stories in the world: is what was told and drawn a story, panel by panel?

In: nothing but a seed. Out: shares of right panels and of stories that are right in each respect,
beside ceilings. Every story asked for has a picture that shows a pair of concepts, or a hero in a
colour, that training never showed; each concept by itself is known, in the style shown. The plots
themselves are those of training. The panels are judged by the sentences of the answer, so another
story than the one in mind is as good; what was asked for is the hero, the number of pictures and,
where the request names them, the plot and the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mogao.data.world.recipes import write
from mogao.data.world.scene import Scene
from mogao.data.world.script import Script
from mogao.data.world.splits import Settings, fits
from mogao.data.world.stories import PLOTS
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.judges.report import Report
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.story import Verdict, judge
from mogao.evaluation.rules.story_text import read_request
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING, over_items
from mogao.evaluation.tasks.pictures import NO_PICTURE
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    PERFECT,
    WorldBenchmark,
    item_of,
    score_of,
    score_with_ceiling,
)
from mogao.evaluation.tasks.world.scenes import before_choice

NUM = 40
_SALT = 310_512  # sets these draws apart from those of training, which have no third key
_TRIES = 2000
_UNREADABLE = Report(background="", findings=())  # a panel that shows nothing


class WorldStories(WorldBenchmark):
    """40 requests, one plot after another."""

    name = "world_stories"
    protocols: tuple[str, ...] = ("world-stories-1",)

    def items(self) -> Sequence[Item]:
        """Return all items; the group of each is the plot that was in mind."""
        return [
            item_of(story_prompt(number, seed=self._seed, settings=self._settings), "document")
            for number in range(NUM)
        ]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Apply the rules to the texts and pictures of an answer, and to real renders."""
        request = read_request(item.prompt)
        parts: list[str | Report] = []
        failures: list[str] = []
        for part in outputs[0].parts:
            report, failed = (part, ()) if isinstance(part, str) else self._judge.read_file(part)
            failures += failed
            parts.append(_UNREADABLE if report is None else report)
        true: list[str | Report] = [
            part["text"]
            if "text" in part
            else self._judge.read_render(Scene.from_json(part["scene"]))
            for part in item.truth[PERFECT]
        ]
        found, top = judge(parts, request), judge(true, request)
        pictures = [part.to_json() for part in parts if isinstance(part, Report)]
        values = {**_values(found), "pictures": float(len(pictures)), CEILING: float(top.right)}
        facts = {"panels": list(found.panels), "reports": pictures, CEILINGS: _values(top)}
        failures += [f"unreadable sentence: {text!r}" for text in found.unreadable]
        failures = failures if pictures else [NO_PICTURE]
        return Row(item.id, item.group, values, tuple(failures), facts)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the share of stories that are right, each respect, pictures, and each plot."""
        plots = dict.fromkeys(row.group for row in rows)
        return {
            "right": score_of(rows, "right"),
            "panels": score_with_ceiling(rows, "panels"),
            "hero": score_with_ceiling(rows, "hero"),
            # No judge is asked for these.
            **{name: over_items(rows, name) for name in ("order", "alternation", "stop")},
            "pictures": over_items(rows, "pictures"),
            **{f"right/{plot}": score_of(rows, "right", groups=[plot]) for plot in plots},
        }


def story_prompt(number: int, *, seed: int, settings: Settings) -> Prompt:
    """Return a request with the story that was in mind; plots take turns.

    Args:
        number: Of the request; it depends on the seed, the settings and this alone.
        seed: Of all draws.
        settings: Of the world; of the split "unseen", the story shows something that is held out.
    """
    plot = list(PLOTS)[number % len(PLOTS)]
    rng = np.random.default_rng([seed, number, _SALT])

    def is_wanted(script: Script) -> bool:
        return bool(script.truth["theme"] == plot) and fits(settings.split, script.scenes)

    script = find_script("story", rng, before_choice(settings), keep=is_wanted)
    told = tuple(line.content for line in script.lines[1:])
    truth = {"plot": plot, "hero": script.truth["hero"], "panels": script.truth["panels"]}
    return Prompt(f"{plot}-{number:03d}", plot, script.texts[0], perfect=told, truth=truth)


def find_script(
    recipe: str, rng: np.random.Generator, settings: Settings, *, keep: Callable[[Script], bool]
) -> Script:
    """Draw scripts of a recipe and a split until one is wanted.

    Raises:
        DataError: None of many is.
    """
    for _ in range(_TRIES):
        script = write(recipe, rng, settings)
        if keep(script):
            return script
    raise DataError(
        f"no {recipe} of split {settings.split!r} in styles {', '.join(settings.styles)} fits in "
        f"{_TRIES} tries; allow more styles"
    )


def _values(verdict: Verdict) -> dict[str, float]:
    return {
        "right": float(verdict.right),
        "panels": verdict.share,
        "hero": float(verdict.hero),
        "order": float(verdict.order),
        "alternation": float(verdict.alternation),
        "stop": float(verdict.stop),
    }
