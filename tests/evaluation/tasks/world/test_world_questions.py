"""Questions have one answer each, in equal shares; POPE asks for what is and for what is not there.

No picture is painted but one: answers are texts, and items paint only when they are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from mogao.data.world.questions import KINDS, Question
from mogao.data.world.scene import Scene, SceneObject
from mogao.data.world.splits import is_held_out, known_concepts, style_is_held_out
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Player
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.runner import choose
from mogao.evaluation.tasks.world.base import scene_of
from mogao.evaluation.tasks.world.questions import (
    NUM,
    POPE,
    WorldQuestions,
    answer_sort,
    most_alike,
)
from tests.evaluation.tasks.answering import values

YES_NO = ("exists", *POPE)
DEALS = 20


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return list(WorldQuestions().items())


def score(items: list[Item], answers: list[str]) -> list[Row]:
    suite = WorldQuestions()
    return [
        suite.score(item, [Output((text,))], tools=Tools(), protocol=suite.protocols[0])
        for item, text in zip(items, answers, strict=True)
    ]


def table(items: list[Item], answers: list[str] | str) -> dict[str, float]:
    """Scores of what is said: one text for all, or a text for each item."""
    texts = [answers] * len(items) if isinstance(answers, str) else answers
    suite = WorldQuestions()
    return values(suite.table(score(items, texts), protocol=suite.protocols[0]))


def play(items: list[Item], player: Player) -> list[str]:
    return [str(made[0]) for made in player.play([(item, 0) for item in items])]


def source(item: Item) -> Scene:
    scene = scene_of(item.truth, "source")
    assert scene is not None
    return scene


def concepts(item: Item) -> set[str]:
    return {one.concept for one in source(item).objects}


def facts(items: Sequence[Item]):
    return [(item.id, item.prompt, item.truth) for item in items]


# ---- who answers what


def test_right_answers_score_one(items):
    scores = table(items, play(items, Perfect()))
    assert list(scores)[:8] == ["overall", *KINDS]
    assert list(scores)[8:13] == [
        "pope_random/accuracy", "pope_random/precision", "pope_random/recall", "pope_random/f1",
        "pope_random/yes_ratio",
    ]  # fmt: skip
    assert {value for name, value in scores.items() if not name.endswith("yes_ratio")} == {1.0}
    assert {scores[f"{group}/yes_ratio"] for group in POPE} == {0.5}
    assert table(items[:3], ["Yes.", " NO ", "yes\n"])["exists"] == 1.0


def test_silence_scores_zero(items):
    assert set(table(items, "").values()) == {0.0}


def test_right_answers_to_other_questions_are_chance(items):
    rights: dict[str, list[float]] = {}
    for seed in range(DEALS):
        for row in score(items, play(items, Shuffled(items, seed=seed))):
            rights.setdefault(row.group, []).append(row.values["right"])
    means = {group: np.mean(right) for group, right in rights.items()}
    assert all(0.45 <= means[group] <= 0.55 for group in YES_NO)
    assert means["relation"] < 0.3  # two of three sorts are yes and no
    assert all(means[kind] < 0.25 for kind in KINDS if kind not in ("exists", "relation"))
    assert np.mean([means[kind] for kind in KINDS]) < 0.25


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_the_same_answer_to_all_is_right_for_the_share_of_its_sort(items, answer: str):
    scores = table(items, answer)
    shares = {"exists": 1 / 2, "count": 0, "relation": 1 / 3, "compare": 1 / 4, "name": 0}
    if answer == "no":  # "How many cats are there?" "no"
        shares["count"] = 1 / 5
    assert {kind: scores[kind] for kind in shares} == pytest.approx(shares, abs=1e-4)
    # 30 true yes, 30 false yes, no false no; or none of them at all
    pope = {"accuracy": 0.5, "precision": 0.5, "recall": 1.0, "f1": 0.6667, "yes_ratio": 1.0}
    if answer == "no":
        pope = dict.fromkeys(pope, 0.0) | {"accuracy": 0.5}
    for group in POPE:
        assert {name: scores[f"{group}/{name}"] for name in pope} == pope


def test_groups_that_were_not_asked_have_no_scores(items):
    assert list(table(choose(items, groups=["where"]), "")) == ["overall", "where"]
    few = choose(items, groups=["pope_popular"])
    assert {name.partition("/")[0] for name in table(few, "")} == {"pope_popular"}


def test_pope_names_what_it_could_not_read(items):
    (row,) = score(choose(items, groups=["pope_random"], most=1), ["Yes, it is"])
    assert (row.values["right"], row.failures) == (0.0, ("neither yes nor no",))


# ---- what is asked


def test_every_group_has_as_many_items(items):
    groups = Counter(item.group for item in items)
    assert groups == dict.fromkeys((*KINDS, *POPE), NUM)
    assert len({item.id for item in items}) == len(items)


def test_pictures_show_known_concepts_in_pairs_or_colours_never_trained(items):
    for item in items:
        scene = source(item)
        assert is_held_out(scene)
        assert concepts(item) <= set(known_concepts())
        assert not any(style_is_held_out(name, scene.style) for name in concepts(item))
        assert len(scene.objects) <= 4


def test_a_smaller_world_asks_only_for_what_it_has_and_always_the_same():
    names, colours = known_concepts()[:16], ("red", "green", "blue", "pink")
    small, again = (
        WorldQuestions(concepts=",".join(names), colours=",".join(colours), pixels="64").items()
        for _ in range(2)
    )
    assert {source(item).pixels for item in small} == {64}
    assert set().union(*map(concepts, small)) <= set(names)
    shown = [item for item in small if item.group == "colour"]
    assert Counter(item.truth["answer"] for item in shown) == dict.fromkeys(colours, NUM / 4)
    assert {item.truth["concept"] for item in small if item.group in POPE} <= set(names)
    assert facts(again) == facts(small)


@pytest.mark.parametrize("most", [NUM, 12])
def test_answers_are_in_equal_shares(items, most: int):
    """Of the whole group as of its first items, which `--n` takes."""
    answers = {
        kind: [
            answer_sort(Question(kind, item.prompt, item.truth["answer"]))
            for item in choose(items, groups=[kind], most=most)
        ]
        for kind in (*KINDS, *POPE)
    }
    assert set(Counter(answers["relation"]).values()) == {most / 3}
    assert Counter(answers["compare"]) == dict.fromkeys(("yes", "no", "first", "second"), most / 4)
    for group in ("exists", *POPE):
        assert Counter(answers[group]) == {"yes": most / 2, "no": most / 2}
    for kind, num in (("count", 5), ("colour", 10), ("where", 9)):
        shares = Counter(answers[kind])
        assert len(shares) == num
        assert max(shares.values()) - min(shares.values()) <= 1


def test_the_sort_of_an_answer_is_seen_from_the_question():
    which = "Which is larger, the train or the train station?"
    for text, answer, sort in (
        ("Is there a cat?", "no", "no"),
        ("What color is the cat?", "red", "red"),
        ("What is left of the cat?", "a red dog", "open"),
        ("What is in the picture?", "a cat", "open"),
        (which, "the train", "first"),
        (which, "the train station", "second"),
    ):
        assert answer_sort(Question("any", text, answer)) == sort


def test_the_picture_comes_before_the_question(items):
    shown = items[0].given()
    assert [type(segment).__name__ for segment in shown] == ["ImageSegment", "TextSegment"]
    assert shown.text == items[0].prompt
    assert WorldQuestions().places(items[0], 0) == [
        "exists-000/0.txt", "exists-000/0000.txt", "exists-000.txt",
    ]  # fmt: skip


# ---- POPE's choices


def test_pope_asks_the_same_pictures_for_the_same_things_but_other_absent_ones(items):
    asked = {group: choose(items, groups=[group]) for group in POPE}
    for triple in zip(*asked.values(), strict=True):
        assert len({item.truth["answer"] for item in triple}) == 1
        for item in triple:
            assert source(item) == source(triple[0])
            assert (item.truth["concept"] in concepts(item)) == (item.truth["answer"] == "yes")
        if triple[0].truth["answer"] == "yes":
            assert len({item.prompt for item in triple}) == 1


def test_popular_things_are_in_most_pictures_of_the_suite(items):
    pictures = [item for item in items if item.group in KINDS]
    pictures += [item for item in items if item.group == POPE[0] and item.truth["answer"] == "yes"]
    counts = Counter(name for item in pictures for name in concepts(item))
    for item in choose(items, groups=["pope_popular"]):
        if item.truth["answer"] == "no":
            more = [name for name in counts if counts[name] > counts[item.truth["concept"]]]
            assert len(set(more) - concepts(item)) < 10


def test_the_most_alike_thing_has_the_form_and_the_colours_of_a_thing_shown():
    plain, painted = SceneObject("train"), SceneObject("cat", "brown")
    assert most_alike(Scene("white", "noto", (plain,)), ["cat", "train", "book"]) == "train"
    assert most_alike(Scene("white", "noto", (painted, plain)), ["book", "cat"]) == "cat"
    names = [name for name in known_concepts() if name != "snowboard"]
    assert most_alike(Scene("white", "noto", (SceneObject("snowboard"),)), names) == "surfboard"
