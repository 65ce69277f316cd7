"""Three edits in a row on the running picture, each of a different kind.

In: nothing but a seed and styles. Out: the share of conversations of which all turns are right,
that of each turn, and how often the last picture keeps what no turn touched, if there is anything,
beside ceilings.
The first picture shows two concepts that training knows and never showed together.

A turn is held against the true scenes before and after it, so a mistake that stays in the picture
counts again; things whose place a request left open are looked for where the model drew them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mogao.data.world.edits import KINDS, Change
from mogao.data.world.scene import Scene
from mogao.data.world.script import Situation
from mogao.data.world.splits import Settings
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Made, Output, Row, Turn
from mogao.evaluation.judges.report import Report
from mogao.evaluation.prompts import Prompt, keeps_split, make_prompts
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.edit import judge_turns, open_things, rest_kept
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    WorldBenchmark,
    item_of,
    score_of,
    score_with_ceiling,
)
from mogao.evaluation.tasks.world.editing import asked_relation
from mogao.sequence import InterleavedSequence, TextSegment

NUM = 60
NUM_TURNS = 3
_CHAINED = tuple(kind for kind in KINDS if kind != "style")  # a style leaves nothing to be kept
_SALT = 310_514  # sets these draws apart from those of training, which have no third key
_TRIES = 200


class WorldTurns(WorldBenchmark):
    """60 conversations of three edits."""

    name = "world_turns"
    protocols: tuple[str, ...] = ("world-turns-2",)

    def items(self) -> Sequence[Item]:
        """Return all items."""
        settings = self._settings
        prompts = make_prompts("two_object", NUM, seed=self._seed, settings=settings)
        items = []
        for number, prompt in enumerate(prompts):
            assert prompt.target is not None
            rng = np.random.default_rng([self._seed, number, _SALT])
            changes = draw_changes(rng, settings, prompt.target)
            items.append(_item(number, prompt.target, changes))
        return items

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Judge each turn, and the last picture against the first scene."""
        scenes = [Scene.from_json(scene) for scene in item.truth["scenes"]]
        read = [self._judge.read_file(path) for path in outputs[0].pictures[:NUM_TURNS]]
        reports = [report for report, _ in read]
        missing = NUM_TURNS - len(reports)
        top = _values(item, [self._judge.read_render(scene) for scene in scenes[1:]], scenes)
        values = _values(item, [*reports, *[None] * missing], scenes)
        facts = {
            "kinds": item.truth["kinds"],
            "reports": [report.to_json() for report in reports if report is not None],
            CEILINGS: top,
        }
        failures = [failure for _, failed in read for failure in failed]
        if missing:
            failures.append(f"{missing} of {NUM_TURNS} pictures are missing")
        return Row(item.id, item.group, {**values, CEILING: top["right"]}, tuple(failures), facts)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the share of conversations without a mistake, of each turn, and what is kept."""
        names = [*map(_turn, range(NUM_TURNS)), "kept"]
        return {
            "overall": score_of(rows, "right"),
            **{name: score_with_ceiling(rows, name) for name in names},
        }


def draw_changes(rng: np.random.Generator, settings: Settings, scene: Scene) -> list[Change]:
    """Draw changes of different kinds, each of the scene that the one before left.

    Nothing is moved that an earlier change put anywhere: it may lie where it is to go.

    Raises:
        DataError: The scene does not allow as many.
    """
    for _ in range(_TRIES):
        now, changes = scene, list[Change]()
        anywhere: set[tuple[int, int]] = set()
        for index in rng.permutation(len(_CHAINED)):
            kind = _CHAINED[index]
            change = KINDS[kind][1](Situation(rng, settings, now))
            if change is None or change.target is None or not keeps_split(change, settings):
                continue
            gone = {(one.x, one.y) for one in now.objects if one not in change.target.objects}
            if kind == "move" and gone & anywhere:
                continue
            anywhere |= {(one.x, one.y) for one in open_things(now, change.target)}
            changes.append(change)
            now = change.target
            if len(changes) == NUM_TURNS:
                return changes
    raise DataError(f"no {NUM_TURNS} edits in a row in {_TRIES} tries, of {scene}")


def _item(number: int, scene: Scene, changes: Sequence[Change]) -> Item:
    texts = [change.text for change in changes]
    scenes = [scene, *(change.target for change in changes if change.target is not None)]
    truth = {
        "kinds": [change.kind for change in changes],
        "relations": list(map(asked_relation, texts, scenes[:-1])),
        "scenes": [one.to_json() for one in scenes],
    }
    first = Prompt(
        f"turns-{number:03d}", "turns", texts[0], scenes[1], scene, tuple(scenes[1:]), truth
    )
    turns = tuple(Turn("picture", partial(_request, text)) for text in texts[1:])
    return replace(item_of(first, "picture"), prompt=" ".join(texts), turns=turns)


def _request(text: str, made: Made) -> InterleavedSequence:
    """What a user says next; what was made is in the session already."""
    del made
    return InterleavedSequence((TextSegment(text, "user"),))


def _values(
    item: Item, reports: Sequence[Report | None], scenes: Sequence[Scene]
) -> dict[str, float]:
    """What is right, and what is kept where a thing is left that no turn touched."""
    verdicts = judge_turns(reports, scenes, item.truth["relations"])
    values = {
        "right": float(all(verdict.right for verdict in verdicts)),
        **{_turn(k): float(verdict.right) for k, verdict in enumerate(verdicts)},
    }
    first, last, report = scenes[0], scenes[-1], reports[-1]
    if any(one in last.objects for one in first.objects):
        values["kept"] = float(report is not None and rest_kept(report, first, last))
    return values


def _turn(k: int) -> str:
    return f"turn_{k + 1}"
