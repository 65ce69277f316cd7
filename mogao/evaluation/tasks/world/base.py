"""What the benchmarks of the world share: prompts as items, a judge, ceilings.

In: prompts with their scenes. Out: items, and pictures as the judge reads them. The ceiling of an
item is the judge's verdict on a real render that fulfils it, after the autoencoder's round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mogao.data.world.sampling import GRID
from mogao.data.world.scene import CANVAS, Scene, render
from mogao.data.world.splits import Settings, Split
from mogao.errors import ConfigError, nearest
from mogao.evaluation.benchmark import Item, Made, Output, Row, Want, picture_places
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.evaluation.judges.detector import DetectorJudge
from mogao.evaluation.judges.report import Judge, Report, on_canvas
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.scores import Score, summarise
from mogao.evaluation.tables import CEILING, having, numbers, over_groups
from mogao.evaluation.tasks.pictures import NO_PICTURE, attempted, last_picture
from mogao.files import to_json
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, Segment, TextSegment

NANO_STYLES = "noto"
"""Styles that the checkpoint of the package has learned."""
PERFECT = "perfect"
"""Key of an item's truth: what a perfect model makes of it, texts and scenes."""
CEILINGS = "ceilings"
"""Fact of a row: what real renders are given, by the name of each value but `CEILING`."""
SPLITS: Mapping[str, Split] = {"unseen": "unseen", "train": "train"}
"""What a suite may ask for, by the word of the command line."""
CORRELATION, DETECTOR = "correlation", "detector"
"""Names of the judges."""
RoundTrip = Callable[[Sequence[Pixels]], list[Pixels]]


class WorldJudge:
    """A judge with its ceiling.

    Attributes:
        name: Of the judge, with its version.
    """

    def __init__(
        self, *, judge: Judge | str = CORRELATION, round_trip: RoundTrip | None = None
    ) -> None:
        """Take a judge.

        Args:
            judge: A judge, or the name of one of ours: `CORRELATION` or `DETECTOR`.
            round_trip: The autoencoder of who is scored, for the ceiling; None takes clean renders.

        Raises:
            ConfigError: No judge has the name.
            CheckpointError: The weights of the detector are missing.
        """
        self._judge = open_judge(judge) if isinstance(judge, str) else judge
        self.name = self._judge.name
        self._round_trip = round_trip

    def read(self, output: Output) -> tuple[Report | None, tuple[str, ...]]:
        """Return what the last picture of an output shows, or None and what failed."""
        path = last_picture(output)
        return (None, (NO_PICTURE,)) if path is None else self.read_file(path)

    def read_file(self, path: Path) -> tuple[Report | None, tuple[str, ...]]:
        """Return what the picture of a file shows, or None and what failed."""
        return attempted(path, self.read_pixels)

    def read_pixels(self, pixels: Pixels) -> Report:
        """Return what a picture shows.

        Raises:
            ShapeError: It is not square.
        """
        return self._judge.read(on_canvas(pixels))

    def read_render(self, scene: Scene) -> Report:
        """Return what a real render of a scene shows, behind the autoencoder."""
        pictures = [render(scene)]
        return self.read_pixels((self._round_trip(pictures) if self._round_trip else pictures)[0])


def open_judge(name: str) -> Judge:
    """Return a judge by its name.

    Raises:
        ConfigError: There is none of this name.
        CheckpointError: The weights of the detector are missing.
    """
    if name == CORRELATION:
        return CorrelationJudge()
    if name == DETECTOR:
        return DetectorJudge.load()
    raise ConfigError(f"no judge {name!r}; {nearest(name, (CORRELATION, DETECTOR))}")


def item_of(
    prompt: Prompt, want: Want, *, num: int = 1, truth: Mapping[str, Any] | None = None
) -> Item:
    """Return a prompt as an item; a drawing is a document, all else a conversation.

    Its truth holds what a perfect model makes of it; see `perfect`.

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
    facts = {**(prompt.truth if truth is None else truth), **shown, PERFECT: _perfect_parts(prompt)}
    parts = (prompt.target, *prompt.perfect, prompt.source)
    side = next((part.pixels for part in parts if isinstance(part, Scene)), CANVAS)
    size = None if want == "text" else (side, side)
    return Item(prompt.id, prompt.task, prompt.text, want, given, facts, num, size)


def scene_of(truth: Mapping[str, Any], name: str) -> Scene | None:
    """Return a scene of an item's truth."""
    return Scene.from_json(truth[name]) if name in truth else None


def parts_to_json(parts: Sequence[str | Scene]) -> list[dict[str, Any]]:
    """Return texts and scenes as JSON values for the key `PERFECT` of a truth."""
    return [
        {"text": part} if isinstance(part, str) else {"scene": part.to_json()} for part in parts
    ]


def perfect(item: Item) -> Made:
    """Return what a perfect model makes of an item of the world: texts and real renders.

    Raises:
        ConfigError: The item is not of the world.
    """
    if PERFECT not in item.truth:
        raise ConfigError(f"item {item.id} is not of the world: nobody knows its perfect output")
    return tuple(
        part["text"] if "text" in part else render(Scene.from_json(part["scene"]))
        for part in item.truth[PERFECT]
    )


def unit_of(item: Item, *names: str) -> str:
    """Return what an item shares with all others about the same scenes, for its row.

    Args:
        item: Of the world.
        names: Keys of its truth that hold the scenes.
    """
    return to_json({name: item.truth[name] for name in names})


def score_of(rows: Sequence[Row], value: str, *, groups: Sequence[str] | None = None) -> Score:
    """Return the mean of a value with the ceiling of the same rows, where they have one."""
    own = having(rows, value, groups=groups)
    return _mean(own, value, ceiling=numbers(own, CEILING))


def score_with_ceiling(rows: Sequence[Row], value: str, *, group: str | None = None) -> Score:
    """Return the mean of a value with that of real renders, from the facts of the rows.

    Args:
        rows: Each that has the value has it in the fact `CEILINGS` too.
        value: Name of the number.
        group: None takes all rows.
    """
    own = having(rows, value, groups=None if group is None else [group])
    return _mean(own, value, ceiling=[row.facts[CEILINGS][value] for row in own])


def mean_of_groups(rows: Sequence[Row], value: str) -> Score:
    """Return the mean over groups of a value, and of real renders as of `score_with_ceiling`."""
    tops = [replace(row, values={value: row.facts[CEILINGS][value]}) for row in having(rows, value)]
    top = over_groups(tops, value)
    return replace(over_groups(rows, value), ceiling=top.value if top.n else None)


def _mean(rows: Sequence[Row], value: str, *, ceiling: Sequence[float]) -> Score:
    units = [row.unit for row in rows]
    return summarise(numbers(rows, value), ceiling=ceiling, units=units)


class WorldBenchmark:
    """What the benchmarks of the world have in common: seed, styles, judge, where pictures lie.

    Attributes:
        judges: Name and version of the judge, for the results; none where only texts are scored.
        reads_pictures: Whether rules of the suite look at pictures that were made.
    """

    reads_pictures = True

    def __init__(
        self,
        *,
        seed: int = 0,
        styles: str = NANO_STYLES,
        concepts: str = "",
        colours: str = "",
        backgrounds: str = "",
        grid: str = str(GRID),
        pixels: str = str(CANVAS),
        split: str = "unseen",
        judge: Judge | str = CORRELATION,
        round_trip: RoundTrip | None = None,
    ) -> None:
        """Make the suite.

        Args:
            seed: Of the prompts.
            styles: Styles of the pictures, joined by commas.
            concepts: Those of a smaller world, joined by commas; empty takes all.
            colours: Likewise.
            backgrounds: Likewise.
            grid: See `WorldConfig.grid`; a number in words of the command line.
            pixels: Side of the pictures, likewise.
            split: "unseen" shows colours or pairs that training never showed, where the suite says
                so; "train" shows nothing that is held out, in new scenes.
            judge: A judge, or the name of one of ours: `CORRELATION` or `DETECTOR`.
            round_trip: The autoencoder of who is scored, for the ceilings.

        Raises:
            ConfigError: A name is unknown, or what should be a number is none.
        """
        for key, given, usual in (("grid", grid, GRID), ("pixels", pixels, CANVAS)):
            if not given.isdecimal() or not int(given):
                raise ConfigError(f"{key}: got {given!r}, expected a number such as {usual}")
        if split not in SPLITS:
            raise ConfigError(f"split: got {split!r}; {nearest(split, SPLITS)}")
        self._seed = seed
        self._settings = Settings.of_world(
            _listed(styles),
            concepts=_listed(concepts),
            colours=_listed(colours),
            backgrounds=_listed(backgrounds),
            grid=int(grid),
            pixels=int(pixels),
            split=SPLITS[split],
        )
        self._styles = self._settings.styles
        self._round_trip = round_trip
        self._judge = WorldJudge(judge=judge, round_trip=round_trip)
        self.judges = {"world": self._judge.name} if self.reads_pictures else {}

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie, or a text alone."""
        pictures = picture_places(item, k)
        if item.want != "text" or item.turns:
            return pictures
        return [str(PurePosixPath(place).with_suffix(".txt")) for place in pictures]


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _perfect_parts(prompt: Prompt) -> list[dict[str, Any]]:
    if prompt.perfect:
        return parts_to_json(prompt.perfect)
    return parts_to_json([prompt.truth["answer"] if prompt.target is None else prompt.target])
