"""A blind comparison of systems by pairs: a page for people, the same for a judge, the result.

In: items, and a folder of outputs per system. Out: `arena.html` for raters with `key.json`; from
votes the wins, ties and losses of each aspect, Bradley-Terry strengths with intervals over items,
how often the left side won, and how often a rater says the same with the sides swapped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

from mogao.data.images import read_image
from mogao.errors import DataError
from mogao.evaluation.arena_page import Panel, Part, arena_page
from mogao.evaluation.arena_votes import (
    ASPECTS,
    ArenaResult,
    Ballot,
    Pair,
    add_up,
    check_arena,
    plan_pairs,
    read_key,
    read_votes,
)
from mogao.evaluation.benchmark import Item, Output, picture_places
from mogao.evaluation.foreign import find_output
from mogao.evaluation.providers.base import ChatJudge
from mogao.files import write_folder
from mogao.sequence import Pixels

_QUESTION = """Two systems, 1 and 2, were given the same task. Compare what they made of it.

Task:
{task}

What system 1 made:
{first}

What system 2 made:
{second}

Say for each aspect which system did better: 1, 2 or tie. Which one comes first means nothing. End
with these lines, and one of the three words in each:
{lines}"""
_WORDS = {"1": "left", "2": "right", "tie": "tie"}


def make_arena(
    items: Sequence[Item],
    outputs_by_system: Mapping[str, Path],
    out: str | Path,
    *,
    seed: int = 0,
    repeats: float = 0.1,
) -> list[Pair]:
    """Write `arena.html` for the raters and `key.json` for the one who counts.

    Each item shows each two systems once, in random order and on random sides.

    Args:
        items: What was asked.
        outputs_by_system: Name of each system and its folder, read by `open_outputs`.
        out: Folder, made when missing.
        seed: Of sides, order and repeated pairs.
        repeats: Share of pairs that come a second time with sides swapped.

    Returns:
        The pairs, in the order of the page.

    Raises:
        ConfigError: There are fewer than two systems, or no items.
        DataError: An output is missing or cannot be read.
        RequestError: A picture cannot be read.
    """
    pairs = plan_pairs(
        [item.id for item in items], list(outputs_by_system), seed=seed, repeats=repeats
    )
    tasks = {item.id: _task(item) for item in items}
    made = {
        (item, name): _shown(output)
        for name, folder in outputs_by_system.items()
        for item, output in open_outputs(folder, items).items()
    }
    panels = [
        Panel(pair.id, tasks[pair.item], made[pair.item, pair.left], made[pair.item, pair.right])
        for pair in pairs
    ]
    key = {"systems": list(outputs_by_system), "seed": seed, "pairs": list(map(asdict, pairs))}
    files = {
        "key.json": (json.dumps(key, indent=1) + "\n").encode(),
        "arena.html": arena_page(panels, aspects=ASPECTS).encode(),
    }
    write_folder(out, files)
    return pairs


def score_votes(votes_csv: Path | Sequence[Path], key: str | Path, *, seed: int = 0) -> ArenaResult:
    """Add the votes of people up.

    Args:
        votes_csv: The file of a rater, or those of several.
        key: `key.json` of the arena.
        seed: Of the intervals.

    Raises:
        DataError: A file cannot be read, a line is not valid, a rater comes twice, or nobody voted.
    """
    systems, pairs = read_key(Path(key))
    files = [votes_csv] if isinstance(votes_csv, Path) else votes_csv
    ballots: dict[tuple[str, str, str], Ballot] = {}
    for path in files:
        for one in list(read_votes(path, pairs)):
            place = one.rater, one.pair.id, one.aspect
            if place in ballots:
                raise DataError(f"{path}: rater {one.rater!r} voted on {one.pair.id} elsewhere too")
            ballots[place] = one
    if not ballots:
        raise DataError(f"there are no votes in {', '.join(map(str, files)) or 'no files'}")
    first = [one for one in ballots.values() if not one.pair.repeats]
    twice = [
        (ballots[rater, one.pair.repeats, aspect], one)
        for (rater, _, aspect), one in ballots.items()
        if (rater, one.pair.repeats, aspect) in ballots
    ]
    return add_up(first, systems, seen=first, twice=twice, seed=seed)


def judge_pairs(
    items: Sequence[Item],
    outputs_by_system: Mapping[str, Path],
    judge: ChatJudge,
    *,
    seed: int = 0,
) -> ArenaResult:
    """Let a judge vote on each two systems of each item in both orders.

    Where the orders disagree the vote is a tie; `agreement` says how often they do not. A vote that
    cannot be read from one of the two replies is left out and counted in `unread`.

    Args:
        items: What was asked.
        outputs_by_system: Name of each system and its folder, read by `open_outputs`.
        judge: Who votes.
        seed: Of the intervals.

    Raises:
        ConfigError: There are fewer than two systems, or no items.
        DataError: An output is missing or cannot be read.
        RequestError: A picture cannot be read, or the judge cannot be asked.
    """
    systems = list(outputs_by_system)
    check_arena(items, systems)
    found = {name: open_outputs(folder, items) for name, folder in outputs_by_system.items()}
    twice: list[tuple[Ballot, Ballot]] = []
    unread = 0
    for item in items:
        task = _task(item)
        made = {name: _shown(found[name][item.id]) for name in systems}
        for one, other in combinations(systems, 2):
            pair = Pair(f"{item.id} {one} {other}", item.id, one, other)
            back = Pair(f"{item.id} {other} {one}", item.id, other, one, repeats=pair.id)
            there, again = (_ask(judge, task, (made[p.left], made[p.right])) for p in (pair, back))
            both = [aspect for aspect in ASPECTS if aspect in there and aspect in again]
            unread += len(ASPECTS) - len(both)
            twice += [
                (
                    Ballot(judge.name, pair, aspect, there[aspect]),
                    Ballot(judge.name, back, aspect, again[aspect]),
                )
                for aspect in both
            ]
    merged = [
        first if first.winner == second.winner else replace(first, choice="tie")
        for first, second in twice
    ]
    seen = [ballot for orders in twice for ballot in orders]
    return add_up(merged, systems, seen=seen, twice=twice, unread=unread, seed=seed)


def parse_votes(reply: str) -> dict[str, str]:
    """Read "left" for system 1, "right" for 2 and "tie" per aspect; the last line of each counts.

    What cannot be read is left out.
    """
    found: dict[str, str] = {}
    for aspect in ASPECTS:
        line = rf"^\W*{aspect}[^\w\n]+(?:system[^\w\n]+)?(1|2|tie)\b[^\w\n]*$"
        words = re.findall(line, reply, flags=re.IGNORECASE | re.MULTILINE)
        if words:
            found[aspect] = _WORDS[words[-1].lower()]
    return found


def open_outputs(folder: str | Path, items: Sequence[Item]) -> dict[str, Output]:
    """Find what a system made of each item, in a folder of `mogao eval` or of another program.

    Without `outputs.jsonl` the output of an item is, first found: `ID/index.md` or `ID.md` with its
    pictures (what is quoted was given and is left out), `ID.txt`, or a picture where
    `mogao sample` and most programs put it. Where several were made the first one counts.

    Raises:
        DataError: An item has none, or a document cannot be read or shows nothing.
    """
    from mogao.evaluation.runner import OUTPUTS, read_outputs  # brings torch

    folder = Path(folder)
    if (folder / OUTPUTS).is_file():
        return {name: made[0] for name, made in read_outputs(items, folder).items()}
    return {item.id: _foreign_output(folder, item) for item in items}


def _foreign_output(folder: Path, item: Item) -> Output:
    """What another program made of an item."""
    places = [f"{item.id}.txt", *picture_places(item, 0)]
    output = find_output(folder, item, places=places)
    if output is None:
        expected = folder / item.id / "index.md"
        raise DataError(f"{folder} holds nothing for {item.id!r}; expected, say, {expected}")
    return output


def _task(item: Item) -> list[Part]:
    """What an item gives: its prompt and its pictures."""
    return [item.prompt, *(image.pixels for image in item.given().images)]


def _shown(output: Output) -> list[Part]:
    return [part if isinstance(part, str) else read_image(part) for part in output.parts]


def _ask(
    judge: ChatJudge, task: Sequence[Part], sides: tuple[Sequence[Part], Sequence[Part]]
) -> dict[str, str]:
    """The judge's votes on one order; pictures are numbered through."""
    pictures: list[Pixels] = []

    def laid_out(parts: Sequence[Part]) -> str:
        lines = []
        for part in parts:
            if isinstance(part, str):
                lines.append(part)
            else:
                pictures.append(part)
                lines.append(f"[picture {len(pictures)}]")
        return "\n".join(lines)

    question = _QUESTION.format(
        task=laid_out(task),
        first=laid_out(sides[0]),
        second=laid_out(sides[1]),
        lines="\n".join(f"{aspect}: 1, 2 or tie" for aspect in ASPECTS),
    )
    return parse_votes(judge.ask(question, pictures=pictures))
