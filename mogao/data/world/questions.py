"""Recipe question: the user shows a picture and asks; the model answers in a few words.

In: a generator and settings. Out: scripts of one to six questions on one picture. Answers are
balanced: yes as often as no, and every answer follows from the scene alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mogao.data.world import atlas
from mogao.data.world.choice import pick
from mogao.data.world.draw import family_scene
from mogao.data.world.language import (
    NUMBERS,
    Group,
    at_place,
    groups_of,
    listing,
    noun,
    place_of,
    reading_order,
    some,
    the,
)
from mogao.data.world.sampling import RELATIONS, holds
from mogao.data.world.scene import SIZES, Scene, SceneObject
from mogao.data.world.script import Line, Script, Situation
from mogao.data.world.splits import Settings

_COLOUR_WORDS = ("color", "colour")
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its only right answer.

    Attributes:
        kind: exists, count, colour, where, relation, compare or name.
        text: What the user asks.
        answer: What the model says, without full stop.
        mentions: Concepts that are named but not shown.
    """

    kind: str
    text: str
    answer: str
    mentions: tuple[str, ...] = ()


def question(rng: np.random.Generator, settings: Settings) -> Script:
    """A conversation about one picture: one to six questions, each with a short answer."""
    _, scene, _ = family_scene(rng, settings)
    asked: list[Question] = []
    for _ in range(int(rng.integers(1, 7))):
        item = ask(Situation(rng, settings, scene))
        if item.text not in [other.text for other in asked]:
            asked.append(item)
    lines = [Line(scene, "user")]
    for item in asked:
        lines += [Line(item.text, "user"), Line(item.answer)]
    truth = {
        "questions": [
            {"kind": item.kind, "question": item.text, "answer": item.answer} for item in asked
        ]
    }
    mentions = tuple(name for item in asked for name in item.mentions)
    return Script(tuple(lines), truth, mentions)


def ask(at: Situation) -> Question:
    """Draw a kind of question that the scene can answer, then the question."""
    kinds = list(KINDS)
    while True:
        kind = pick(at.rng, kinds)
        found = KINDS[kind](at)
        if found is not None:
            return found
        kinds.remove(kind)


def _exists(at: Situation) -> Question:
    yes = at.rng.random() < 0.5
    name = pick(at.rng, at.shown) if yes else at.absent()
    text = f"Is there {some(Group(name))}?"
    return Question("exists", text, "yes" if yes else "no", () if yes else (name,))


def _count(at: Situation) -> Question:
    name = pick(at.rng, at.shown) if at.rng.random() < 0.85 else at.absent()
    number = sum(item.concept == name for item in at.scene.objects)
    text = f"How many {noun(Group(name, count=2))} are there?"
    return Question("count", text, NUMBERS[number], () if number else (name,))


def _colour(at: Situation) -> Question | None:
    known = []
    for item in _single(at.scene):
        colour = item.colour or atlas.concept(item.concept).natural[at.scene.style]
        if colour:
            known.append((item.concept, colour))
    if not known:
        return None
    name, colour = pick(at.rng, known)
    text = f"What {pick(at.rng, _COLOUR_WORDS)} is {the(Group(name))}?"
    return Question("colour", text, colour)


def _where(at: Situation) -> Question | None:
    known = [(item.concept, place) for item in _single(at.scene) if (place := place_of(item))]
    if not known:
        return None
    name, place = pick(at.rng, known)
    return Question("where", f"Where is {the(Group(name))}?", at_place(place))


def _relation(at: Situation) -> Question | None:
    single = _single(at.scene)
    known = [
        (a, relation, b)
        for a in single
        for b in single
        for relation in RELATIONS
        if a is not b and holds(relation, a, b)
    ]
    if not known:
        return None
    first, relation, second = pick(at.rng, known)
    if len(at.scene.objects) == 2 and at.rng.random() < 0.4:
        answer = some(Group(first.concept, first.colour))
        return Question("relation", f"What is {relation} {the(Group(second.concept))}?", answer)
    true = at.rng.random() < 0.5
    said = relation if true else _OPPOSITE[relation]
    text = f"Is {the(Group(first.concept))} {said} {the(Group(second.concept))}?"
    return Question("relation", text, "yes" if true else "no")


def _compare(at: Situation) -> Question | None:
    if len(at.shown) < 2:
        return None
    first, second = (at.shown[i] for i in at.rng.permutation(len(at.shown))[:2])
    of_first, of_second = (
        [item for item in at.scene.objects if item.concept == name] for name in (first, second)
    )
    if len(of_first) != len(of_second):
        text = f"Are there more {noun(Group(first, count=2))} than {noun(Group(second, count=2))}?"
        return Question("compare", text, "yes" if len(of_first) > len(of_second) else "no")
    sizes = SIZES[of_first[0].size], SIZES[of_second[0].size]
    if len(of_first) > 1 or sizes[0] == sizes[1]:
        return None
    larger = at.rng.random() < 0.5
    answer = first if (sizes[0] > sizes[1]) == larger else second
    word = "larger" if larger else "smaller"
    text = f"Which is {word}, {the(Group(first))} or {the(Group(second))}?"
    return Question("compare", text, the(Group(answer)))


def _name(at: Situation) -> Question | None:
    groups = groups_of(reading_order(at.scene.objects))
    if len(groups) > 2:
        return None
    return Question("name", "What is in the picture?", listing([some(group) for group in groups]))


def _single(scene: Scene) -> list[SceneObject]:
    """Objects whose concept appears once, so that "the cat" is clear."""
    names = [item.concept for item in scene.objects]
    return [item for item in scene.objects if names.count(item.concept) == 1]


KINDS: dict[str, Callable[[Situation], Question | None]] = {
    "exists": _exists,
    "count": _count,
    "colour": _colour,
    "where": _where,
    "relation": _relation,
    "compare": _compare,
    "name": _name,
}
