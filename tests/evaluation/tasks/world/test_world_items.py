"""The items of a suite belong to its protocol: other items need another name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from mogao.data.world.scene import Scene
from mogao.data.world.splits import Settings, is_held_out
from mogao.errors import ConfigError
from mogao.evaluation.benchmark import Item
from mogao.evaluation.judges.detector import DetectorJudge
from mogao.evaluation.registry import BENCHMARKS, open_benchmark
from mogao.evaluation.tasks.world.base import WorldBenchmark
from mogao.evaluation.tasks.world.scenes import composed, painted

WORLD = [name for name, place in BENCHMARKS.items() if place.startswith("world.")]
DIGESTS = {
    ("nano", "mogao-world-2"): "4e8509c0dc1d1343",
    ("world_geneval", "world-geneval-2"): "af2faddf9a8a7bc7",
    ("world_dense", "world-dense-1"): "c4853c3e7ea28c6b",
    ("world_questions", "world-questions-1"): "574c52cbecb07a9f",
    ("world_captions", "world-captions-1"): "85541e0aeff47de6",
    ("world_edits", "world-edits-2"): "dfa9a8c88de93b93",
    ("world_turns", "world-turns-2"): "d362f6706f9a5614",
    ("world_stories", "world-stories-1"): "23a414d4473a0762",
    ("world_round_trip", "world-round-trip-1"): "52edb9efa771573a",
    ("world_repetition", "world-repetition-1"): "115f42816259fa5f",
}


def digest(items: Sequence[Item]) -> str:
    found = hashlib.sha256()
    for item in items:
        row = [item.id, item.group, item.prompt, item.want, item.truth, item.num, item.size]
        found.update(json.dumps(row, sort_keys=True, default=str).encode())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(("name", "protocol"), DIGESTS)
def test_a_protocol_has_always_the_same_items(name: str, protocol: str):
    suite = open_benchmark(name, {})
    assert suite.protocols == (protocol,)
    assert digest(suite.items()) == DIGESTS[name, protocol]


def test_the_items_of_every_suite_are_pinned():
    assert [name for name, _ in DIGESTS] == WORLD


def test_suites_that_read_no_pictures_name_no_judge():
    suites = {name: open_benchmark(name, {}) for name in WORLD}
    assert all(isinstance(suite, WorldBenchmark) for suite in suites.values())
    without = [name for name, suite in suites.items() if not getattr(suite, "judges", None)]
    assert without == ["world_questions", "world_captions"]
    assert getattr(suites["nano"], "judges", None) == {"world": "correlation/2"}


def test_the_judge_that_was_asked_for_is_named_with_its_version():
    judges = getattr(open_benchmark("world_dense", {"judge": "detector"}), "judges", {})
    assert judges == {"world": DetectorJudge.load().name}


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("world_")])
def test_of_the_split_train_nothing_is_held_out(name: str):
    suite = open_benchmark(name, {"split": "train"})
    shown = list(_scenes([dict(item.truth) for item in suite.items()]))
    assert len(shown) > 40
    assert not any(map(is_held_out, shown))
    with pytest.raises(ConfigError, match="split: got 'trained'; did you mean 'train'"):
        open_benchmark(name, {"split": "trained"})


def _scenes(value: object) -> Iterator[Scene]:
    """Every scene inside a JSON value."""
    if isinstance(value, dict) and "background" in value and "objects" in value:
        yield Scene.from_json(value)
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _scenes(part)


def test_composed_scenes_show_something_unseen_and_as_many_as_asked():
    settings, shown = Settings("unseen", styles=("noto",)), 0
    rng = np.random.default_rng(4)
    while shown < 5:
        chosen = rng.choice(len(settings.concepts), 2, replace=False)
        things = painted(rng, [settings.concepts[place] for place in chosen], settings)
        scene = composed(rng, things, (2, 1), style="noto", settings=settings)
        if scene is not None:
            shown += 1
            assert is_held_out(scene)
            assert [item.concept for item in scene.objects].count(things[0][0]) == 2
            assert {(item.concept, item.colour) for item in scene.objects} == set(things)
