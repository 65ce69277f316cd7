"""Repetition: how often a new picture repeats an earlier one, by the scale of image guidance.

In: nothing but a seed. Out: at each scale, how often the new picture shows what the one before it
showed, and how often what the text asks. Half of the documents are chats: the user shows one thing
and wants it replaced by another. Half are stories, broken off before their second picture, in which
somebody or something comes or goes. Training shows both forms. The place stays in all of them, so
that the earlier picture is a tempting answer: where the text named another place, nano was never
seen to repeat. Scenes are unseen, but nothing in them is held out: what is asked is whether text or
pictures are followed, not composition.

Low is good for repetition, and a white sheet repeats nothing: read it beside "right". All scales
have the same documents. Text guidance stays as the model has it; a scale equal to it makes pictures
and text one condition. A preset of guidance without a branch of pictures does not heed the scale.

Source: the multi-modal guidance of arXiv 2505.05472.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mogao.data.world.language import groups_of
from mogao.data.world.scene import Scene, render
from mogao.data.world.script import Line, Script, realise
from mogao.data.world.splits import Settings
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.judges.report import Report, on_canvas
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.story import shows_exactly
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    PERFECT,
    WorldBenchmark,
    parts_to_json,
    score_of,
    score_with_ceiling,
    unit_of,
)
from mogao.evaluation.tasks.world.stories import find_script
from mogao.sequence import Pixels

SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)
FORMS = ("edit", "story")
"""Recipes of the documents, which take turns."""
NUM = 30
"""Documents, the same at each scale."""
NEAR = 16
"""Most difference of each channel, of 255, at which two pixels count as equal: nano's autoencoder
leaves 0.92 of the pixels of a render within it."""
_SALT = 310_513  # sets these draws apart from those of training, which have no third key


class WorldRepetition(WorldBenchmark):
    """30 documents at each of five scales; a group is a scale."""

    name = "world_repetition"
    protocols: tuple[str, ...] = ("world-repetition-1",)

    def items(self) -> Sequence[Item]:
        """Return all items, scale by scale."""
        documents = [_document(number, self._seed, self._settings) for number in range(NUM)]
        return [
            _item(document, f"scale-{scale:g}-{number:03d}", scale=scale)
            for scale in SCALES
            for number, document in enumerate(documents)
        ]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Hold the new picture, and a real render, against the text and the earlier picture."""
        earlier = Scene.from_json(item.truth["earlier"])
        target = Scene.from_json(item.truth["target"])
        shown = on_canvas(render(earlier))

        def values(pixels: Pixels, report: Report) -> dict[str, float]:
            return {
                "repeated": float(shows_scene(report, earlier)),
                "right": float(shows_scene(report, target)),
                "pixels": equal_share(on_canvas(pixels), shown),
            }

        def rule(pixels: Pixels) -> Judged:
            report = self._judge.read_pixels(pixels)
            return Judged(values(pixels, report), {"report": report.to_json()})

        top = values(render(target), self._judge.read_render(target))
        facts = {"form": item.truth["form"], CEILINGS: top}
        row = picture_row(item, outputs, rule, names=tuple(top), facts=facts)
        found = {**row.values, CEILING: top["right"]}
        return replace(row, values=found, unit=unit_of(item, "earlier", "target"))

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return what is repeated and what is right, over all scales and at each."""
        scales = list(dict.fromkeys(row.group for row in rows))
        return {
            "repeated": score_with_ceiling(rows, "repeated"),
            "right": score_of(rows, "right"),
            **{
                f"repeated/{one}": score_with_ceiling(rows, "repeated", group=one) for one in scales
            },
            **{f"right/{one}": score_of(rows, "right", groups=[one]) for one in scales},
            **{f"pixels/{one}": score_with_ceiling(rows, "pixels", group=one) for one in scales},
        }


def shows_scene(report: Report, scene: Scene) -> bool:
    """Whether a picture shows the things and the background of a scene, wherever they stand."""
    return shows_exactly(report, groups_of(scene.objects), ground=scene.background)


def equal_share(one: Pixels, other: Pixels) -> float:
    """Return the share of pixels that are nearly equal in two equally large pictures."""
    difference = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return float((difference.max(-1) <= NEAR).mean())


def _document(number: int, seed: int, settings: Settings) -> tuple[str, Script]:
    """A form, and a document of it up to its second picture, which is to be drawn."""
    rng = np.random.default_rng([seed, number, _SALT])
    form = FORMS[number % len(FORMS)]
    drawn = replace(settings, split="train")  # nothing is held out, whatever the split of the suite
    script = find_script(form, rng, drawn, keep=_replaces if form == "edit" else _changes)
    end = script.lines.index(Line(script.scenes[1]))
    return form, Script(script.lines[: end + 1])


def _replaces(script: Script) -> bool:
    """Whether the one thing in a picture is to be replaced."""
    return script.truth["edits"][0]["kind"] == "replace" and len(script.scenes[0].objects) == 1


def _changes(script: Script) -> bool:
    """Whether the second picture of a story shows other things in the same place."""
    first, second = script.scenes[:2]
    others = groups_of(first.objects) != groups_of(second.objects)
    return others and first.background == second.background


def _item(document: tuple[str, Script], name: str, *, scale: float) -> Item:
    """A document without its last picture, which is to be drawn."""
    form, script = document
    earlier, target = script.scenes
    told = Script(script.lines[:-1])
    truth = {
        "form": form,
        "earlier": earlier.to_json(),
        "target": target.to_json(),
        PERFECT: parts_to_json([target]),
    }
    return Item(
        id=name,
        group=f"{scale:g}",
        prompt=" ".join(told.texts),
        want="picture",
        given=partial(realise, told, recipe=form, name=name),
        truth=truth,
        size=(target.pixels, target.pixels),
        settings={"image.image_guidance_scale": scale},
    )
