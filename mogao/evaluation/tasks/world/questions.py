"""Questions about pictures of the world: seven kinds, and POPE with three choices of absent things.

In: nothing but a seed and which world. Out: accuracy of each kind and their mean; POPE's five
scores of each choice. All concepts are known from training; each picture shows a pair of them or a
colour that training never showed. The sorts of answers of a kind take turns, so that whoever always
says the same gets one half where there are two sorts, and less where there are more.

POPE asks each of its pictures for one thing that it shows and for one that it does not. Pictures
and present things are the same in all three choices, which differ in the absent one:
    random: any concept.
    popular: one of the ten that most pictures of the suite show, of those that this one does not.
    adversarial: the one that looks most like a thing in the picture. What counts is the mean square
        of the differences, in colour and opacity, between two drawings of 32 x 32 pixels: the thing
        as it is painted, and the absent one in its natural colours.

Source: arXiv 2305.10355, section 4. Its adversarial choice goes by how often things are seen
together, but the world draws all pairs alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float32

from mogao.data.world import atlas
from mogao.data.world.choice import pick
from mogao.data.world.language import NUMBERS, PLACES, Group, at_place, some
from mogao.data.world.questions import KINDS, Question
from mogao.data.world.scene import Scene
from mogao.data.world.script import Situation
from mogao.data.world.splits import Settings, style_is_held_out
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.prompts import Prompt
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.world import same_answer
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_groups
from mogao.evaluation.tasks.pope import five_scores, yes_no_row
from mogao.evaluation.tasks.text_answers import said
from mogao.evaluation.tasks.world.base import WorldBenchmark, item_of, unit_of
from mogao.evaluation.tasks.world.scenes import composed, painted, scene_of_split

NUM = 60
"""Questions of each group."""
POPE = ("pope_random", "pope_popular", "pope_adversarial")

Shapes = tuple[tuple[int, ...], ...]
"""Kinds of pictures: how many there are of each thing."""
_ANY: Shapes = ((1,), (1, 1), (1, 1), (1, 1, 1), (2, 1))
_SINGLE: Shapes = ((1, 1), (1, 1, 1))
_MORE: Shapes = ((2, 1), (3, 1))
_MOST_POPULAR = 10
_LOOK_PIXELS = 32
_ASKS = 20  # until a picture has the answer that is wanted, or is given up
_READER = "lmms-strict"  # the other one of POPE's takes silence for yes


class WorldQuestions(WorldBenchmark):
    """Ten groups of questions, each with one right answer."""

    name = "world_questions"
    protocols: tuple[str, ...] = ("world-questions-1",)
    reads_pictures = False

    def items(self) -> Sequence[Item]:
        """Return all items, group by group."""
        kinds = [
            _question(kind, number, seed=self._seed, settings=self._settings)
            for kind in KINDS
            for number in range(NUM)
        ]
        seen = [prompt.source for prompt in kinds if prompt.source is not None]
        pope = _pope(seen, seed=self._seed, settings=self._settings)
        return [item_of(prompt, "text") for prompt in (*kinds, *pope)]

    def score(self, item: Item, outputs: Sequence[Output], *, tools: Tools, protocol: str) -> Row:
        """Compare the answer with the right one; the groups of POPE want the bare yes or no."""
        if item.group in POPE:
            row = yes_no_row(item, outputs, protocol=_READER)
            return replace(row, unit=unit_of(item, "source"))
        answer = said(outputs)
        right = float(same_answer(answer, item.truth["answer"]))
        facts = {"said": answer, "answer": item.truth["answer"]}
        return Row(item.id, item.group, {"right": right}, facts=facts)

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the mean over the kinds, each kind, then five scores of each group of POPE.

        All of them are shares in [0, 1].
        """
        scores: dict[str, Score] = {}
        kinds = [row for row in rows if row.group not in POPE]
        if kinds:
            scores = {"overall": over_groups(kinds, "right"), **by_group(kinds, "right")}
        for group in POPE:
            inside = [row for row in rows if row.group == group]
            if inside:
                found = five_scores(inside, scale=1.0)
                scores |= {f"{group}/{name}": score for name, score in found.items()}
        return scores


def answer_sort(question: Question) -> str:
    """Return the answer itself, "first" or "second" of two to choose from, or else "open"."""
    if question.text.startswith("What is"):
        return "open"
    if question.text.startswith("Which is"):
        _, _, things = question.text.partition(", ")
        return "first" if things.startswith(f"{question.answer} or ") else "second"
    return question.answer


def most_alike(scene: Scene, names: Sequence[str]) -> str:
    """Return the concept whose natural look is nearest to that of a thing in a picture."""
    looks = np.stack([_look(name, scene.style, None) for name in names])
    distances = [
        np.square(looks - _look(item.concept, scene.style, item.colour)).mean((1, 2, 3))
        for item in scene.objects
    ]
    return names[int(np.min(distances, axis=0).argmin())]


def _sorts(kind: str, settings: Settings) -> dict[str, Shapes]:
    """Sorts of answers, as of `answer_sort`, to the pictures that can have them."""
    sorts: dict[str, dict[str, Shapes]] = {
        "exists": {"yes": _ANY, "no": _ANY},
        "count": {
            NUMBERS[0]: _ANY,
            NUMBERS[1]: _ANY,
            NUMBERS[2]: ((2,), (2, 1)),
            NUMBERS[3]: ((3,), (3, 1)),
            NUMBERS[4]: ((4,),),
        },
        "colour": dict.fromkeys(settings.colours, _ANY),
        "where": dict.fromkeys(map(at_place, PLACES), _ANY),
        "relation": {"yes": _SINGLE, "no": _SINGLE, "open": ((1, 1),)},
        "compare": {"yes": _MORE, "no": _MORE, "first": _SINGLE, "second": _SINGLE},
        "name": {"open": ((1,), (1, 1), (2,), (2, 1), (3,))},
    }
    return sorts[kind]


def _question(kind: str, number: int, *, seed: int, settings: Settings) -> Prompt:
    """Question `number` of a kind; sorts of answers take turns."""
    sorts = _sorts(kind, settings)
    sort = list(sorts)[number % len(sorts)]

    def ask(scene: Scene) -> Question | None:
        rng = np.random.default_rng([seed, number])
        for _ in range(_ASKS):
            asked = KINDS[kind](Situation(rng, settings, scene))
            if asked and answer_sort(asked) == sort and _is_drawn(asked.mentions, scene):
                return asked
        return None

    def draw(rng: np.random.Generator) -> Scene | None:
        scene = _draw(rng, shapes=sorts[sort], settings=settings)
        return scene if scene is not None and ask(scene) is not None else None

    suite = f"world_questions/{kind}"
    scene = scene_of_split(draw, number=number, suite=suite, seed=seed, split=settings.split)
    asked = ask(scene)
    assert asked is not None
    truth = {"answer": asked.answer}
    return Prompt(f"{kind}-{number:03d}", kind, asked.text, source=scene, truth=truth)


def _draw(rng: np.random.Generator, *, shapes: Shapes, settings: Settings) -> Scene | None:
    """Draw a picture of one of some kinds, or None where it misses the split."""
    style, counts, names = pick(rng, settings.styles), pick(rng, shapes), settings.concepts
    chosen = [names[place] for place in rng.choice(len(names), len(counts), replace=False)]
    things = painted(rng, chosen, settings)
    return composed(rng, things, counts, style=style, settings=settings)


def _pope(seen: Sequence[Scene], *, seed: int, settings: Settings) -> Iterator[Prompt]:
    """The questions of POPE, group by group; `seen` are the other pictures of the suite."""
    draw = partial(_draw, shapes=_ANY, settings=settings)
    scenes = [
        scene_of_split(
            draw, number=number, suite="world_questions/pope", seed=seed, split=settings.split
        )
        for number in range(NUM // 2)
    ]
    rng = np.random.default_rng([seed, NUM])
    shown = [_concepts(scene) for scene in scenes]
    present = [pick(rng, names) for names in shown]
    counts = Counter(name for scene in (*seen, *scenes) for name in _concepts(scene))
    for group in POPE:
        for place, (scene, names, yes) in enumerate(zip(scenes, shown, present, strict=True)):
            absent = [n for n in settings.concepts if n not in names and _is_drawn([n], scene)]
            if group == "pope_popular":
                absent = sorted(absent, key=lambda name: -counts[name])[:_MOST_POPULAR]
            if group == "pope_adversarial":
                absent = [most_alike(scene, absent)]
            for half, name in enumerate((yes, pick(rng, absent))):
                text, truth = f"Is there {some(Group(name))}?", {"answer": ("yes", "no")[half]}
                id_ = f"{group}-{2 * place + half:03d}"
                yield Prompt(id_, group, text, source=scene, truth=truth | {"concept": name})


@lru_cache(maxsize=1024)
def _look(name: str, style: str, colour: str | None) -> Float32[np.ndarray, "rows cols rgba"]:
    """A drawing; colours are multiplied by their opacity, so that what is not painted is equal."""
    drawn = atlas.sprite(name, style=style, colour=colour, pixels=_LOOK_PIXELS, flip=False)
    return np.asarray(drawn.convert("RGBa"), np.float32)


def _concepts(scene: Scene) -> list[str]:
    """Concepts that a picture shows, each once."""
    return list(dict.fromkeys(item.concept for item in scene.objects))


def _is_drawn(names: Sequence[str], scene: Scene) -> bool:
    """Whether training draws these concepts in the style of a picture.

    One that it never draws would be known to be absent from its name alone.
    """
    return not any(style_is_held_out(name, scene.style) for name in names)
