"""Recipes edit and edits: the user asks for a change, the model shows the changed picture.

In: a generator and settings. Out: scripts. A target differs from its source by exactly the one
change asked for; about one request in ten cannot be met and is answered in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mogao.data.world import atlas
from mogao.data.world.backgrounds import PLAIN
from mogao.data.world.choice import pick, pick_weighted
from mogao.data.world.draw import Families, choose_colour, family_scene
from mogao.data.world.language import (
    PLACES,
    Group,
    groups_of,
    noun,
    on_ground,
    place_of,
    place_range,
    some,
    style_phrase,
    the,
)
from mogao.data.world.sampling import (
    RELATIONS,
    apart,
    centres,
    grounds_for,
    holds,
    place,
    stands_out,
)
from mogao.data.world.scene import Scene, SceneObject, Size
from mogao.data.world.script import Line, Script, Situation
from mogao.data.world.splits import Settings

CANNOT_SHARE = 0.1
_TRIES = 60
_MAX_OBJECTS = 4
_LEAST_MOVE = 24  # pixels of the canvas, so that a move is plain to see
# Mostly two things or more, so that removing leaves something.
_FAMILIES: Families = {
    "single_object": (0.15, 1),
    "colors": (0.1, 1),
    "two_object": (0.35, 2),
    "counting": (0.1, 2),
    "color_attr": (0.15, 2),
    "mixed": (0.15, 3),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One request and its outcome.

    Attributes:
        kind: A key of KINDS, or cannot.
        text: What the user asks.
        target: The changed scene, or None where the request cannot be met.
        answer: What the model says instead of drawing, else empty.
        mentions: Concepts that are named but shown neither before nor after.
    """

    kind: str
    text: str
    target: Scene | None
    answer: str = ""
    mentions: tuple[str, ...] = ()


def edit(rng: np.random.Generator, settings: Settings) -> Script:
    """A conversation: picture and instruction by the user, the edited picture by the model."""
    return _conversation(rng, settings, steps=1)


def edits(rng: np.random.Generator, settings: Settings) -> Script:
    """A conversation of two to four instructions in a row on the running picture."""
    return _conversation(rng, settings, steps=int(rng.integers(2, 5)))


def change(at: Situation) -> Change:
    """Draw a request that fits the scene; now and then one that cannot be met."""
    if at.rng.random() < CANNOT_SHARE:
        return _cannot(at)
    weights = {kind: weight for kind, (weight, _) in KINDS.items()}
    while weights:
        kind = pick_weighted(at.rng, weights)
        found = KINDS[kind][1](at)
        if found is not None:
            return found
        del weights[kind]
    return _cannot(at)


def _conversation(rng: np.random.Generator, settings: Settings, *, steps: int) -> Script:
    _, scene, _ = family_scene(rng, settings, families=_FAMILIES)
    lines, changes = [Line(scene, "user")], []
    for _ in range(steps):
        step = change(Situation(rng, settings, scene))
        lines.append(Line(step.text, "user"))
        lines.append(Line(step.answer) if step.target is None else Line(step.target))
        scene = step.target or scene
        changes.append(step)
    truth = {
        "edits": [
            {"kind": step.kind, "instruction": step.text, "answer": step.answer} for step in changes
        ]
    }
    mentions = tuple(name for step in changes for name in step.mentions)
    return Script(tuple(lines), truth, mentions)


def _new_group(at: Situation) -> Group | None:
    """A group of one that is not shown yet and stands out on the background."""
    name = at.absent()
    colours = at.settings.colours
    colour = choose_colour(at.rng, name, colours) if at.rng.random() < 0.3 else None
    scene = at.scene
    seen = stands_out(name, colour, style=scene.style, ground=scene.background)
    return Group(name, colour) if seen else None


def _add(at: Situation) -> Change | None:
    scene, group = at.scene, _new_group(at)
    if group is None or len(scene.objects) >= min(_MAX_OBJECTS, at.settings.max_objects + 1):
        return None
    size: Size = pick(at.rng, ("small", "medium"))
    clear = _clear(scene)
    near = pick(at.rng, clear) if clear and at.rng.random() < 0.4 else None
    relation = pick(at.rng, RELATIONS)
    for _ in range(_TRIES):
        places = place(at.rng, [size], grid=at.settings.stage.grid, taken=scene.objects)
        if places is None:
            return None
        new = SceneObject(group.concept, group.colour, size, *places[0])
        if near is None or holds(relation, new, near):
            text = f"Add {some(group)}" + (f" {relation} {_the(near, scene)}." if near else ".")
            return Change("add", text, replace(scene, objects=(*scene.objects, new)))
    return None


def _remove(at: Situation) -> Change | None:
    scene, groups = at.scene, groups_of(at.scene.objects)
    if len(groups) < 2:
        return None
    group = pick(at.rng, groups)
    rest = tuple(o for o in scene.objects if (o.concept, o.colour) != (group.concept, group.colour))
    text = f"{pick(at.rng, ('Remove', 'Take away'))} {_named(group, scene)}."
    return Change("remove", text, replace(scene, objects=rest))


def _replace(at: Situation) -> Change | None:
    clear, group = _clear(at.scene), _new_group(at)
    if not clear or group is None:
        return None
    old = pick(at.rng, clear)
    new = replace(old, concept=group.concept, colour=group.colour, flip=False)
    text = f"Replace {_the(old, at.scene)} with {some(group)}."
    return Change("replace", text, _swap(at.scene, old, new))


def _move(at: Situation) -> Change | None:
    clear = _clear(at.scene)
    if not clear:
        return None
    old = pick(at.rng, clear)
    others = [item for item in at.scene.objects if item is not old]
    where = pick(at.rng, [name for name in PLACES if name != place_of(old)])
    (left, right), (top, bottom) = place_range(where)
    grid = centres(old.size, at.settings.stage.grid)
    columns = [x for x in grid if left <= x <= right]
    rows = [y for y in grid if top <= y <= bottom]
    if not columns or not rows:
        return None
    for _ in range(_TRIES):
        x, y = pick(at.rng, columns), pick(at.rng, rows)
        new = replace(old, x=x, y=y)
        far = max(abs(x - old.x), abs(y - old.y)) >= _LEAST_MOVE
        if far and all(apart(new.cell, other.cell) for other in others):
            text = f"Move {_the(old, at.scene)} to the {where}."
            return Change("move", text, _swap(at.scene, old, new))
    return None


def _recolour(at: Situation) -> Change | None:
    scene = at.scene
    clear = [item for item in _clear(scene) if atlas.concept(item.concept).colourable]
    if not clear:
        return None
    old = pick(at.rng, clear)
    colour = choose_colour(at.rng, old.concept, at.settings.colours)
    before = old.colour or atlas.concept(old.concept).natural[scene.style]
    seen = stands_out(old.concept, colour, style=scene.style, ground=scene.background)
    if colour == before or not seen:
        return None
    text = f"{pick(at.rng, ('Make', 'Paint'))} {_the(old, scene)} {colour}."
    return Change("recolour", text, _swap(scene, old, replace(old, colour=colour)))


def _background(at: Situation) -> Change | None:
    scene = at.scene
    objects = [(item.concept, item.colour) for item in scene.objects]
    names = [name for name in at.settings.stage.backgrounds if name != scene.background]
    fitting = grounds_for(objects, scene.style, among=names)
    if not fitting:
        return None
    ground = pick(at.rng, fitting)
    text = f"Show it {on_ground(ground)}."
    if ground in PLAIN and at.rng.random() < 0.5:
        text = f"Make the background {ground}."
    return Change("background", text, replace(scene, background=ground))


def _style(at: Situation) -> Change | None:
    scene = at.scene
    styles = [style for style in at.settings.styles if style != scene.style]
    if not styles:
        return None
    style = pick(at.rng, styles)
    objects = [(item.concept, item.colour) for item in scene.objects]
    if not grounds_for(objects, style, among=(scene.background,)):
        return None
    return Change("style", f"Make it {style_phrase(style)}.", replace(scene, style=style))


def _cannot(at: Situation) -> Change:
    name = at.absent()
    phrase = the(Group(name))
    requests = [f"Remove {phrase}.", f"Move {phrase} to the {pick(at.rng, list(PLACES))}."]
    colour = choose_colour(at.rng, name, at.settings.colours)
    if colour:
        requests.append(f"Make {phrase} {colour}.")
    answer = f"There is no {noun(Group(name))} in the picture."
    return Change("cannot", pick(at.rng, requests), None, answer, (name,))


def _clear(scene: Scene) -> list[SceneObject]:
    """Objects that a definite phrase singles out."""
    keys = [(item.concept, item.colour) for item in scene.objects]
    return [item for item in scene.objects if keys.count((item.concept, item.colour)) == 1]


def _the(item: SceneObject, scene: Scene) -> str:
    return _named(Group(item.concept, item.colour), scene)


def _named(group: Group, scene: Scene) -> str:
    """The shortest definite phrase: the colour is named only where the concept is not enough."""
    colours = {item.colour for item in scene.objects if item.concept == group.concept}
    return the(group if len(colours) > 1 else replace(group, colour=None))


def _swap(scene: Scene, old: SceneObject, new: SceneObject) -> Scene:
    objects = tuple(new if item is old else item for item in scene.objects)
    return replace(scene, objects=objects)


# Kind to (weight, how it is drawn).
KINDS: dict[str, tuple[float, Callable[[Situation], Change | None]]] = {
    "add": (1.0, _add),
    "remove": (1.3, _remove),
    "replace": (1.0, _replace),
    "move": (1.0, _move),
    "recolour": (1.3, _recolour),
    "background": (1.2, _background),
    "style": (0.6, _style),
}
