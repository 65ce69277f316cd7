"""Prompts of trained concepts, in pairs and colours that training never showed or in none such.

In: a task, a seed, a number, settings. Out: items with their exact truth. Item number i of a task
depends on seed, settings and i alone, and no seed of the training stream gives the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mogao.data.world.choice import pick
from mogao.data.world.draw import choose_colour
from mogao.data.world.edits import KINDS as EDITS
from mogao.data.world.edits import Change
from mogao.data.world.edits import change as any_change
from mogao.data.world.language import Group, geneval_prompt
from mogao.data.world.questions import KINDS as QUESTIONS
from mogao.data.world.sampling import RELATIONS, compose, grounds_for
from mogao.data.world.scene import Scene
from mogao.data.world.script import Situation
from mogao.data.world.splits import (
    Settings,
    colour_is_held_out,
    fits,
    pair_is_held_out,
    style_is_held_out,
)
from mogao.data.world.stories import story
from mogao.errors import DataError, nearest

PICTURE_TASKS = ("single_object", "two_object", "colors", "counting", "position", "color_attr")
EDIT_TASKS = ("remove", "recolour", "background")
CANNOT = "cannot"
"""Kind of an edit that cannot be made: the right answer is a text."""
_SALT = 310_511  # sets these draws apart from those of training, which have no third key
_TRIES = 5000


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt with what a right result shows.

    Attributes:
        id: Task and number, for example "colors-007".
        task: Name of the score it counts for.
        text: What the model is told.
        target: A scene that fulfils the prompt, or None where the answer is text or free.
        source: The picture that is shown first, or None.
        perfect: What a perfect answer holds, where that is neither the target nor an answer in
            `truth`.
        truth: Facts for the rule: concept, colours, count, relation, answer, kind.
    """

    id: str
    task: str
    text: str
    target: Scene | None = None
    source: Scene | None = None
    perfect: tuple[str | Scene, ...] = ()
    truth: dict[str, Any] = field(default_factory=dict)


def make_prompts(
    task: str, num: int, *, seed: int = 0, settings: Settings | None = None
) -> list[Prompt]:
    """The first `num` prompts of a task: a picture task, "questions", "edits" or "stories".

    Args:
        task: Its name.
        num: Prompts.
        seed: Of all draws.
        settings: Of the pictures that are shown or fulfil a prompt; the split is "unseen" or
            "train". None takes the whole world, unseen.

    Raises:
        DataError: The task is unknown.
    """
    settings = settings or Settings("unseen")
    makers: dict[str, Callable[[np.random.Generator, Settings, int], Prompt]] = {
        "questions": _question,
        "edits": _edit,
        "stories": _story,
    }
    names = [*PICTURE_TASKS, *makers]
    if task not in names:
        raise DataError(f"no task {task!r} in the suite; known: {', '.join(names)}")
    known = [name for name in settings.concepts if _styles_of([Group(name)], settings)]
    order = np.random.default_rng([seed, _SALT]).permutation(len(known))
    prompts = []
    for number in range(num):
        rng = np.random.default_rng([seed, names.index(task), number, _SALT])
        if task in makers:
            prompt = makers[task](rng, settings, number)
        elif task == "single_object":  # every concept once before any comes again
            prompt = _picture(rng, settings, task, first=known[order[number % len(known)]])
        else:
            prompt = _picture(rng, settings, task)
        prompts.append(replace(prompt, id=f"{task}-{number:03d}"))
    return prompts


def make_edits(
    kinds: Sequence[str], num: int, *, seed: int = 0, settings: Settings | None = None
) -> list[Prompt]:
    """The first `num` edits of each kind; the task of each prompt is its kind.

    Args:
        kinds: Of `mogao.data.world.edits.KINDS`, or `CANNOT`.
        num: Prompts of a kind.
        seed: Of all draws.
        settings: See `make_prompts`; the kind "style" needs two styles.

    Raises:
        DataError: A kind is unknown, or no scene allows it.
    """
    settings = settings or Settings("unseen")
    names = [*EDITS, CANNOT]
    for kind in kinds:
        if kind not in names:
            raise DataError(f"no kind of edit {kind!r}; {nearest(kind, names)}")
    return [
        replace(_edit_of(rng, settings, kind), id=f"{kind}-{number:03d}", task=kind)
        for kind in kinds
        for number in range(num)
        # The last key sets these draws apart from those of `make_prompts`.
        for rng in [np.random.default_rng([seed, names.index(kind), number, _SALT, 1])]
    ]


def keeps_split(change: Change, settings: Settings) -> bool:
    """Whether a change of a fitting scene shows and names nothing new where nothing may be new."""
    shown = [] if change.target is None else [change.target]
    return settings.split != "train" or fits("train", shown, change.mentions)


def _picture(
    rng: np.random.Generator, settings: Settings, task: str, *, first: str | None = None
) -> Prompt:
    """A GenEval prompt of a picture task, with one scene that fulfils it."""
    for _ in range(_TRIES):
        groups = _groups(rng, settings, task, first=first)
        # Most tries end here, so that nothing else is worked out before.
        if not _is_wanted(groups, task, settings) or not (styles := _styles_of(groups, settings)):
            continue
        objects = [(group.concept, group.colour) for group in groups for _ in range(group.count)]
        style = pick(rng, styles)
        if not grounds_for(objects, style, among=settings.stage.backgrounds):
            continue
        relation = pick(rng, RELATIONS) if task == "position" else None
        scene = compose(rng, objects, style=style, relation=relation, stage=settings.stage)
        truth = {
            "concepts": [group.concept for group in groups],
            "colours": [group.colour for group in groups],
            "count": groups[0].count,
            "relation": relation,
        }
        return Prompt("", task, geneval_prompt(groups, relation), scene, truth=truth)
    raise DataError(
        f"no prompt for task {task!r} of split {settings.split!r} in {_TRIES} tries: "
        "the world is too small"
    )


def _styles_of(groups: Sequence[Group], settings: Settings) -> list[str]:
    """The styles in which training showed every concept of some groups."""
    return [
        style
        for style in settings.styles
        if not any(style_is_held_out(group.concept, style) for group in groups)
    ]


def _groups(
    rng: np.random.Generator, settings: Settings, task: str, *, first: str | None
) -> list[Group]:
    names, colours = settings.concepts, settings.colours
    first, second = first or pick(rng, names), pick(rng, names)
    if task == "single_object":
        return [Group(first)]
    if task == "colors":
        return [Group(first, choose_colour(rng, first, colours))]
    if task == "counting":
        return [Group(first, count=int(rng.integers(2, 5)))]
    if task == "color_attr":
        return [Group(name, choose_colour(rng, name, colours)) for name in (first, second)]
    return [Group(first), Group(second)]


def _is_wanted(groups: list[Group], task: str, settings: Settings) -> bool:
    """Whether groups make a prompt of a task and fit the split.

    A concept without a colour is never new to training, only its scene is.
    """
    names = [group.concept for group in groups]
    painted = {group.concept: group.colour for group in groups if group.colour is not None}
    needs_colours = task in ("colors", "color_attr")  # not every concept takes one
    if len(set(names)) < len(names) or (needs_colours and len(painted) < len(names)):
        return False
    if task in ("single_object", "counting"):
        return True
    has_new_pair = len(names) > 1 and pair_is_held_out(*names)
    has_new_colour = any(colour_is_held_out(name, colour) for name, colour in painted.items())
    if settings.split == "train":
        return not has_new_pair and not has_new_colour
    return has_new_colour if needs_colours else has_new_pair


def _question(rng: np.random.Generator, settings: Settings, number: int) -> Prompt:
    """A question about a new scene; kinds and picture tasks take turns."""
    kind = list(QUESTIONS)[number % len(QUESTIONS)]
    for _ in range(_TRIES):
        scene = _picture(rng, settings, pick(rng, PICTURE_TASKS)).target
        assert scene is not None
        asked = QUESTIONS[kind](Situation(rng, settings, scene))
        if asked is not None:
            truth = {"kind": kind, "answer": asked.answer}
            return Prompt("", "questions", asked.text, source=scene, truth=truth)
    raise DataError(f"no question of kind {kind!r} in {_TRIES} tries")


def _edit(rng: np.random.Generator, settings: Settings, number: int) -> Prompt:
    """An edit of the first suite; kinds take turns."""
    return _edit_of(rng, settings, EDIT_TASKS[number % len(EDIT_TASKS)])


def _edit_of(rng: np.random.Generator, settings: Settings, kind: str) -> Prompt:
    """An edit of a scene of two things, which training never showed together if they are unseen."""
    for _ in range(_TRIES):
        scene = _picture(rng, settings, "two_object").target
        assert scene is not None
        at = Situation(rng, settings, scene)
        found = any_change(at) if kind == CANNOT else EDITS[kind][1](at)
        if found is not None and found.kind == kind and keeps_split(found, settings):
            truth = {"kind": kind} | ({"answer": found.answer} if found.answer else {})
            return Prompt("", "edits", found.text, found.target, source=scene, truth=truth)
    raise DataError(f"no edit of kind {kind!r} in {_TRIES} tries")


def _story(rng: np.random.Generator, settings: Settings, number: int) -> Prompt:
    """A request for a story; `number` is not needed, every story is drawn alike."""
    del number
    script = story(rng, replace(settings, split="train"))  # nothing is held out in this task
    told = tuple(line.content for line in script.lines[1:])
    truth = {"panels": script.truth["panels"]}
    return Prompt("", "stories", script.texts[0], perfect=told, truth=truth)
