"""Round trips: from a picture through the model's own words to a picture, and the other way.

In: nothing but a seed and styles. Out: the share of facts that come through, of each trip and over
both, beside the judge's ceiling where a picture is judged. The second half of a trip is a document
of its own, so nothing but the text or the picture in the middle can carry a fact. Scenes are of
trained concepts with colours and pairs that training never showed.

Source: arXiv 2509.09666 for the idea; `mogao.evaluation.tasks.unified_bench` is its public form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mogao.data.world.language import describe
from mogao.data.world.scene import Scene
from mogao.evaluation.benchmark import Item, Made, Output, Row, Turn
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.facts import (
    Agreement,
    Facts,
    compare,
    read_caption,
    report_facts,
    scene_facts,
)
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.records import document
from mogao.evaluation.tasks.unified_bench import DRAW_OWN_WORDS
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    WorldBenchmark,
    item_of,
    mean_of_groups,
    scene_of,
    score_of,
)
from mogao.evaluation.tasks.world.captions import REQUESTS
from mogao.evaluation.tasks.world.scenes import family_scenes
from mogao.files import to_json
from mogao.sequence import InterleavedSequence

PICTURE_TRIP = "picture_text_picture"
TEXT_TRIP = "text_picture_text"
_NUM = 40  # of each trip
_LEVEL = 3
_KINDS = ("thing", "colour", "place", "background")  # what a picture is asked for


class WorldRoundTrip(WorldBenchmark):
    """40 trips that begin with a picture, 40 that begin with a text."""

    name = "world_round_trip"
    protocols: tuple[str, ...] = ("world-round-trip-1",)

    def items(self) -> Sequence[Item]:
        """Return all items, trip by trip; both go from the same scenes."""
        scenes = family_scenes(_NUM, suite=self.name, seed=self._seed, settings=self._settings)
        return [
            *(_picture_trip(scene, number) for number, scene in enumerate(scenes)),
            *(_text_trip(scene, number) for number, scene in enumerate(scenes)),
        ]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Return the share of facts that are found at the end; where nothing is, it is 0."""
        if item.group == TEXT_TRIP:
            return _text_row(item, outputs[0])
        scene = scene_of(item.truth, "source")
        assert scene is not None
        report, failures = self._judge.read(outputs[0])
        seen = frozenset() if report is None else report_facts(report)
        top = compare(report_facts(self._judge.read_render(scene)), picture_facts(scene))
        found = compare(seen, picture_facts(scene))
        return Row(
            item.id,
            item.group,
            {"score": found.recall, CEILING: top.recall},
            failures,
            _facts(found, top) | {"report": None if report is None else report.to_json()},
            _unit(scene),
        )

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean over the trips, then each trip."""
        trips = dict.fromkeys(row.group for row in rows)
        return {
            "overall": mean_of_groups(rows, "score"),
            **{trip: score_of(rows, "score", groups=[trip]) for trip in trips},
        }


def picture_facts(scene: Scene) -> Facts:
    """Return what should be left of a picture: things, colours, places and the background.

    Only facts that a detailed description states; the place of one of two cats is none of them.
    """
    return frozenset(fact for fact in scene_facts(scene, level=_LEVEL) if fact.kind in _KINDS)


def show_own_picture(made: Made) -> InterleavedSequence:
    """Return a new document: what was drawn last, and the request to describe it in detail."""
    pictures = [part for part in made if not isinstance(part, str)]
    return document(REQUESTS[_LEVEL], pictures=[lambda: pictures[-1]])


def _text_row(item: Item, output: Output) -> Row:
    scene = scene_of(item.truth, "target")
    assert scene is not None
    said, wanted = read_caption(output.text), scene_facts(scene, level=_LEVEL)
    found = compare(said, wanted)
    top = compare(read_caption(describe(scene, level=_LEVEL)), wanted)
    values = {"score": found.recall, CEILING: top.recall}
    failures = () if said else ("no facts",)
    return Row(item.id, item.group, values, failures, _facts(found, top), _unit(scene))


def _facts(found: Agreement, top: Agreement) -> dict[str, Any]:
    return {"missing": sorted(map(str, found.missing)), CEILINGS: {"score": top.recall}}


def _unit(scene: Scene) -> str:
    """Both trips go from the same scenes."""
    return to_json(scene.to_json())


def _picture_trip(scene: Scene, number: int) -> Item:
    prompt = Prompt(
        f"{PICTURE_TRIP}-{number:03d}",
        PICTURE_TRIP,
        REQUESTS[_LEVEL],
        source=scene,
        perfect=(describe(scene, level=_LEVEL), scene),
    )
    size = (scene.pixels, scene.pixels)
    return replace(item_of(prompt, "text"), size=size, turns=(DRAW_OWN_WORDS,))


def _text_trip(scene: Scene, number: int) -> Item:
    text = describe(scene, level=_LEVEL)
    prompt = Prompt(
        f"{TEXT_TRIP}-{number:03d}", TEXT_TRIP, text, target=scene, perfect=(scene, text)
    )
    turn = Turn("text", show_own_picture, is_fresh=True)
    return replace(item_of(prompt, "picture"), turns=(turn,))
