"""Rules of edits: whether the change that was asked for is there, and whether the rest is kept.

In: what a judge saw, and the scenes before and after. Out: booleans. The two are judged apart: in
an empty picture everything is removed, and an untouched one has kept the rest. What a request
leaves open is free: a thing that is added may stand anywhere, one that is moved anywhere in the
part of the picture that was named, and new things may have any size. No rule asks for the style of
the rest, or for the colour of unpainted things: judges name one of several that a natural look has,
and not always the same one behind an autoencoder. `fidelity` sees both.

Source: own design, docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mogao.data.world import atlas
from mogao.data.world.language import place_of, place_range
from mogao.data.world.scene import Scene, SceneObject, Size
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.facts import nearest_size
from mogao.evaluation.rules.world import at_place, is_near, shows_count, shows_relation

_SLACK = 4.0  # half of the gap between two named places, so that they meet, pixels


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one edit.

    Attributes:
        done: Whether the change is there.
        kept: Whether the rest is as it was.
    """

    done: bool
    kept: bool

    @property
    def right(self) -> bool:
        """Whether both are true."""
        return self.done and self.kept


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Where a thing stands in a picture, and how large it is there."""

    x: int
    y: int
    size: Size


def judge_edit(
    report: Report, source: Scene, target: Scene, *, relation: tuple[str, str] | None = None
) -> Verdict:
    """Return whether the change is done and whether the rest is kept; see `change_done`."""
    done = change_done(report, source, target, relation=relation)
    return Verdict(done, rest_kept(report, source, target))


def change_done(
    report: Report, source: Scene, target: Scene, *, relation: tuple[str, str] | None = None
) -> bool:
    """Whether a picture shows what makes the target differ from the source.

    Each concept that was added, removed, replaced, moved or recoloured is there as often as in the
    target. What takes the place of something stands there, in its new colour where it is painted;
    what is moved has left its old place and stands in the part of the picture where the target
    has it. A new background is there; in a new style is everything that the judge sees, but what
    all styles draw alike.

    Args:
        report: What the judge saw.
        source: The scene before.
        target: The scene that was asked for.
        relation: Where an added thing was asked for, such as ("left of", "cat"); None anywhere.
    """
    if target.background != source.background and report.background != target.background:
        return False
    if target.style != source.style and not _is_in_style(report, target):
        return False
    gone, new = _difference(source, target)
    counts = [(one.concept, _count(target, one.concept)) for one in (*gone, *new)]
    return all(shows_count(report, *pair) for pair in counts) and all(
        _stands(report, one, gone=gone, relation=relation) for one in new
    )


def rest_kept(report: Report, source: Scene, target: Scene) -> bool:
    """Whether a picture has kept what is the same in source and target, and shows nothing else.

    Every unchanged thing stands in its place and has its size, the nearest of the named ones, and
    its colour where it is painted; the background is the old one unless it was to change. A thing
    too many is one of a concept that the change does not deal with, in a place where the target has
    nothing: in a cell of the target it is a part that the judge takes for a thing, or a bad change.
    """
    if target.background == source.background != report.background:
        return False
    gone, new = _difference(source, target)
    same = [one for one in target.objects if one in source.objects]
    if not all(_coloured(_sized(at_place(report, one), one), one) for one in same):
        return False
    touched = {one.concept for one in (*gone, *new)}
    return all(
        seen.concept in touched or any(_is_inside(seen, one) for one in target.objects)
        for seen in report.findings
    )


def judge_turns(
    reports: Sequence[Report | None],
    scenes: Sequence[Scene],
    relations: Sequence[tuple[str, str] | None],
) -> list[Verdict]:
    """Judge edits in a row, each against the scenes before and after it.

    A thing whose place was left open is looked for, in later turns, where an earlier picture has
    it, and what a turn made anew is to keep the size that it has there. A turn without a picture is
    neither done nor kept.

    Args:
        reports: What the judge saw in the picture of each turn; None where there is none.
        scenes: The first scene and that after each turn.
        relations: See `change_done`, one for each turn.
    """
    verdicts = []
    drawn: dict[tuple[int, int], _Drawn] = {}  # by the centre in the true scenes
    for report, source, target, relation in zip(
        reports, scenes[:-1], scenes[1:], relations, strict=True
    ):
        if report is None:
            verdicts.append(Verdict(done=False, kept=False))
            continue
        before, after = _placed(source, drawn), _placed(target, drawn)
        verdicts.append(judge_edit(report, before, after, relation=relation))
        drawn |= _drawn(report, source, target, placed=after)
        taken = {(one.x, one.y) for one in target.objects}
        drawn = {centre: seen for centre, seen in drawn.items() if centre in taken}
    return verdicts


def open_things(source: Scene, target: Scene) -> list[SceneObject]:
    """Return the things of the target whose places a request cannot fix: added and moved ones."""
    gone, new = _difference(source, target)
    freed = {(one.x, one.y) for one in gone}
    return [one for one in new if (one.x, one.y) not in freed]


def _difference(source: Scene, target: Scene) -> tuple[list[SceneObject], list[SceneObject]]:
    """What is only in the source, and what is only in the target."""
    gone = [one for one in source.objects if one not in target.objects]
    return gone, [one for one in target.objects if one not in source.objects]


def _count(scene: Scene, concept: str) -> int:
    return sum(one.concept == concept for one in scene.objects)


def _is_in_style(report: Report, target: Scene) -> bool:
    """Whether all that is seen has the target's style, or is drawn alike in every style."""
    either = {one.concept for one in target.objects if atlas.alike(one.concept, one.colour)}
    return bool(report.findings) and all(
        seen.style == target.style or seen.concept in either for seen in report.findings
    )


def _stands(
    report: Report,
    item: SceneObject,
    *,
    gone: Sequence[SceneObject],
    relation: tuple[str, str] | None,
) -> bool:
    """Whether a new thing is where it may be, in its colour."""
    if any((one.x, one.y) == (item.x, item.y) for one in gone):
        return _coloured(at_place(report, item), item)
    before = [one for one in gone if one.concept == item.concept]
    if before:
        moved = [
            seen
            for seen in report.named(item.concept)
            if _is_in_part(seen, item) and not any(is_near(seen, one) for one in before)
        ]
        return _coloured(moved, item)
    is_placed = relation is None or shows_relation(report, relation[0], (item.concept, relation[1]))
    return is_placed and _coloured(report.named(item.concept), item)


def _coloured(found: Sequence[Finding], item: SceneObject) -> bool:
    """Whether one of the findings has the colour of a thing; any colour where it has none."""
    return any(item.colour in (None, seen.colour) for seen in found)


def _sized(found: Sequence[Finding], item: SceneObject) -> list[Finding]:
    """The findings that have the size of a thing."""
    return [seen for seen in found if nearest_size(seen.size) == item.size]


def _is_inside(seen: Finding, item: SceneObject) -> bool:
    """Whether the centre of a finding lies in the cell of a thing."""
    left, top, right, bottom = item.cell
    return left <= seen.x <= right and top <= seen.y <= bottom


def _is_in_part(seen: Finding, item: SceneObject) -> bool:
    """Whether a finding lies in the named place where a thing is, or close to a thing at none."""
    name = place_of(item)
    if name is None:
        return is_near(seen, item)
    (left, right), (top, bottom) = place_range(name)
    return left - _SLACK <= seen.x <= right + _SLACK and top - _SLACK <= seen.y <= bottom + _SLACK


def _placed(scene: Scene, drawn: Mapping[tuple[int, int], _Drawn]) -> Scene:
    """A scene with things where and as large as they were drawn."""
    objects = [
        replace(one, x=seen.x, y=seen.y, size=seen.size)
        if (seen := drawn.get((one.x, one.y)))
        else one
        for one in scene.objects
    ]
    return replace(scene, objects=tuple(objects))


def _drawn(
    report: Report, source: Scene, target: Scene, *, placed: Scene
) -> dict[tuple[int, int], _Drawn]:
    """What a picture made of the new things of the target; `placed` is the target as drawn."""
    found = {}
    free = open_things(source, target)
    for one, now in zip(target.objects, placed.objects, strict=True):
        if one in source.objects:
            continue
        seen = report.named(one.concept) if one in free else at_place(report, now)
        if seen:
            x, y = (round(seen[0].x), round(seen[0].y)) if one in free else (now.x, now.y)
            found[one.x, one.y] = _Drawn(x, y, nearest_size(seen[0].size))
    return found
