"""Recipe story: a short tale in which sentences and pictures alternate and the hero stays itself.

In: a generator and settings. Out: scripts: the user's request, then three to five panels by the
model, each one sentence and one picture. A plot is a plain function that yields panels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from mogao.data.world.choice import pick
from mogao.data.world.draw import choose_colour
from mogao.data.world.language import NUMBERS, Group, noun, on_ground, sentence, some, with_article
from mogao.data.world.sampling import Stage, grounds_for, place
from mogao.data.world.scene import Scene, SceneObject, Size
from mogao.data.world.script import Line, Script
from mogao.data.world.splits import (
    HEROES,
    Settings,
    objects_held_out,
)
from mogao.errors import DataError

_PLACES = ("meadow", "beach", "night", "snow", "sea", "room")
_TREASURES = (
    "apple", "banana", "orange", "carrot", "donut", "kite", "umbrella", "sports ball", "book",
    "star", "mushroom", "flower", "balloon", "key", "crown", "guitar", "bell", "gift", "heart",
    "strawberry", "lemon",
)  # fmt: skip
_GROWING = (
    "apple", "banana", "orange", "carrot", "mushroom", "flower", "heart", "strawberry", "lemon",
)  # fmt: skip
_TRIES = 200


@dataclass(frozen=True, slots=True)
class Panel:
    """One step of a plot: a sentence and what its picture shows beside the hero.

    Attributes:
        text: The sentence.
        ground: Background of the picture.
        others: (concept, colour, size) of everything but the hero.
    """

    text: str
    ground: str
    others: tuple[tuple[str, str | None, Size], ...] = ()


@dataclass(frozen=True, slots=True)
class Cast:
    """What a plot is about.

    Attributes:
        hero: Concept and colour of the hero.
        friend: Another hero.
        treasures: Two things that heroes like.
        grounds: Places on which all of them stand out; the story begins at the first.
        panels: 3 to 5.
    """

    hero: Group
    friend: str
    treasures: tuple[str, str]
    grounds: tuple[str, ...]
    panels: int


def story(rng: np.random.Generator, settings: Settings) -> Script:
    """A conversation: the user asks for a story, the model tells and draws it."""
    style = pick(rng, settings.styles)
    cast = _cast(rng, settings, style)
    growing = cast.treasures[0] in _GROWING
    theme = pick(rng, [name for name in PLOTS if name != "grow" or growing])
    hint, plot = PLOTS[theme]
    request = f"A story about {some(cast.hero)}"
    told_ground, told_theme = rng.random() < 0.6, rng.random() < 0.6
    request += f" {hint}" if told_theme else ""
    request += f" {on_ground(cast.grounds[0])}" if told_ground else ""
    request += f", in {NUMBERS[cast.panels]} pictures."
    lines = [Line(request, "user")]
    hero = SceneObject(cast.hero.concept, cast.hero.colour, "medium")
    for panel in plot(cast):
        scene = _paint(rng, panel, hero=hero, style=style, stage=settings.stage)
        lines += [Line(panel.text), Line(scene)]
    truth = {
        "theme": theme,
        "hero": {"concept": hero.concept, "colour": hero.colour, "style": style},
        "panels": cast.panels,
    }
    return Script(tuple(lines), truth)


def _cast(rng: np.random.Generator, settings: Settings, style: str) -> Cast:
    """Draw a cast in which everything fits the split and stands out on two places or more."""
    cast: Cast | None = None
    names = settings.concepts
    scenery = [name for name in _PLACES if name in settings.stage.backgrounds]
    heroes = [name for name in HEROES if name in names]
    treasures = [name for name in _TREASURES if name in names]
    if min(len(heroes), len(treasures), len(scenery)) < 2:
        raise DataError(
            "a story needs two heroes, two treasures and two places, this world has "
            f"{heroes}, {treasures} and {scenery}"
        )
    for _ in range(_TRIES):
        hero, friend = pick(rng, heroes), pick(rng, heroes)
        first, second = pick(rng, treasures), pick(rng, treasures)
        colour = choose_colour(rng, hero, settings.colours) if rng.random() < 0.5 else None
        objects = [(hero, colour), (friend, None), (first, None), (second, None)]
        if hero == friend or first == second:
            continue
        grounds = grounds_for(objects, style, among=scenery)
        if len(grounds) < 2:
            continue
        order = tuple(grounds[i] for i in rng.permutation(len(grounds)))
        panels = int(rng.integers(3, 6))
        cast = Cast(Group(hero, colour), friend, (first, second), order, panels)
        if objects_held_out(objects, style) == (settings.split != "train"):
            return cast
    if cast is None:
        raise DataError(f"no cast for a story in style {style!r}; this world is too small")
    return cast


def _paint(
    rng: np.random.Generator, panel: Panel, *, hero: SceneObject, style: str, stage: Stage
) -> Scene:
    sizes: list[Size] = [hero.size, *(size for _, _, size in panel.others)]
    for _ in range(_TRIES):
        places = place(rng, sizes, grid=stage.grid)
        if places is not None:
            break
    else:
        raise DataError(f"cannot place {len(sizes)} objects of sizes {sizes}")
    items = [replace(hero, x=places[0][0], y=places[0][1])]
    for (concept, colour, size), (x, y) in zip(panel.others, places[1:], strict=True):
        items.append(SceneObject(concept, colour, size, x, y))
    return Scene(panel.ground, style, tuple(items), stage.pixels)


def _collect(cast: Cast) -> Iterator[Panel]:
    """The hero finds one thing after another of the same kind."""
    hero, ground, thing = noun(cast.hero), cast.grounds[0], cast.treasures[0]
    yield Panel(sentence(f"{some(cast.hero)} waits {on_ground(ground)}"), ground)
    for number in range(1, cast.panels - 1):
        found = with_article(thing) if number == 1 else f"another {thing}"
        has = some(Group(thing, None, number))
        text = f"the {hero} finds {found}" + (f" and now has {has}" if number > 1 else "")
        yield Panel(sentence(text), ground, ((thing, None, "small"),) * number)
    has = some(Group(thing, None, cast.panels - 2))
    things: tuple[tuple[str, str | None, Size], ...] = ((thing, None, "small"),)
    things *= cast.panels - 2
    yield Panel(sentence(f"the {hero} is happy with {has}"), ground, things)


def _journey(cast: Cast) -> Iterator[Panel]:
    """The hero goes from place to place and meets something at the end."""
    hero, thing = noun(cast.hero), cast.treasures[0]
    first = cast.grounds[0]
    yield Panel(sentence(f"{some(cast.hero)} waits {on_ground(first)}"), first)
    for step in range(1, cast.panels - 1):
        ground = cast.grounds[step % len(cast.grounds)]
        yield Panel(sentence(f"then the {hero} walks {on_ground(ground)}"), ground)
    last = cast.grounds[(cast.panels - 1) % len(cast.grounds)]
    text = f"at last the {hero} finds {with_article(thing)} {on_ground(last)}"
    yield Panel(sentence(text), last, ((thing, None, "medium"),))


def _friend(cast: Cast) -> Iterator[Panel]:
    """The hero meets a friend; they find something together; the friend goes home."""
    hero, ground = noun(cast.hero), cast.grounds[0]
    first, second = cast.treasures
    friend: tuple[str, None, Size] = (cast.friend, None, "medium")
    steps = [
        Panel(sentence(f"{some(cast.hero)} is alone {on_ground(ground)}"), ground),
        Panel(sentence(f"the {hero} meets {with_article(cast.friend)}"), ground, (friend,)),
        Panel(
            sentence(f"the {hero} and the {cast.friend} find {with_article(first)}"),
            ground,
            (friend, (first, None, "small")),
        ),
        Panel(
            sentence(f"then they find {with_article(second)} too"),
            ground,
            (friend, (first, None, "small"), (second, None, "small")),
        ),
        Panel(sentence(f"the {cast.friend} goes home and the {hero} is alone again"), ground),
    ]
    yield from steps[: cast.panels]


def _grow(cast: Cast) -> Iterator[Panel]:
    """Something grows from picture to picture beside the hero."""
    hero, ground, thing = noun(cast.hero), cast.grounds[0], cast.treasures[0]
    sizes: tuple[Size, ...] = ("small", "medium", "large")
    words = (
        f"the {hero} finds a small {thing}",
        f"the {thing} grows",
        f"now the {thing} is large",
    )
    panels = [
        Panel(sentence(word), ground, ((thing, None, size),))
        for word, size in zip(words, sizes, strict=True)
    ]
    if cast.panels >= 4:
        panels.insert(0, Panel(sentence(f"{some(cast.hero)} waits {on_ground(ground)}"), ground))
    else:
        panels[0] = replace(panels[0], text=sentence(f"{some(cast.hero)} finds a small {thing}"))
    if cast.panels == 5:
        panels.append(Panel(sentence(f"the {hero} goes home without the {thing}"), ground))
    yield from panels


def _lost(cast: Cast) -> Iterator[Panel]:
    """The hero loses something, searches elsewhere and finds it again."""
    hero, thing = noun(cast.hero), cast.treasures[0]
    first, second = cast.grounds[0], cast.grounds[1]
    held: tuple[tuple[str, None, Size], ...] = ((thing, None, "medium"),)
    text = f"{some(cast.hero)} has {with_article(thing)} {on_ground(first)}"
    yield Panel(sentence(text), first, held)
    yield Panel(sentence(f"one day the {thing} is gone"), first)
    if cast.panels >= 4:
        yield Panel(sentence(f"the {hero} looks for it {on_ground(second)}"), second)
    if cast.panels == 5:
        helper: tuple[str, None, Size] = (cast.friend, None, "medium")
        yield Panel(sentence(f"{with_article(cast.friend)} comes to help"), second, (helper,))
    last = second if cast.panels >= 4 else first
    yield Panel(sentence(f"the {hero} finds the {thing} again"), last, held)


Plot = Callable[[Cast], Iterator[Panel]]
# Theme to (how a request may name it, plot).
PLOTS: dict[str, tuple[str, Plot]] = {
    "collect": ("that collects things", _collect),
    "journey": ("that goes on a journey", _journey),
    "friend": ("that meets a friend", _friend),
    "grow": ("that sees something grow", _grow),
    "lost": ("that loses something", _lost),
}
