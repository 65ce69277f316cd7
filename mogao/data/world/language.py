"""English of the world: noun phrases, places, backgrounds, descriptions, GenEval's templates.

In: concepts, colours, counts and scenes. Out: strings with right articles and plurals. It decides
nothing: what is said is chosen by the recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mogao.data.world import atlas
from mogao.data.world.backgrounds import PLAIN
from mogao.data.world.scene import Scene, SceneObject

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
STYLE_WORDS = {"noto": "shaded", "fluent": "flat"}
_GROUND_WORDS = {
    "meadow": "in a meadow",
    "beach": "on a beach",
    "night": "at night",
    "snow": "in the snow",
    "sea": "in the sea",
    "room": "in a room",
}
_COLUMNS = {"left": (0, 46), "middle": (54, 74), "right": (82, 128)}
_ROWS = {"top": (0, 46), "middle": (54, 74), "bottom": (82, 128)}
PLACES: dict[str, tuple[str, str]] = {
    "top left": ("top", "left"),
    "top": ("top", "middle"),
    "top right": ("top", "right"),
    "left": ("middle", "left"),
    "middle": ("middle", "middle"),
    "right": ("middle", "right"),
    "bottom left": ("bottom", "left"),
    "bottom": ("bottom", "middle"),
    "bottom right": ("bottom", "right"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Equal objects named together: "two red apples".

    Attributes:
        concept: Concept id.
        colour: A GenEval colour, or None.
        count: 1 to 6.
        size: small or large to name the size, else None.
    """

    concept: str
    colour: str | None = None
    count: int = 1
    size: str | None = None


def with_article(phrase: str) -> str:
    """Put a or an before a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def noun(group: Group) -> str:
    """The phrase without article or number: "red apples"."""
    known = atlas.concept(group.concept)
    name = known.singular if group.count == 1 else known.plural
    return " ".join(word for word in (group.size, group.colour, name) if word)


def some(group: Group) -> str:
    """The phrase with article or number: "a red apple", "two red apples"."""
    if group.count == 1:
        return with_article(noun(group))
    return f"{NUMBERS[group.count]} {noun(group)}"


def the(group: Group) -> str:
    """The definite phrase: "the red apple", "the two red apples"."""
    return f"the {noun(group)}" if group.count == 1 else f"the {NUMBERS[group.count]} {noun(group)}"


def listing(phrases: Sequence[str]) -> str:
    """Join phrases: "a", "a and b", "a, b and c"."""
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".?!" else ".")


def on_ground(name: str) -> str:
    """Where a scene is: "in a meadow", "on a light blue background"."""
    return f"on {with_article(name)} background" if name in PLAIN else _GROUND_WORDS[name]


def groups_of(objects: Sequence[SceneObject], *, sizes: bool = False) -> list[Group]:
    """Group equal objects in order of first appearance.

    Args:
        objects: Objects of one scene.
        sizes: Name the size of small and large objects.
    """
    counts: dict[tuple[str, str | None, str | None], int] = {}
    for item in objects:
        size = item.size if sizes and item.size != "medium" else None
        key = (item.concept, item.colour, size)
        counts[key] = counts.get(key, 0) + 1
    return [Group(concept, colour, n, size) for (concept, colour, size), n in counts.items()]


def reading_order(objects: Sequence[SceneObject]) -> list[SceneObject]:
    """Objects from left to right, then from top to bottom."""
    return sorted(objects, key=lambda item: (item.x, item.y))


def place_of(item: SceneObject) -> str | None:
    """The place of an object in a 3 x 3 grid, or None where it lies near a border of the grid."""
    column = _within(_COLUMNS, item.x)
    row = _within(_ROWS, item.y)
    for name, where in PLACES.items():
        if where == (row, column):
            return name
    return None


def place_range(place: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """((lowest x, highest x), (lowest y, highest y)) of centres at a place."""
    row, column = PLACES[place]
    return _COLUMNS[column], _ROWS[row]


def at_place(place: str) -> str:
    """Where something is: "at the top left", "in the middle", "on the left"."""
    preposition = {"middle": "in", "left": "on", "right": "on"}.get(place, "at")
    return f"{preposition} the {place}"


def style_phrase(style: str) -> str:
    """The style as a noun phrase with article: "a flat drawing"."""
    return f"a {STYLE_WORDS[style]} drawing"


def describe(
    scene: Scene,
    *,
    level: int,
    relation: str | None = None,
) -> str:
    """Say what a scene shows, without capital or full stop at levels 1 and 2.

    Objects are named from left to right, unless a relation is said: then it sets their order. A
    text whose order says nothing about places leaves a model to guess which thing goes where.

    Args:
        scene: What to describe; every object is named.
        level: 1 names the objects; 2 adds a given relation and the background; 3 adds style,
            sizes and places, in whole sentences.
        relation: Relation of the first object to the second, said at levels 1 and 2; it needs
            exactly two objects.
    """
    said = relation if level < 3 else None
    objects = list(scene.objects) if said else reading_order(scene.objects)
    groups = groups_of(objects, sizes=level >= 3)
    things = listing([some(group) for group in groups])
    if said:
        things = f"{some(groups[0])} {said} {some(groups[1])}"
    if level == 1:
        return things
    if level == 2:
        return f"{things} {on_ground(scene.background)}"
    first = f"{style_phrase(scene.style)} of {things} {on_ground(scene.background)}"
    return " ".join([sentence(first), *_places(objects)])


def geneval_prompt(groups: Sequence[Group], relation: str | None = None) -> str:
    """A prompt exactly as the GenEval benchmark writes it, its naive plurals included.

    Source: arXiv 2310.11513, prompt templates of the six tasks.
    """
    phrases = [_geneval_noun(group) for group in groups]
    return "a photo of " + (f" {relation} " if relation else " and ").join(phrases)


def _geneval_noun(group: Group) -> str:
    name = group.concept
    if group.count > 1:
        name += "es" if name.endswith("s") else "s"
        return f"{NUMBERS[group.count]} {f'{group.colour} ' if group.colour else ''}{name}"
    return with_article(f"{group.colour} {name}" if group.colour else name)


def _places(objects: Sequence[SceneObject]) -> list[str]:
    sentences = []
    for group in groups_of(objects):
        if group.count == 1:
            item = next(
                o for o in objects if (o.concept, o.colour) == (group.concept, group.colour)
            )
            place = place_of(item)
            if place:
                sentences.append(sentence(f"{the(group)} is {at_place(place)}"))
    return sentences


def _within(ranges: dict[str, tuple[int, int]], value: int) -> str | None:
    for name, (low, high) in ranges.items():
        if low <= value <= high:
            return name
    return None
