"""A model takes items through its sessions."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mogao.data.world.scene import render
from mogao.errors import ConfigError
from mogao.evaluation.benchmark import Item, Turn
from mogao.evaluation.player import MAX_IMAGES, SessionPlayer, round_trip, seed_of
from mogao.evaluation.prompts import make_prompts
from mogao.evaluation.tasks.world.base import item_of
from mogao.pipeline import Mogao
from mogao.sequence import InterleavedSequence, TextSegment


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Mogao:
    return Mogao.from_pretrained(tiny_model_folder, dtype="float32")


def items(task: str, num: int, want="picture") -> list[Item]:
    return [item_of(prompt, want) for prompt in make_prompts(task, num)]


@pytest.mark.parametrize("task", ["colors", "edits"])
def test_a_picture_depends_on_its_item_and_the_seed_alone(model: Mogao, task: str):
    jobs = [(item, k) for item in items(task, 2) for k in range(2)]
    made = dict(zip([(i.id, k) for i, k in jobs], SessionPlayer(model, seed=1).play(jobs),
                    strict=True))  # fmt: skip
    assert all(len(parts) == 1 and np.shape(parts[0]) == (128, 128, 3) for parts in made.values())
    (again,) = SessionPlayer(model, seed=1).play(jobs[3:])
    (other,) = SessionPlayer(model, seed=2).play(jobs[3:])
    last = made[jobs[3][0].id, 1]
    assert np.array_equal(again[0], last[0])
    assert not np.array_equal(other[0], last[0])
    assert len({seed_of(item, k, seed) for item, k in jobs for seed in (0, 1)}) == 8


def test_texts_and_documents_come_in_reading_order(model: Mogao):
    question, story = items("questions", 1, "text")[0], items("stories", 1, "document")[0]
    said, told = SessionPlayer(model).play([(question, 0), (story, 0)])
    assert [type(part) for part in said] == [str]
    assert sum(not isinstance(part, str) for part in told) <= MAX_IMAGES
    kinds = [isinstance(part, str) for part in told]
    assert all(not (a and b) for a, b in itertools.pairwise(kinds))


def test_turns_follow_and_a_fresh_one_sees_nothing_before(model: Mogao):
    seen = []

    def next_given(made):
        seen.append(list(made))
        return InterleavedSequence((TextSegment("a cat"),))

    (first,) = items("questions", 1, "text")
    turns = (Turn("picture", next_given), Turn("text", next_given, is_fresh=True))
    item = replace(first, turns=turns, size=(32, 32))
    (made,) = SessionPlayer(model).play([(item, 0)])
    assert [isinstance(part, str) for part in made] == [True, False, True]
    assert [len(parts) for parts in seen] == [1, 2]


def test_an_item_may_change_settings_but_only_known_ones(model: Mogao):
    (item,) = items("colors", 1)
    changed = replace(item, settings={"image.sampler": "sde"})
    (plain,), (fast,) = (list(SessionPlayer(model).play([(i, 0)])) for i in (item, changed))
    assert not np.array_equal(plain[0], fast[0])
    with pytest.raises(ConfigError, match="num_stepz"):
        list(SessionPlayer(model).play([(replace(item, settings={"image.num_stepz": 1}), 0)]))


def test_the_round_trip_is_the_same_in_any_batch(model: Mogao):
    scenes = [prompt.target for prompt in make_prompts("single_object", 18)]
    pictures = [render(scene) for scene in scenes if scene is not None]
    together = round_trip(model.parts.autoencoder, pictures)
    alone = round_trip(model.parts.autoencoder, pictures[17:])
    assert len(together) == 18
    assert np.abs(together[17].astype(int) - alone[0].astype(int)).max() <= 1
