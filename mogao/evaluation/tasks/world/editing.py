"""Edits of pictures in the world: is the change done, is the rest kept, and how well?

In: nothing but a seed and styles. Out: shares of edits that are done, kept and right, which is
both, and PSNR and SSIM outside of the edited box, all beside ceilings. Each picture shows two
concepts that training knows and never showed together; what is added is known from training too.
An edit wants a picture, so a model cannot refuse it; what cannot be edited wants an answer, and
is right if that is the text that says so and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from mogao.data.world.edits import KINDS
from mogao.data.world.language import Group, the
from mogao.data.world.sampling import RELATIONS
from mogao.data.world.scene import Scene, render
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.judges.report import Report, on_canvas
from mogao.evaluation.prompts import CANNOT, Prompt, make_edits
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.edit import judge_edit, open_things
from mogao.evaluation.rules.fidelity import edited_region, outside_box
from mogao.evaluation.rules.world import same_answer
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.world.base import (
    CEILINGS,
    WorldBenchmark,
    item_of,
    scene_of,
    score_of,
    score_with_ceiling,
)
from mogao.sequence import Pixels

EACH = 30
"""Edits of a kind."""


class WorldEdits(WorldBenchmark):
    """Eight kinds of edits, or seven, each of 30 pictures."""

    name = "world_edits"
    protocols: tuple[str, ...] = ("world-edits-2",)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of edits; where all pictures have one style, it cannot change."""
        return *(kind for kind in KINDS if kind != "style" or len(self._styles) > 1), CANNOT

    def items(self) -> Sequence[Item]:
        """Return all items, kind by kind; the group of each is its kind."""
        prompts = make_edits(self.kinds, EACH, seed=self._seed, settings=self._settings)
        return [_item(prompt) for prompt in prompts]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Judge the change, the rest and the pixels of the rest, or whether it is refused.

        Raises:
            ConfigError: scikit-image is not installed.
        """
        if item.group == CANNOT:
            return _refusal(item, outputs[0])
        target = scene_of(item.truth, "target")
        assert target is not None
        pictures = [render(target)]
        real = self._round_trip(pictures)[0] if self._round_trip else pictures[0]
        top = dict(self._judged(item, real).values)
        row = picture_row(
            item,
            outputs,
            lambda pixels: self._judged(item, pixels),
            names=tuple(top),
            facts={CEILINGS: top},
        )
        return replace(row, values={**row.values, CEILING: top["right"]})

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return what is right, done and kept, PSNR (dB) and SSIM, then what is so of each kind."""
        kinds = dict.fromkeys(row.group for row in rows)
        scores = {"overall": score_of(rows, "right")}
        scores |= {
            name: score_with_ceiling(rows, name) for name in ("done", "kept", "psnr", "ssim")
        }
        scores |= {kind: score_of(rows, "right", groups=[kind]) for kind in kinds}
        for kind, name in product(kinds, ("done", "kept", "psnr", "ssim")):
            score = score_with_ceiling([row for row in rows if row.group == kind], name)
            if score.n:
                scores[f"{kind}/{name}"] = score
        return scores

    def _judged(self, item: Item, pixels: Pixels) -> Judged:
        """Judge one picture; PSNR and SSIM are missing where an edit is of the whole picture."""
        source, target = scene_of(item.truth, "source"), scene_of(item.truth, "target")
        assert source is not None
        assert target is not None
        report = self._judge.read_pixels(pixels)
        verdict = judge_edit(report, source, target, relation=item.truth["relation"])
        values = {
            "right": float(verdict.right), "done": float(verdict.done), "kept": float(verdict.kept),
        }  # fmt: skip
        region = edited_region(source, target, drawn=_drawn(report, source, target))
        if region is not None:
            shown = on_canvas(pixels, side=source.pixels)
            found = outside_box(render(source), shown, region)
            values |= {"psnr": found.psnr, "ssim": found.ssim}
        return Judged(values, {"report": report.to_json()})


def asked_relation(text: str, source: Scene) -> tuple[str, str] | None:
    """Return where a request wants a thing added, as in ("left of", "cat"); None for anywhere.

    Args:
        text: The request.
        source: What it is about; no concept is there twice.
    """
    for relation, one in product(RELATIONS, source.objects):
        if text.endswith(f" {relation} {the(Group(one.concept))}."):
            return relation, one.concept
    return None


def _item(prompt: Prompt) -> Item:
    if prompt.target is None:
        return item_of(prompt, "document")
    assert prompt.source is not None
    relation = asked_relation(prompt.text, prompt.source)
    return item_of(prompt, "picture", truth={**prompt.truth, "relation": relation})


def _refusal(item: Item, output: Output) -> Row:
    """The row of what cannot be edited; no judge is asked, so real answers reach the top."""
    right = same_answer(output.text, item.truth["answer"]) and not output.pictures
    facts: dict[str, Any] = {"said": output.text, "answer": item.truth["answer"]}
    return Row(item.id, item.group, {"right": float(right), CEILING: 1.0}, facts=facts)


def _drawn(report: Report, source: Scene, target: Scene) -> list[tuple[float, float, float, float]]:
    """Boxes of things that may stand elsewhere than in the target, where the judge sees them."""
    named = [report.named(one.concept) for one in open_things(source, target)]
    return [found[0].box for found in named if found]
