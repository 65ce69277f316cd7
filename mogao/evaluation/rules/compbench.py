"""Rules of T2I-CompBench for positions and numbers, and the reading of its prompt forms.

In: prompts, boxes of a detector. Out: noun phrases, wanted counts, scores in [0, 1]. The public
scripts take prompts apart with a tagger; here fixed forms do it, which agree on the fixed forms
that most prompts of the set have. Nothing here knows pixels or models.

Source: arXiv 2307.06350; repository Karine-Huang/T2I-CompBench, `UniDet_eval/2D_spatial_eval.py`,
`UniDet_eval/numeracy_eval.py`, `BLIPvqa_eval/BLIP_vqa.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from mogao.evaluation.providers.base import Detection

Box = tuple[float, float, float, float]

CONFIDENCE = 0.5  # the detector of the public scripts gives no box below it
_NEAR = ("on side of", "next to", "near")
_DIRECTIONS = {  # axis and sign of the way from the second thing to the first
    "on the left of": (0, -1),
    "on the right of": (0, 1),
    "on the top of": (1, -1),
    "on the bottom of": (1, 1),
}
_NEAR_PIXELS = 150.0  # in pictures whose shorter side has the pixels below, as the scripts scale
_SHORTER_SIDE = 479.0
_MOST_IOU = 0.1  # overlap up to which a direction counts in full
_LEAST_SCORE = 0.5  # a position score below it counts as 0
_SAME_THING = 0.9  # boxes of one class, one of which lies in the other to this share, are one

_PAIR = re.compile(r"(an? [^,]+?) and (an? [^,]+)", re.IGNORECASE)
_NOT_IN_A_PHRASE = re.compile(
    r"\b(and|an?|the|is|are|was|were|has|with|on|in|at|by|to|features)\b", re.IGNORECASE
)
_PLACED = re.compile(rf"an? (.+?) ({'|'.join((*_DIRECTIONS, *_NEAR))}) an? (.+)")
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8,
}  # fmt: skip
_PEOPLE = dict.fromkeys(("boy", "girl", "man", "woman"), "person")
# The misspelt name is that of the script; the right one is not renamed there.
_RENAMED = {"ship": "boat", "telivision": "tv", "goldfish": "fish", "painting": "picture"}


def noun_phrases(prompt: str) -> list[str]:
    """Return what a prompt about attributes names: "a X and a Y" gives "a X" and "a Y".

    Each half must start with an article and hold no second one, no further "and", no verb and no
    preposition but "of". A prompt of any other form is one phrase.
    """
    plain = prompt.strip().rstrip(".")
    match = _PAIR.fullmatch(plain)
    if match is None:
        return [plain]
    halves = [match[1], match[2]]
    if any(_NOT_IN_A_PHRASE.search(half.split(" ", 1)[1]) for half in halves):
        return [plain]
    return halves


def placed_pair(prompt: str) -> list[str]:
    """Return [first thing, relation, second thing] of "a X on the left of a Y", else nothing."""
    match = _PLACED.fullmatch(prompt.strip().rstrip("."))
    if match is None:
        return []
    return [_PEOPLE.get(match[1], match[1]), match[2], _PEOPLE.get(match[3], match[3])]


def counted_things(prompt: str, singulars: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the things that follow a number or an article, with their numbers.

    Args:
        prompt: Such as "two dogs and a cat"; numbers at its start have small letters.
        singulars: Known names in both forms, each with its singular; names of two words go first.
    """
    words = re.findall(r"[A-Za-z]+", prompt)
    found = []
    for i, word in enumerate(words):
        names = [" ".join(words[i + 1 : i + 1 + length]) for length in (2, 1)]
        known = [singulars[name] for name in names if name in singulars]
        if word in _NUMBERS and known:
            name = known[0]
            found.append((_PEOPLE.get(name, _RENAMED.get(name, name)), _NUMBERS[word]))
    return found


def position_score(
    found: Sequence[Detection], wanted: Sequence[str], *, size: tuple[int, int]
) -> float:
    """Return how well two things stand in a relation.

    A quarter of the confidence of each thing and half of the score of the relation; below one
    half, and where a thing is missing, 0.

    Args:
        found: What the detector saw; the surest box of each class counts.
        wanted: First thing, relation, second thing, as `placed_pair` reads them.
        size: (height, width) of the picture in pixels.
    """
    first, relation, second = wanted
    surest = {one.name: one for one in reversed(_sure(found))}
    if first not in surest or second not in surest:
        return 0.0
    one, other = surest[first], surest[second]
    reach = _NEAR_PIXELS * min(size) / _SHORTER_SIDE
    holds = relation_score(relation, one.box, other.box, reach=reach)
    score = 0.25 * one.score + 0.25 * other.score + 0.5 * holds
    return score if score >= _LEAST_SCORE else 0.0


def relation_score(relation: str, one: Box, other: Box, *, reach: float) -> float:
    """Return how well the first box stands in a relation to the second, in [0, 1].

    Near: within `reach` on either axis, else `reach` over the longer offset. A direction: the
    offset of the centres must be longer along its axis than across; boxes whose IoU reaches 0.1
    score 0.1 over their IoU.
    """
    offset = [(one[i] + one[i + 2] - other[i] - other[i + 2]) / 2 for i in (0, 1)]
    longest, shortest = max(map(abs, offset)), min(map(abs, offset))
    if relation in _NEAR:
        return 1.0 if shortest < reach else reach / longest
    axis, sign = _DIRECTIONS[relation]
    if sign * offset[axis] <= abs(offset[1 - axis]):
        return 0.0
    overlap = _iou(one, other)
    return 1.0 if overlap < _MOST_IOU else _MOST_IOU / overlap


def number_score(found: Sequence[Detection], wanted: Sequence[tuple[str, int]]) -> float:
    """Return how well things are there in the right number.

    Each of n things weighs 1/n: half for being there, half for its exact number. A thing that is
    not found by its name takes all boxes whose names contain it.

    Args:
        found: What the detector saw.
        wanted: Names and numbers, at least one.
    """
    names = [one.name for one in _distinct(_sure(found))]
    score = 0.0
    for name, number in wanted:
        if name not in names:
            names = [name if name in other else other for other in names]
        seen = names.count(name)
        score += (0.5 * (seen > 0) + 0.5 * (seen == number)) / len(wanted)
    return score


def _sure(found: Sequence[Detection]) -> list[Detection]:
    """Return the boxes above the confidence of the public scripts, the surest first."""
    by_score = sorted(found, key=lambda one: -one.score)
    return list(takewhile(lambda one: one.score > CONFIDENCE, by_score))


def _distinct(found: Sequence[Detection]) -> list[Detection]:
    """Return the boxes without those that lie in an earlier one of their class, or hold it."""
    kept: list[Detection] = []
    for one in found:
        if not any(one.name == other.name and _nested(one.box, other.box) for other in kept):
            kept.append(one)
    return kept


def _nested(one: Box, other: Box) -> bool:
    """Whether nearly all of a box lies in the other; an IoU above 0.9 says no less.

    Sides count both their ends here, as in the public script.
    """
    sides = [(box[2] - box[0] + 1, box[3] - box[1] + 1) for box in (one, other)]
    smaller = min(width * height for width, height in sides)
    return _common(one, other, ends=1) / smaller > _SAME_THING


def _iou(one: Box, other: Box) -> float:
    common = _common(one, other, ends=0)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - common
    return common / both if both else 0.0


def _common(one: Box, other: Box, *, ends: int) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + ends
    height = min(one[3], other[3]) - max(one[1], other[1]) + ends
    return max(width, 0.0) * max(height, 0.0)
