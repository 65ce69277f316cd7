"""How often the judges of the world are right, and how long they look.

In: an autoencoder. Out: the JSON of `mogao bench judges`: for each judge, for scenes of one thing
and of six recoloured ones, clean and behind the autoencoder, the share of scenes of which all is
right, of things of which all is right, of each attribute, and milliseconds a picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mogao.data.world import atlas
from mogao.data.world.choice import pick
from mogao.data.world.colours import COLOURS
from mogao.data.world.sampling import compose, grounds_for, sample_scene
from mogao.data.world.scene import Scene, render
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.evaluation.judges.detector import DetectorJudge
from mogao.evaluation.judges.report import Judge
from mogao.evaluation.player import round_trip
from mogao.evaluation.rules.agreement import ATTRIBUTES, Reading, read_against
from mogao.model.vae import Autoencoder
from mogao.sequence import Pixels

NUM = 400
"""Scenes of each kind."""
SIX = 6
_SALT = 310_515  # sets these draws apart from those of training, which have no third key
_WARM_UP = 2  # pictures before the clock runs: banks are loaded, kernels chosen


def run(autoencoder: Autoencoder, *, num: int = NUM, seed: int = 0) -> dict[str, Any]:
    """Compare both judges with the truth; one row for each judge, kind of scene and picture.

    Args:
        autoencoder: Whose losses the second pictures have.
        num: Scenes of each kind.
        seed: Of the scenes.
    """
    kinds: Mapping[str, Callable[[np.random.Generator], Scene]] = {
        "one": _one_thing,
        "six": _six_recoloured,
    }
    judges: Sequence[Judge] = (CorrelationJudge(), DetectorJudge.load())
    rows = []
    for place, (kind, draw) in enumerate(kinds.items()):
        rng = np.random.default_rng([seed, place, _SALT])
        scenes = [draw(rng) for _ in range(num)]
        clean = [render(scene) for scene in scenes]
        seen = {"clean": clean, "autoencoder": round_trip(autoencoder, clean)}
        rows += [
            {"judge": judge.name, "scenes": kind, "pictures": name}
            | figures(judge, scenes, pictures)
            for name, pictures in seen.items()
            for judge in judges
        ]
    return {"num": num, "seed": seed, "rows": rows}


def figures(judge: Judge, scenes: Sequence[Scene], pictures: Sequence[Pixels]) -> dict[str, Any]:
    """Return how often a judge is right of some pictures, and how long it looks.

    Args:
        judge: Who reads.
        scenes: The truth, at least one.
        pictures: One for each scene.
    """
    for picture in pictures[:_WARM_UP]:
        judge.read(picture)
    readings: list[Reading] = []
    seconds: list[float] = []
    for scene, picture in zip(scenes, pictures, strict=True):
        started = time.perf_counter()
        report = judge.read(picture)
        seconds.append(time.perf_counter() - started)
        readings.append(read_against(report, scene))
    things = [thing for reading in readings for thing in reading.things]
    by_name = {name: [thing[name] for thing in things if name in thing] for name in ATTRIBUTES}
    by_name["count"] = [reading.count for reading in readings]
    by_name["background"] = [reading.background for reading in readings]
    return {
        "scenes_right": _share([reading.right for reading in readings]),
        "things_right": _share([all(thing.values()) for thing in things]),
        **{name: _share(flags) for name, flags in by_name.items()},
        "ms_mean": 1000 * float(np.mean(seconds)),
        "ms_p90": 1000 * float(np.percentile(seconds, 90)),
    }


def _share(flags: Sequence[bool]) -> float | None:
    """A share; None where nothing was asked, such as the colour of things that have none."""
    return sum(flags) / len(flags) if flags else None


def _one_thing(rng: np.random.Generator) -> Scene:
    return sample_scene(rng, max_objects=1)


def _six_recoloured(rng: np.random.Generator) -> Scene:
    """Six things on a background on which all of them stand out, each in a colour of its own."""
    names = [name for name in atlas.concepts() if atlas.concept(name).colourable]
    style = pick(rng, atlas.STYLES)
    while True:
        things = [(pick(rng, names), pick(rng, list(COLOURS))) for _ in range(SIX)]
        if grounds_for(things, style):
            return compose(rng, things, style=style, flip_share=0.3)
