"""Captions: a picture is shown, and what is said of it is compared with what is true, fact by fact.

In: nothing but a seed and styles. Out: precision, recall and F1 of facts, and the share of captions
that say all they should and nothing wrong. Scenes are of trained concepts with colours and pairs
that training never showed; held-out concepts and styles are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from mogao.data.world.draw import CAPTION_REQUESTS
from mogao.data.world.language import describe, sentence
from mogao.data.world.scene import Scene
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.facts import compare, read_caption, scene_facts, true_facts
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.world.base import PERFECT, WorldBenchmark, item_of, scene_of, unit_of
from mogao.evaluation.tasks.world.scenes import family_scenes

REQUESTS = {1: CAPTION_REQUESTS[1][0], 2: CAPTION_REQUESTS[2][0], 3: CAPTION_REQUESTS[3][0]}
"""Level of detail to a request for it that training knows."""
_NUM = 40  # of each level
_VALUES = ("f1", "precision", "recall", "right")


class WorldCaptions(WorldBenchmark):
    """The same scenes at three levels of detail; what is wanted is what training says at each."""

    name = "world_captions"
    protocols: tuple[str, ...] = ("world-captions-1",)
    reads_pictures = False

    def items(self) -> Sequence[Item]:
        """Return all items, level by level; each level asks about the same scenes."""
        scenes = family_scenes(_NUM, suite=self.name, seed=self._seed, settings=self._settings)
        return [
            item_of(_prompt(scene, level, f"level_{level}-{number:03d}"), "text")
            for level in REQUESTS
            for number, scene in enumerate(scenes)
        ]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Compare what the caption says with the scene; a caption without facts scores 0.

        Whatever is true may be said; what is wanted is what training says at the level.
        """
        scene = scene_of(item.truth, "source")
        assert scene is not None
        said = read_caption(outputs[0].text)
        wanted = scene_facts(scene, level=item.truth["level"])
        found = compare(said, wanted, true=true_facts(scene))
        values = {
            "f1": found.f1,
            "precision": found.precision,
            "recall": found.recall,
            "right": float(not found.missing and not found.wrong),
        }
        facts = {key: value for key, value in item.truth.items() if key != PERFECT}
        facts["missing"] = sorted(map(str, found.missing))
        facts["wrong"] = sorted(map(str, found.wrong))
        failures = () if said else ("no facts",)
        return Row(item.id, item.group, values, failures, facts, unit_of(item, "source"))

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the means over all captions, then those of each level."""
        scores = {name: over_items(rows, name) for name in _VALUES}
        for name in _VALUES:
            levels = by_group(rows, name)
            scores |= {f"{level}/{name}": score for level, score in levels.items()}
        return scores


def _prompt(scene: Scene, level: int, name: str) -> Prompt:
    truth = {"level": level, "answer": sentence(describe(scene, level=level))}
    return Prompt(name, f"level_{level}", REQUESTS[level], source=scene, truth=truth)
