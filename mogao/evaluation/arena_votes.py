"""Votes of an arena: the pairs, the files they are kept in, and what they add up to.

In: pairs and votes, or `key.json` and CSV files. Out: an `ArenaResult`. Repeated pairs count for
the agreement of a rater with itself only.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mogao.errors import ConfigError, DataError
from mogao.evaluation.arena_fit import Share, strengths_with_intervals
from mogao.evaluation.scores import Score

OVERALL = "overall"
ASPECTS = ("text quality", "picture quality", "consistency", "instruction following", OVERALL)
"""What is compared; the bias to a side and the agreement of raters are those of the last."""

SIDES = ("left", "tie", "right")
_COLUMNS = ["rater", "pair", *ASPECTS]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two outputs side by side.

    Attributes:
        id: Name on the page.
        item: Id of the item.
        left: System whose output stands left, or is shown to a judge first.
        right: The other system.
        repeats: Id of the pair that this one repeats with sides swapped; empty for none.
    """

    id: str
    item: str
    left: str
    right: str
    repeats: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """How often the first of two systems won, tied and lost."""

    first: str
    second: str
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class AspectResult:
    """The outcome for one aspect.

    Attributes:
        tallies: One for each two systems that were compared.
        strengths: Bradley-Terry strength of each system, natural logarithm, mean 0.
    """

    tallies: tuple[Tally, ...]
    strengths: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class ArenaResult:
    """What votes say.

    Attributes:
        aspects: Outcome of each aspect that somebody voted on.
        left_wins: Share of wins of the left side among decided overall votes, for each rater; the
            sides are random, so an unbiased rater comes near one half.
        agreement: Share of repeated pairs, for each rater, with the same overall winner.
        unread: Votes that could not be read from a judge's reply.
    """

    aspects: Mapping[str, AspectResult]
    left_wins: Mapping[str, Share]
    agreement: Mapping[str, Share]
    unread: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data for result files."""
        return {
            "aspects": {
                aspect: {
                    "tallies": [asdict(tally) for tally in found.tallies],
                    "strengths": {name: one.to_json() for name, one in found.strengths.items()},
                }
                for aspect, found in self.aspects.items()
            },
            "left_wins": {rater: share.to_json() for rater, share in self.left_wins.items()},
            "agreement": {rater: share.to_json() for rater, share in self.agreement.items()},
            "unread": self.unread,
        }


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote of one rater on one aspect of a pair: "left", "tie" or "right"."""

    rater: str
    pair: Pair
    aspect: str
    choice: str

    @property
    def winner(self) -> str:
        """The better system; empty for a tie."""
        return {"left": self.pair.left, "right": self.pair.right}.get(self.choice, "")


def check_arena(items: Sequence[Any], systems: Sequence[str]) -> None:
    """Refuse an arena with nothing to compare.

    Raises:
        ConfigError: There are fewer than two systems, or no items.
    """
    if len(systems) < 2 or not items:
        raise ConfigError(
            f"an arena needs two systems and an item, got {len(systems)} and {len(items)}"
        )


def plan_pairs(
    items: Sequence[str], systems: Sequence[str], *, seed: int = 0, repeats: float = 0.1
) -> list[Pair]:
    """Decide which pairs are shown, where, and which of them twice.

    Raises:
        ConfigError: There are fewer than two systems, or no items.
    """
    check_arena(items, systems)
    rng = np.random.default_rng(seed)
    shown = [(item, *two) for item in items for two in combinations(systems, 2)]
    swapped = rng.random(len(shown)) < 0.5
    again = rng.choice(len(shown), round(repeats * len(shown)), replace=False)
    places = rng.permutation(len(shown) + len(again)) + 1
    names = [f"p{place:0{len(str(len(places)))}d}" for place in places]
    pairs = [
        Pair(name, item, b, a) if swap else Pair(name, item, a, b)
        for name, (item, a, b), swap in zip(names, shown, swapped, strict=False)
    ]
    for name, first in zip(names[len(shown) :], [pairs[k] for k in again], strict=True):
        pairs.append(Pair(name, first.item, first.right, first.left, repeats=first.id))
    return sorted(pairs, key=lambda pair: pair.id)


def add_up(
    counted: Sequence[Ballot],
    systems: Sequence[str],
    *,
    seen: Iterable[Ballot],
    twice: Iterable[tuple[Ballot, Ballot]],
    unread: int = 0,
    seed: int = 0,
) -> ArenaResult:
    """Turn votes into a result.

    Args:
        counted: Votes that count for or against a system.
        systems: Names of all systems.
        seen: Votes whose side says something about the rater.
        twice: Votes on the same two outputs with sides swapped.
        unread: Votes that could not be read.
        seed: Of the intervals.
    """
    aspects = {
        aspect: _aspect([one for one in counted if one.aspect == aspect], systems, seed=seed)
        for aspect in ASPECTS
        if any(one.aspect == aspect for one in counted)
    }
    decided = [(one.rater, one.choice == "left") for one in seen if _is_decided(one)]
    same = [
        (one.rater, one.winner == other.winner) for one, other in twice if one.aspect == OVERALL
    ]
    return ArenaResult(
        aspects,
        _shares(decided, against_half=True),
        _shares(same, against_half=False),
        unread,
    )


def read_key(path: Path) -> tuple[list[str], dict[str, Pair]]:
    """Read the systems, and the pairs by name, from a `key.json`.

    Raises:
        DataError: It cannot be read or is none.
    """
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        pairs = {row["id"]: Pair(**row) for row in key["pairs"]}
        return [str(name) for name in key["systems"]], pairs
    except OSError as error:
        raise DataError(f"cannot read the key {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no key of an arena: {error!r}") from None


def read_votes(path: Path, pairs: Mapping[str, Pair]) -> Iterator[Ballot]:
    """Read the votes that a page wrote; an empty cell is no vote.

    Raises:
        DataError: The file cannot be read, or a line is not valid; file and line are named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read votes {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"votes {path} are not UTF-8 text: {error.reason}") from None
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = next(reader, [])
        if header != _COLUMNS:
            raise DataError(f"{path}, line 1: the columns are {header}, expected {_COLUMNS}")
        seen: set[tuple[str, str]] = set()
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            yield from _ballots(row, pairs, where=where)
            if (row[0], row[1]) in seen:
                raise DataError(f"{where}: rater {row[0]!r} voted on {row[1]} before")
            seen.add((row[0], row[1]))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV: {error}") from None


def _ballots(row: Sequence[str], pairs: Mapping[str, Pair], *, where: str) -> Iterator[Ballot]:
    """The votes of one line."""
    if len(row) != len(_COLUMNS):
        raise DataError(f"{where}: {len(row)} fields, expected {len(_COLUMNS)}")
    rater, name, *choices = row
    if not rater:
        raise DataError(f"{where}: column 'rater' is empty")
    if name not in pairs:
        raise DataError(f"{where}: column 'pair': {name!r} is not in the key; is it of this arena?")
    for aspect, choice in zip(ASPECTS, choices, strict=True):
        if choice and choice not in SIDES:
            raise DataError(
                f"{where}: column {aspect!r}: {choice!r}, expected one of {', '.join(SIDES)}"
            )
        if choice:
            yield Ballot(rater, pairs[name], aspect, choice)


def _aspect(ballots: Sequence[Ballot], systems: Sequence[str], *, seed: int) -> AspectResult:
    """Count the votes of one aspect."""
    items = {name: k for k, name in enumerate(dict.fromkeys(one.pair.item for one in ballots))}
    places = {name: k for k, name in enumerate(systems)}
    wins = np.zeros((len(items), len(systems), len(systems)))
    ties = np.zeros((len(systems), len(systems)), int)
    for one in ballots:
        item, left, right = (
            items[one.pair.item], places[one.pair.left], places[one.pair.right],
        )  # fmt: skip
        share = 1 - SIDES.index(one.choice) / 2
        wins[item, left, right] += share
        wins[item, right, left] += 1 - share
        ties[left, right] += one.choice == "tie"
    total, ties = wins.sum(0), ties + ties.T
    tallies = [
        Tally(
            systems[a], systems[b],
            wins=round(total[a, b] - ties[a, b] / 2),
            ties=int(ties[a, b]),
            losses=round(total[b, a] - ties[a, b] / 2),
        )
        for a, b in combinations(range(len(systems)), 2)
        if total[a, b] + total[b, a]
    ]  # fmt: skip
    strengths = strengths_with_intervals(wins, seed=seed)
    return AspectResult(tuple(tallies), dict(zip(systems, strengths, strict=True)))


def _is_decided(ballot: Ballot) -> bool:
    return ballot.aspect == OVERALL and ballot.choice != "tie"


def _shares(facts: Iterable[tuple[str, bool]], *, against_half: bool) -> dict[str, Share]:
    """The share of true facts of each rater."""
    by_rater: dict[str, list[bool]] = {}
    for rater, fact in facts:
        by_rater.setdefault(rater, []).append(fact)
    return {
        rater: Share.of(sum(found), len(found), against_half=against_half)
        for rater, found in by_rater.items()
    }
