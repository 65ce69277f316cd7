"""Recipes draw and caption: one scene, one text that says what it shows.

In: a generator and settings. Out: scripts. Scenes come in six families, GenEval's tasks, plus
mixed groups; each family can be said in GenEval's words or at three levels of detail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mogao.data.world import atlas
from mogao.data.world.choice import pick, pick_weighted
from mogao.data.world.colours import COLOURS
from mogao.data.world.language import (
    Group,
    describe,
    geneval_prompt,
    groups_of,
    reading_order,
    sentence,
)
from mogao.data.world.sampling import RELATIONS, compose, grounds_for
from mogao.data.world.scene import Scene
from mogao.data.world.script import Line, Script
from mogao.data.world.splits import Settings, objects_held_out
from mogao.sequence import Role

Families = dict[str, tuple[float, int]]
# Family to (weight, least objects). GenEval has no prompt of mixed groups.
FAMILIES: Families = {
    "single_object": (0.28, 1),
    "colors": (0.17, 1),
    "two_object": (0.14, 2),
    "counting": (0.15, 2),
    "position": (0.11, 2),
    "color_attr": (0.09, 2),
    "mixed": (0.06, 3),
}
FORMS = {"geneval": 0.4, "1": 0.15, "2": 0.3, "3": 0.15}
"""Form of a drawing's text to weight: GenEval's words, or one of three levels of detail."""
_OPENINGS = ("", "a picture of ", "a drawing of ", "draw ")
CAPTION_REQUESTS = {
    1: ("Name what the picture shows.", "Describe the picture briefly."),
    2: ("Describe the picture.", "What does the picture show?"),
    3: ("Describe the picture in detail.", "Describe everything in the picture."),
}
"""Level of detail to requests for it."""
_TRIES = 400
ASKED_SHARE = 0.25
"""Share of drawings that a user asks for, so that a chat can draw too."""
PROMPT_WEIGHT = 0.1
"""Loss weight of the text of a drawing: which scene comes is chance, what answers say is not."""


def draw(rng: np.random.Generator, settings: Settings) -> Script:
    """A text, then the picture it asks for: mostly a plain document, at times a user's wish."""
    family, scene, relation = family_scene(rng, settings)
    form = pick_weighted(rng, form_weights(settings))
    if form == "geneval" and family != "mixed":
        objects = scene.objects if relation else reading_order(scene.objects)
        prompt = geneval_prompt(groups_of(objects), relation)
    else:
        level = 1 if form == "geneval" else int(form)
        prompt = describe(scene, level=level, relation=relation)
        if level < 3:
            prompt = pick(rng, _OPENINGS) + prompt
            prompt = sentence(prompt) if rng.random() < 0.5 else prompt
    truth = {"family": family, "form": form, "prompt": prompt, "relation": relation}
    role: Role = "user" if rng.random() < ASKED_SHARE else "model"
    return Script((Line(prompt, role, PROMPT_WEIGHT), Line(scene)), truth)


def caption(rng: np.random.Generator, settings: Settings) -> Script:
    """A conversation: the user shows a picture, the model describes it as asked."""
    _, scene, _ = family_scene(rng, settings)
    level = int(rng.integers(1, 4))
    request = pick(rng, CAPTION_REQUESTS[level])
    answer = sentence(describe(scene, level=level))
    truth = {"level": level, "answer": answer}
    return Script((Line(scene, "user"), Line(request, "user"), Line(answer)), truth)


def family_scene(
    rng: np.random.Generator, settings: Settings, *, families: Families = FAMILIES
) -> tuple[str, Scene, str | None]:
    """Draw (family, scene, relation of the first object to the second or None)."""
    family = pick_weighted(rng, family_weights(settings, families))
    relation = pick(rng, RELATIONS) if family == "position" else None
    style = pick(rng, settings.styles)
    groups = choose_groups(rng, settings, family=family, style=style)
    objects = [(group.concept, group.colour) for group in groups for _ in range(group.count)]
    scene = compose(rng, objects, style=style, relation=relation, stage=settings.stage)
    return family, scene, relation


def family_weights(settings: Settings, families: Families = FAMILIES) -> dict[str, float]:
    """Weights of the families that settings allow: those they name, else those of `families`."""
    chosen = settings.families if families is FAMILIES and settings.families else None
    return {
        name: weight if chosen is None else chosen.get(name, 0.0)
        for name, (weight, least) in families.items()
        if least <= settings.max_objects
    }


def form_weights(settings: Settings) -> dict[str, float]:
    """Weights of the forms of a drawing's text: those that settings name, else those of `FORMS`."""
    chosen = settings.forms or FORMS
    return {name: chosen.get(name, 0.0) for name in FORMS}


def choose_groups(
    rng: np.random.Generator, settings: Settings, *, family: str, style: str
) -> list[Group]:
    """Draw the groups of a family that fit the split and at least one background."""
    groups: list[Group] = []
    for _ in range(_TRIES):
        groups = _groups(rng, settings, family)
        objects = [(group.concept, group.colour) for group in groups]
        wanted = settings.split != "train"
        fits = objects_held_out(objects, style) == wanted
        if fits and grounds_for(objects, style, among=settings.stage.backgrounds):
            return groups
    return groups


def choose_colour(
    rng: np.random.Generator, concept: str, among: Sequence[str] = tuple(COLOURS)
) -> str | None:
    """Draw one of some colours, or None for a concept that takes none."""
    return pick(rng, among) if atlas.concept(concept).colourable else None


def _groups(rng: np.random.Generator, settings: Settings, family: str) -> list[Group]:
    names, colours = settings.concepts, settings.colours
    first = pick(rng, names)
    if family == "single_object":
        return [Group(first)]
    if family == "colors":
        return [Group(first, choose_colour(rng, first, colours))]
    if family == "counting":
        highest = min(4, settings.max_objects)
        colour = choose_colour(rng, first, colours) if rng.random() < 0.15 else None
        return [Group(first, colour, int(rng.integers(2, highest + 1)))]
    second, third = (_other(rng, names, first) for _ in range(2))
    if family == "color_attr":
        return [Group(name, choose_colour(rng, name, colours)) for name in (first, second)]
    if family in ("two_object", "position"):
        return [Group(first), Group(second)]
    if third != second and rng.random() < 0.5:
        return [Group(name, _some_colour(rng, name, colours)) for name in (first, second, third)]
    total = int(rng.integers(3, settings.max_objects + 1))
    count = int(rng.integers(1, min(4, total - 1) + 1))
    return [
        Group(first, _some_colour(rng, first, colours), count),
        Group(second, None, min(4, total - count)),
    ]


def _some_colour(rng: np.random.Generator, concept: str, among: Sequence[str]) -> str | None:
    return choose_colour(rng, concept, among) if rng.random() < 0.3 else None


def _other(rng: np.random.Generator, names: tuple[str, ...], taken: str) -> str:
    while True:
        name = pick(rng, names)
        if name != taken:
            return name
