"""Controls bound a suite: what is right scores one, what is right elsewhere scores little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mogao.errors import ConfigError
from mogao.evaluation.benchmark import Item
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.prompts import PICTURE_TASKS
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.runner import choose, generate, read_outputs, score
from mogao.evaluation.tasks.world.nano import NanoSuite
from mogao.sequence import InterleavedSequence

PROTOCOL = "mogao-world-2"


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return choose(NanoSuite().items(), most=3)


def mean(items: list[Item], player, out: Path) -> float:
    suite = NanoSuite()
    generate(items, player, out)
    rows = score(suite, items, read_outputs(items, out), tools=Tools(), protocol=PROTOCOL)
    return sum(row.values["right"] for row in rows) / len(rows)


def test_right_answers_score_one_and_those_of_other_items_under_a_quarter(items, tmp_path: Path):
    drawn = choose(items, groups=[*PICTURE_TASKS, "edits"])
    assert mean(drawn, Perfect(), tmp_path / "right") == 1
    assert mean(drawn, Shuffled(drawn), tmp_path / "shuffled") < 0.25


def test_a_perfect_story_alternates_and_passes_the_autoencoder(items):
    (told,) = Perfect(round_trip=lambda pictures: [p // 2 for p in pictures]).play(
        [(choose(items, groups=["stories"])[0], 0)]
    )
    assert [isinstance(part, str) for part in told] == [True, False] * (len(told) // 2)
    assert max(part.max() for part in told if not isinstance(part, str)) <= 127


def test_every_answer_is_dealt_once_and_none_to_its_own_item(items):
    asked = choose(items, groups=["questions"])
    own = [made for (made,) in Perfect().play([(item, 0) for item in asked])]
    dealt = [made for (made,) in Shuffled(asked, seed=3).play([(item, 0) for item in asked])]
    assert sorted(dealt) == sorted(own)
    unlike = choose(NanoSuite(seed=5).items(), groups=["single_object"], most=5)
    pairs = zip(
        Perfect().play([(item, 0) for item in unlike]),
        Shuffled(unlike).play([(item, 0) for item in unlike]),
        strict=True,
    )
    assert not any(np.array_equal(right, other) for (right,), (other,) in pairs)


def test_a_group_of_one_item_cannot_be_shuffled():
    alone = choose(NanoSuite().items(), groups=["edits"], most=1)
    with pytest.raises(ConfigError, match=r"'edits' has one item, edits-.*--n"):
        Shuffled(alone)


def test_items_of_other_sets_have_no_perfect_answer():
    item = Item("q-1", "g", "?", "text", lambda: InterleavedSequence(()))
    with pytest.raises(ConfigError, match="q-1"):
        next(Perfect().play([(item, 0)]))
