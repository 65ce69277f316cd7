"""What the benchmarks of the world share: prompts as items, a judge, ceilings.

In: prompts with their scenes. Out: items, and pictures as the judge reads them. The ceiling of an
item is the judge's verdict on a real render that fulfils it, after the autoencoder's round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mogao.data.images import read_image
from mogao.data.world.scene import CANVAS, Scene, render
from mogao.evaluation.benchmark import Item, Output, Row, Want, picture_places
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.evaluation.judges.report import Judge, Report
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.scores import Score, summarise
from mogao.evaluation.tables import CEILING, numbers
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, Segment, TextSegment

RoundTrip = Callable[[Sequence[Pixels]], list[Pixels]]


class WorldJudge:
    """A judge with its ceiling."""

    def __init__(self, *, judge: Judge | None = None, round_trip: RoundTrip | None = None) -> None:
        """Take a judge.

        Args:
            judge: None takes the correlation judge.
            round_trip: The autoencoder of who is scored, for the ceiling; None takes clean renders.
        """
        self._judge = judge or CorrelationJudge()
        self._round_trip = round_trip

    def read(self, output: Output) -> Report | None:
        """Return what the last picture of an output shows; None where there is none."""
        return self.read_pixels(read_image(output.pictures[-1])) if output.pictures else None

    def read_pixels(self, pixels: Pixels) -> Report:
        """Return what a picture shows."""
        return self._judge.read(pixels)

    def read_render(self, scene: Scene) -> Report:
        """Return what a real render of a scene shows, behind the autoencoder."""
        pictures = [render(scene)]
        return self._judge.read((self._round_trip(pictures) if self._round_trip else pictures)[0])


def item_of(
    prompt: Prompt, want: Want, *, num: int = 1, truth: Mapping[str, Any] | None = None
) -> Item:
    """Return a prompt as an item; a drawing is a document, all else a conversation.

    Args:
        prompt: With its scenes, which go into the truth as JSON.
        want: What the model is to make.
        num: Outputs.
        truth: Replaces that of the prompt.
    """

    def given() -> InterleavedSequence:
        is_document = prompt.source is None and prompt.target is not None
        segments: list[Segment] = [TextSegment(prompt.text, "model" if is_document else "user")]
        if prompt.source is not None:
            segments.insert(0, ImageSegment(render(prompt.source), "user"))
        return InterleavedSequence(tuple(segments), id=prompt.id)

    scenes = {"target": prompt.target, "source": prompt.source}
    shown = {name: scene.to_json() for name, scene in scenes.items() if scene is not None}
    facts = {**(prompt.truth if truth is None else truth), **shown}
    size = None if want == "text" else (CANVAS, CANVAS)
    return Item(prompt.id, prompt.task, prompt.text, want, given, facts, num, size)


def scene_of(truth: Mapping[str, Any], name: str) -> Scene | None:
    """Return a scene of an item's truth."""
    return Scene.from_json(truth[name]) if name in truth else None


def score_of(rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None) -> Score:
    """Return the mean of a value with the ceiling of the same rows, where they have one."""
    found = numbers(rows, value, groups=groups)
    return summarise(found, ceiling=numbers(rows, CEILING, groups=groups))


class WorldBenchmark:
    """What the benchmarks of the world have in common: a seed, a judge, where pictures lie.

    Attributes:
        judges: Name of the judge, for the results.
    """

    def __init__(
        self, *, seed: int = 0, judge: Judge | None = None, round_trip: RoundTrip | None = None
    ) -> None:
        """Make the suite.

        Args:
            seed: Of the prompts.
            judge: None takes the correlation judge.
            round_trip: The autoencoder of who is scored, for the ceilings.
        """
        self._seed = seed
        self._judge = WorldJudge(judge=judge, round_trip=round_trip)
        self.judges = {"world": type(judge or CorrelationJudge()).__name__}

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie."""
        return picture_places(item, k)
