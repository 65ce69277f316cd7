"""The rule of GenEval: does what a detector found satisfy what a prompt asks for?

In: clauses of a record, boxes of a detector, a callable that names colours. Out: a verdict, strict
and graded. It knows no pixels and no model, so that benchmarks, judges and rewards can share it.

Source: arXiv 2310.11513, section 3; repository djghosh13/geneval, `evaluation/evaluate_images.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mogao.errors import DataError, nearest
from mogao.evaluation.providers.base import Detection
from mogao.evaluation.tasks.records import field

Box = tuple[float, float, float, float]
ColourOf = Callable[[Detection], str]
Group = Sequence[Detection]

RELATIONS = ("left of", "right of", "above", "below")
_SHARE = 0.5  # part of the distance that must lie, after the slack, beyond it along an axis
_NOTHING = 1e-3  # offsets below this on both axes name no relation, pixels


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that a prompt asks for, or forbids.

    Attributes:
        name: Class of the thing.
        count: How many of it; where the clause forbids, the number from which on it is wrong.
        colour: Colour that each of them must have.
        position: Relation of each of them to each thing of an earlier clause, and the number of
            that clause.
    """

    name: str
    count: int
    colour: str | None = None
    position: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a picture must and must not show.

    Attributes:
        include: Clauses that must all hold.
        exclude: Clauses none of which may be reached.
        is_counting: Whether only boxes count of which the detector is very sure.
    """

    include: tuple[Clause, ...]
    exclude: tuple[Clause, ...] = ()
    is_counting: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """Numbers of the rule; the defaults are those of the official script.

    Attributes:
        confidence: A box counts above it.
        counting_confidence: The same where things are counted.
        most: Boxes of one class that are kept, the surest first.
        slack: Share of both sizes that two centres must be off before it counts.
    """

    confidence: float = 0.3
    counting_confidence: float = 0.9
    most: int = 16
    slack: float = 0.1


OFFICIAL = Options()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rule says of one picture.

    Attributes:
        right: Whether all clauses hold.
        graded: Share of the clauses that hold, those of `exclude` included. What shows nothing
            breaks no clause of `exclude`, so its floor is their share: one half of a record that
            asks for two cats and forbids three.
        reasons: What is wrong, one line for each clause that fails.
    """

    right: bool
    graded: float
    reasons: list[str]


def read_request(row: Mapping[str, Any], *, where: str) -> Request:
    """Return what a GenEval record asks for.

    Args:
        row: With `tag`, `include` and maybe `exclude`.
        where: File and row, for the message.

    Raises:
        DataError: A field is missing or has another form; a position names an unknown relation or
            a clause that does not come earlier.
    """
    include = field(row, "include", list, where=where)
    exclude = field(row, "exclude", list, where=where) if "exclude" in row else []
    if not include and not exclude:
        raise DataError(f"{where}: 'include' and 'exclude' are both empty; nothing is asked for")
    return Request(
        tuple(_clause(one, i, where=f"{where}: include {i}") for i, one in enumerate(include)),
        tuple(_clause(one, 0, where=f"{where}: exclude {i}") for i, one in enumerate(exclude)),
        is_counting=field(row, "tag", str, where=where) == "counting",
    )


def judge(
    request: Request, found: Sequence[Detection], *, colour: ColourOf, options: Options = OFFICIAL
) -> Verdict:
    """Return whether a picture shows what is asked for.

    For each clause the `count` surest boxes of its class are looked at, no others: are there so
    many, do all have the colour, do all stand in the relation to all boxes of the earlier clause?
    The first fault ends the clause, and a clause that fails is no target for a later one.

    Args:
        request: The clauses.
        found: What the detector saw, in any order.
        colour: Names the colour of a box; asked only where a clause names one and enough boxes
            were found.
        options: Numbers of the rule.
    """
    kept = _kept(request, found, options)
    groups: list[Group | None] = []
    reasons = []
    for clause in request.include:
        group = kept.get(clause.name, [])[: clause.count]
        fault = (
            _count_fault(clause, group)
            or _colour_fault(clause, group, colour)
            or _position_fault(clause, group, groups=groups, slack=options.slack)
        )
        groups.append(None if fault else group)
        reasons += [fault] if fault else []
    for clause in request.exclude:
        number = len(kept.get(clause.name, []))
        if number >= clause.count:
            reasons.append(f"expected fewer than {clause.count} {clause.name}, found {number}")
    num_clauses = len(request.include) + len(request.exclude)
    return Verdict(not reasons, 1 - len(reasons) / num_clauses, reasons)


def relations(one: Box, other: Box, *, slack: float = OFFICIAL.slack) -> set[str]:
    """Return where the first box lies, seen from the second: none, one or two of `RELATIONS`.

    On each axis the offset of the centres is brought towards zero by `slack` times both sizes.
    What is left, divided by the whole distance of the centres, names a relation where it goes
    beyond one half; exactly one half does not.
    """
    first, second = np.array(one).reshape(2, 2), np.array(other).reshape(2, 2)  # corner, axis
    offset = first.mean(0) - second.mean(0)
    sizes = np.abs(first[1] - first[0]) + np.abs(second[1] - second[0])
    clear = np.sign(offset) * np.maximum(np.abs(offset) - slack * sizes, 0)
    if (np.abs(clear) < _NOTHING).all():
        return set()
    right, down = clear / np.linalg.norm(offset)
    shares = zip(RELATIONS, (-right, right, -down, down), strict=True)
    return {name for name, share in shares if share > _SHARE}


def _clause(row: Any, number: int, *, where: str) -> Clause:
    """Read one clause; its position may point at clauses before `number`."""
    count = field(row, "count", int, where=where)
    if count < 1:
        raise DataError(f"{where}: field 'count': expected at least 1, got {count}")
    return Clause(
        field(row, "class", str, where=where),
        count,
        field(row, "color", str, where=where) if "color" in row else None,
        _position(field(row, "position", list, where=where), number, where=where)
        if "position" in row
        else None,
    )


def _position(value: list[Any], number: int, *, where: str) -> tuple[str, int]:
    match value:
        case [str(relation), int(target)]:
            pass
        case _:
            raise DataError(
                f"{where}: field 'position': expected [relation, number of a clause], got {value!r}"
            )
    if relation not in RELATIONS:
        raise DataError(
            f"{where}: field 'position': no relation {relation!r}; {nearest(relation, RELATIONS)}"
        )
    if not 0 <= target < number:
        raise DataError(
            f"{where}: field 'position': clause {target} does not come before clause {number}"
        )
    return relation, target


def _kept(
    request: Request, found: Sequence[Detection], options: Options
) -> dict[str, list[Detection]]:
    """Return the boxes of each class that count, the surest first."""
    least = options.counting_confidence if request.is_counting else options.confidence
    kept: dict[str, list[Detection]] = {}
    for one in sorted(found, key=lambda one: -one.score):
        group = kept.setdefault(one.name, [])
        if one.score > least and len(group) < options.most:
            group.append(one)
    return kept


def _count_fault(clause: Clause, group: Group) -> str:
    if len(group) >= clause.count:
        return ""
    return f"expected {clause.count} {clause.name}, found {len(group)}"


def _colour_fault(clause: Clause, group: Group, colour: ColourOf) -> str:
    if clause.colour is None:
        return ""
    seen = [colour(one) for one in group]
    if all(name == clause.colour for name in seen):
        return ""
    return f"expected {clause.count} {clause.colour} {clause.name}, found {', '.join(seen)}"


def _position_fault(
    clause: Clause, group: Group, *, groups: Sequence[Group | None], slack: float
) -> str:
    if clause.position is None:
        return ""
    relation, number = clause.position
    targets = groups[number]
    if targets is None:
        return f"nothing that {clause.name} could be {relation}"
    for one in group:
        for target in targets:
            seen = relations(one.box, target.box, slack=slack)
            if relation not in seen:
                return (
                    f"expected {clause.name} {relation} {target.name}, "
                    f"found {' and '.join(sorted(seen)) or 'no clear relation'}"
                )
    return ""
