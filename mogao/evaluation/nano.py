"""The suite of the first checkpoint: draw, answer, edit and tell in the world, judged by the world.

In: a player and the number of items per task. Out: scores with intervals and ceilings; a folder
with `summary.json`, `items.jsonl`, `sheet.png` and the pictures. The ceiling of a task is the
judge's verdict on real renders that fulfil the same prompts, after the autoencoder's round trip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao.data.images import png_bytes, save_png
from mogao.data.world.scene import render
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.evaluation.judges.report import Judge, Report
from mogao.evaluation.player import Player
from mogao.evaluation.prompts import Item, make_items
from mogao.evaluation.scores import (
    Score,
    edit_done,
    same_answer,
    shows_all,
    shows_colours,
    shows_count,
    shows_relation,
    shows_single,
    summarise,
)
from mogao.evaluation.sheet import Tile, draw_sheet
from mogao.files import atomic_write, to_json
from mogao.provenance import provenance
from mogao.sequence import Pixels

SUITE = "nano"
PROTOCOL = "mogao-world-1: GenEval prompts and rules, world judge by correlation"
FULL = {
    "single_object": 100, "two_object": 100, "colors": 100, "counting": 40, "position": 40,
    "color_attr": 40, "questions": 210, "edits": 60, "stories": 20,
}  # fmt: skip
QUICK = {
    "single_object": 8, "two_object": 6, "colors": 6, "questions": 14, "edits": 6, "stories": 1,
}  # fmt: skip
LEAST_STORY_IMAGES = 3

RoundTrip = Callable[[Sequence[Pixels]], list[Pixels]]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One item after the player took it.

    Attributes:
        item: The item.
        right: Whether it fulfils the item.
        said: The text of the player, or empty.
        pictures: The pictures of the player.
        report: What the judge saw in the picture, or None.
        ceiling: Whether the judge accepts a real render, or None where there is no judge.
    """

    item: Item
    right: bool
    said: str = ""
    pictures: list[Pixels] = field(default_factory=list)
    report: Report | None = None
    ceiling: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """One row of `items.jsonl`."""
        return {
            "id": self.item.id,
            "task": self.item.task,
            "prompt": self.item.prompt,
            "right": self.right,
            "ceiling": self.ceiling,
            "said": self.said,
            "pictures": len(self.pictures),
            "truth": self.item.truth,
            "report": self.report.to_json() if self.report else None,
        }


def evaluate(
    player: Player,
    *,
    sizes: Mapping[str, int] = FULL,
    round_trip: RoundTrip | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    show: Callable[[str, int], None] | None = None,
) -> list[Outcome]:
    """Let a player take the suite.

    Args:
        player: Draws, answers and tells.
        sizes: Task to number of items; FULL and QUICK are ready-made.
        round_trip: The autoencoder of the player, for the ceilings; None judges clean renders.
        judge: None takes the correlation judge.
        seed: Of the items.
        show: Called with the task and the number of items done.

    Raises:
        DataError: A task is unknown.
    """
    judge = judge or CorrelationJudge()
    outcomes: list[Outcome] = []
    for task, num in sizes.items():
        items = make_items(task, num, seed=seed)
        if task == "questions":
            taken = _answers(player, items)
        elif task == "stories":
            taken = _stories(player, items)
        else:
            real = [render(item.target) for item in items if item.target is not None]
            real = round_trip(real) if round_trip is not None else real
            ceilings = [
                is_right(item, judge.read(pixels)) for item, pixels in zip(items, real, strict=True)
            ]
            taken = _pictures(player, items, judge=judge, ceilings=ceilings)
        for number, outcome in enumerate(taken, 1):
            outcomes.append(outcome)
            if show is not None:
                show(task, number)
    return outcomes


def is_right(item: Item, report: Report) -> bool:
    """Apply the rule of a picture task or of edits to what a judge saw."""
    truth = item.truth
    if item.task == "edits":
        assert item.source is not None
        assert item.target is not None
        return edit_done(report, item.source, item.target)
    concepts: list[str] = truth["concepts"]
    match item.task:
        case "single_object":
            return shows_single(report, concepts[0])
        case "two_object":
            return shows_all(report, concepts)
        case "counting":
            return shows_count(report, concepts[0], truth["count"])
        case "position":
            return shows_relation(report, truth["relation"], (concepts[0], concepts[1]))
        case _:
            return shows_colours(report, list(zip(concepts, truth["colours"], strict=True)))


def scores_of(outcomes: Sequence[Outcome]) -> dict[str, Score]:
    """Scores per task, and per kind for questions and edits ("edits/remove")."""
    named: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        named.setdefault(outcome.item.task, []).append(outcome)
        if "kind" in outcome.item.truth:
            key = f"{outcome.item.task}/{outcome.item.truth['kind']}"
            named.setdefault(key, []).append(outcome)
    scores = {
        name: summarise(
            [float(outcome.right) for outcome in group],
            ceiling=[float(outcome.ceiling) for outcome in group if outcome.ceiling is not None],
        )
        for name, group in named.items()
    }
    if "stories" in named:
        counts = [float(len(outcome.pictures)) for outcome in named["stories"]]
        scores["story_pictures"] = summarise(counts)
    return scores


def write_results(
    outcomes: Sequence[Outcome],
    out: str | Path,
    *,
    model: str,
    seed: int,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Write `summary.json`, `items.jsonl`, `sheet.png` and `pictures/`.

    Args:
        outcomes: What `evaluate` gave.
        out: Folder, made when missing.
        model: What the user calls the model.
        seed: Of prompts and noise.
        dtype: Compute type of the model.

    Returns:
        The summary: suite, protocol, model, seed, scores, and where it comes from.
    """
    out = Path(out)
    summary = {
        "suite": SUITE,
        "protocol": PROTOCOL,
        "model": model,
        "seed": seed,
        "scores": {name: score.to_json() for name, score in scores_of(outcomes).items()},
        **provenance(dtype),
    }
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        for number, pixels in enumerate(outcome.pictures):
            save_png(pixels, out / "pictures" / f"{outcome.item.id}-{number}.png")
    atomic_write(out / "sheet.png", png_bytes(draw_sheet(_tiles(outcomes))))
    rows = [to_json(outcome.to_json()) + "\n" for outcome in outcomes]
    atomic_write(out / "items.jsonl", "".join(rows))
    atomic_write(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _pictures(
    player: Player, items: Sequence[Item], *, judge: Judge, ceilings: Sequence[bool]
) -> Iterator[Outcome]:
    for item, pixels, ceiling in zip(items, player.draw(items), ceilings, strict=True):
        report = judge.read(pixels)
        right = is_right(item, report)
        yield Outcome(item, right, pictures=[pixels], report=report, ceiling=ceiling)


def _answers(player: Player, items: Sequence[Item]) -> Iterator[Outcome]:
    for item, said in zip(items, player.answer(items), strict=True):
        yield Outcome(item, same_answer(said, item.truth["answer"]), said=said)


def _stories(player: Player, items: Sequence[Item]) -> Iterator[Outcome]:
    for item, pictures in zip(items, player.tell(items), strict=True):
        yield Outcome(item, len(pictures) >= LEAST_STORY_IMAGES, pictures=pictures)


def _tiles(outcomes: Sequence[Outcome]) -> list[Tile]:
    """Tiles of all pictures; an edit shows its source first, a mistake what the judge saw."""
    tiles = []
    for outcome in outcomes:
        item, report = outcome.item, outcome.report
        if item.source is not None and outcome.pictures:
            tiles.append(Tile(render(item.source), "before"))
        caption = item.prompt
        if report is not None and not outcome.right:
            seen = ", ".join(f"{found.colour} {found.concept}" for found in report.findings)
            caption = f"{caption} | {seen or 'nothing'}"
        right = None if report is None else outcome.right
        tiles += [Tile(pixels, caption, right) for pixels in outcome.pictures]
    return tiles
