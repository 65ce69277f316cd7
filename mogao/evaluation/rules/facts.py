"""Facts about scenes: one form for what is true, what a judge saw and what a caption says.

In: a `Scene`, a judge's `Report` or an English text. Out: sets of `Fact`, how far two sets agree,
and facts as a graph of questions. A set says of several things with one name what is true of one
of them or more; only "count" says of how many.

Source: own design; the graph is that of arXiv 2310.18235 with the facts of the world as tuples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS, PLAIN
from mogao.data.world.colours import COLOURS
from mogao.data.world.language import (
    NUMBERS,
    PLACES,
    STYLE_WORDS,
    groups_of,
    place_of,
    place_range,
)
from mogao.data.world.scene import SIZES, Scene, Size
from mogao.evaluation.judges.report import Report
from mogao.evaluation.rules.question_graph import Question

Kind = Literal["thing", "count", "colour", "size", "place", "background", "style"]
CATEGORIES: dict[Kind, str] = {
    "thing": "entity", "count": "count", "colour": "attribute", "size": "size", "place": "place",
    "background": "global", "style": "global",
}  # fmt: skip
"""Kind of a fact to the category of the question after it, entities first."""
_NUMBERS = {
    **{word: number for number, word in enumerate((*NUMBERS, "seven", "eight", "nine", "ten"))},
    **{str(number): number for number in range(1, 11)},
    "a": 1,
    "an": 1,
}
_STYLES = {word: style for style, word in STYLE_WORDS.items()}
_MIDDLE = ("middle", "center", "centre")
_MOST_TRAITS = 4  # words between a number and a name; a bound, so that no text is slow to read


@dataclass(frozen=True, slots=True, order=True)
class Fact:
    """One thing that is true or claimed.

    Attributes:
        kind: What it is about.
        subject: Concept id; empty for the background and the style.
        value: A number in digits, a colour, a size, a place of `language.PLACES`, the name of a
            background or a style; empty where the thing is merely there.
    """

    kind: Kind
    subject: str = ""
    value: str = ""

    def __str__(self) -> str:
        """Short form for reports, such as "colour cat red"."""
        return " ".join(part for part in (self.kind, self.subject, self.value) if part)


Facts = frozenset[Fact]
_Thing = tuple[str, str | None, str | None, str | None]
"""Concept, colour, size and place of an object; None where nothing is said."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far what was said agrees with what is true.

    Attributes:
        precision: Share of what was said that is true; 0 where nothing was said.
        recall: Share of what was wanted that was said; 1 where nothing was wanted.
        missing: Wanted, but not said.
        wrong: Said, but not true.
    """

    precision: float
    recall: float
    missing: Facts
    wrong: Facts

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def compare(said: Facts, wanted: Facts, *, true: Facts | None = None) -> Agreement:
    """Return how far facts agree.

    Args:
        said: Facts of a caption or of a judge.
        wanted: What should have been said.
        true: What may be said and is right; None takes what is wanted.
    """
    right = said & (wanted if true is None else true)
    return Agreement(
        precision=len(right) / len(said) if said else 0.0,
        recall=len(said & wanted) / len(wanted) if wanted else 1.0,
        missing=wanted - said,
        wrong=said - right,
    )


def scene_facts(scene: Scene, *, level: int = 4) -> Facts:
    """Return what is plainly true of a scene, or what a description states.

    A thing in its natural look has no colour, and one near a border of the grid no place.

    Args:
        scene: The truth.
        level: 1 to 3 keeps what `language.describe` says at that level; 4 keeps all.
    """
    alone = {
        (group.concept, group.colour) for group in groups_of(scene.objects) if group.count == 1
    }
    things: list[_Thing] = []
    for item in scene.objects:
        is_placed = level == 4 or (level == 3 and (item.concept, item.colour) in alone)
        is_sized = level == 4 or (level == 3 and item.size != "medium")
        size, place = item.size if is_sized else None, place_of(item) if is_placed else None
        things.append((item.concept, item.colour, size, place))
    background = scene.background if level >= 2 else None
    return _facts(things, background=background, style=scene.style if level >= 3 else None)


def true_facts(scene: Scene) -> Facts:
    """Return all that may be said of a scene and is right: its facts and what comes close.

    A thing that is not painted may be said to have its natural colour, and one near a border of
    the grid to be at the nearest place.
    """
    things: list[_Thing] = [
        (
            item.concept,
            item.colour or atlas.concept(item.concept).natural[scene.style],
            item.size,
            nearest_place(float(item.x), float(item.y)),
        )
        for item in scene.objects
    ]
    return _facts(things, background=scene.background, style=scene.style)


def report_facts(report: Report) -> Facts:
    """Return what a judge saw; sizes and places are the nearest, the style is the commonest."""
    things: list[_Thing] = [
        (one.concept, one.colour, nearest_size(one.size), nearest_place(one.x, one.y))
        for one in report.findings
    ]
    styles = Counter(one.style for one in report.findings).most_common(1)
    return _facts(things, background=report.background, style=styles[0][0] if styles else None)


def nearest_size(pixels: float) -> Size:
    """Return the size whose longer side is nearest, pixels of the canvas."""
    return min(SIZES, key=lambda name: abs(SIZES[name] - pixels))


def nearest_place(x: float, y: float) -> str:
    """Return the place of the 3 x 3 grid of `language.place_of` that is nearest to a centre."""
    return min(PLACES, key=lambda name: _distance(name, x, y))


def read_caption(text: str) -> Facts:
    """Return what an English caption says, as far as it speaks the language of `describe`.

    Sizes and colours belong to the name that follows them at once, a place to the thing that its
    sentence named last. Numbers and "a" before names are summed; "the cat" is no further cat, and
    "no cat" is none. All other words state nothing, so any text can be read.
    """
    found: set[Fact] = set()
    counts: Counter[str] = Counter()
    for sentence in re.split(r"[.!?;:]", text.casefold().replace("-", " ")):
        subject = None
        for match in _pattern().finditer(" ".join(re.findall(r"\w+|[^\w\s]", sentence))):
            if match["style"]:
                found.add(Fact("style", value=_STYLES[match["style"]]))
            elif ground := match["plain"] or match["scenery"]:
                found.add(Fact("background", value=ground.replace("grey", "gray")))
            elif match["place"]:
                place = _place(match["place"].split())
                if place and subject and not match["relation"]:
                    found.add(Fact("place", subject, place))
            else:
                number = _NUMBERS[match["number"]] if match["number"] else None
                subject = None if number == 0 else _names()[match["name"]]
                if subject:
                    counts[subject] += number or 0
                    found |= _traits(subject, match["traits"].split())
    return frozenset(found | {Fact("count", name, str(n)) for name, n in counts.items() if n})


def question_graph(facts: Iterable[Fact]) -> list[tuple[Question, Fact]]:
    """Return a question for each fact; whatever is asked of a thing rests on its being there.

    Args:
        facts: With a "thing" for each concept that they name.
    """
    order = list(CATEGORIES)
    asked = sorted(facts, key=lambda fact: (order.index(fact.kind), fact))
    things = {fact.subject: i for i, fact in enumerate(asked) if fact.kind == "thing"}
    graph = []
    for i, fact in enumerate(asked):
        parents = (things[fact.subject],) if fact.subject and fact.kind != "thing" else ()
        graph.append((Question(i, str(fact), parents, CATEGORIES[fact.kind]), fact))
    return graph


def answers(graph: Iterable[tuple[Question, Fact]], seen: Facts) -> Mapping[int, float]:
    """Return 1 or 0 for each question, by its id.

    The answer is yes where the value of the fact is the only one that was seen of its kind: of two
    cats that should be red, both must be.
    """
    values: dict[tuple[str, str], set[str]] = {}
    for fact in seen:
        values.setdefault((fact.kind, fact.subject), set()).add(fact.value)
    return {
        question.id: float(values.get((fact.kind, fact.subject)) == {fact.value})
        for question, fact in graph
    }


def _facts(things: Collection[_Thing], *, background: str | None, style: str | None) -> Facts:
    said: list[tuple[Kind, str, str | None]] = [
        ("background", "", background),
        ("style", "", style),
    ]
    for name, colour, size, place in things:
        said += [("colour", name, colour), ("size", name, size), ("place", name, place)]
    counts = Counter(thing[0] for thing in things)
    found = {Fact("count", name, str(number)) for name, number in counts.items()}
    found |= {Fact("thing", name) for name in counts}
    return frozenset(found | {Fact(kind, name, value) for kind, name, value in said if value})


def _distance(place: str, x: float, y: float) -> float:
    """How far a centre lies outside the range of a place, along both axes together."""
    ranges = zip(place_range(place), (x, y), strict=True)
    return float(sum(max(low - value, 0, value - high) for (low, high), value in ranges))


def _traits(subject: str, words: Iterable[str]) -> set[Fact]:
    """What is said of a thing by naming it with these words before its name."""
    found = {Fact("size" if word in SIZES else "colour", subject, word) for word in words}
    return {Fact("thing", subject), *found}


def _place(words: Collection[str]) -> str | None:
    """The place that some words name in any order; "top middle" is "top"."""
    sides = [word for word in ("top", "bottom", "left", "right") if word in words]
    name = " ".join(sides) or "middle"
    return name if name in PLACES else None


@cache
def _names() -> dict[str, str]:
    """Every way to name a concept, to its id."""
    return {
        name: known.id
        for known in atlas.concepts().values()
        for name in (known.id, known.singular, known.plural)
    }


@cache
def _pattern() -> re.Pattern[str]:
    """One thing that a sentence of words parted by single spaces can say."""
    names = _any(sorted(_names(), key=len, reverse=True))  # "hot dog" is tried before "dog"
    colours, sides = _any(COLOURS), _any(("top", "bottom", "left", "right", *_MIDDLE))
    scenery = _any(name for name in BACKGROUNDS if name not in PLAIN)
    return re.compile(
        rf"\b(?:(?P<style>{_any(_STYLES)}) drawings?"
        rf"|(?P<plain>(?:(?:light|dark) )?(?:{colours}|gray|grey)) background"
        rf"|(?P<scenery>{scenery})"
        rf"|(?:at|in|on) the (?P<place>{sides}(?: {sides})*)(?: corner| side| edge)?"
        r"(?P<relation> of (?!the (?:picture|image|scene|drawing)\b))?"
        rf"|(?:(?<!\bthe )(?P<number>{_any(_NUMBERS)}) )?"
        rf"(?P<traits>(?:(?:{colours}|{_any(SIZES)}) ){{0,{_MOST_TRAITS}}})"
        rf"(?P<name>{names})(?! background))\b"
    )


def _any(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(words)})"
