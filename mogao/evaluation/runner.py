"""The two stages of an evaluation: a player fills a folder, a benchmark scores a folder.

In: a benchmark and either a player or a folder that any program filled. Out: `outputs.jsonl` and
`pictures/`, then rows of scores. Making outputs goes on where an interrupted run stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mogao.data.images import save_png
from mogao.errors import DataError
from mogao.evaluation.benchmark import Benchmark, Item, Output, Row
from mogao.evaluation.foreign import find_output
from mogao.evaluation.player import Made, Player
from mogao.evaluation.providers.base import Tools
from mogao.files import append_row, whole_rows

OUTPUTS = "outputs.jsonl"
PICTURES = "pictures"
Show = Callable[[str, int, int], None]
"""Takes what is done, how much of it, and of how much."""


def choose(
    items: Sequence[Item], *, groups: Sequence[str] = (), most: int | None = None
) -> list[Item]:
    """Return the items of some groups, the first few of each; items that make a whole count once.

    Args:
        items: Of one benchmark.
        groups: Names; empty takes all groups.
        most: Most items of a group; None takes all.

    Raises:
        DataError: No item belongs to a group that is named.
    """
    known = dict.fromkeys(item.group for item in items)
    for name in groups:
        if name not in known:
            raise DataError(f"no group {name!r} in the benchmark; known: {', '.join(known)}")
    taken: dict[str, set[str]] = {name: set() for name in known}
    chosen = []
    for item in items:
        wholes, whole = taken[item.group], item.whole or item.id
        if groups and item.group not in groups:
            continue
        if most is None or len(wholes) < most or whole in wholes:
            wholes.add(whole)
            chosen.append(item)
    return chosen


def generate(items: Sequence[Item], player: Player, out: Path, *, show: Show | None = None) -> int:
    """Make all outputs that are not in the folder yet; return how many were made.

    A picture is on the disk before the line that names it.
    """
    out.mkdir(parents=True, exist_ok=True)
    done = {(row["id"], row["k"]) for row in whole_rows(out / OUTPUTS)}
    every = [(item, k) for item in items for k in range(item.num)]
    jobs = [(item, k) for item, k in every if (item.id, k) not in done]
    for number, ((item, k), made) in enumerate(zip(jobs, player.play(jobs), strict=True), 1):
        append_row(out / OUTPUTS, {"id": item.id, "k": k, "parts": _saved(item, k, made, out=out)})
        if show is not None:
            show("made", len(every) - len(jobs) + number, len(every))
    return len(jobs)


def read_outputs(items: Sequence[Item], out: Path) -> dict[str, list[Output]]:
    """Return the outputs that `generate` left in a folder, by item.

    Raises:
        DataError: An output is not there.
    """
    parts = {(row["id"], row["k"]): row["parts"] for row in whole_rows(out / OUTPUTS)}
    wanted = [(item.id, k) for item in items for k in range(item.num)]
    absent = [key for key in wanted if key not in parts]
    if absent:
        raise DataError(
            f"{out / OUTPUTS} lacks {len(absent)} of {len(wanted)} outputs, first number "
            f"{absent[0][1]} of {absent[0][0]!r}: run the stage 'generate' first"
        )
    return {item.id: [_output(parts[item.id, k], out) for k in range(item.num)] for item in items}


def find_outputs(
    benchmark: Benchmark, items: Sequence[Item], folder: Path
) -> dict[str, list[Output]]:
    """Return what any program left in a folder, by item; what is missing is missing.

    Text and pictures together are a Markdown file, see `mogao.evaluation.foreign`.

    Raises:
        DataError: There is none at all, or one cannot be read.
    """
    found = {
        item.id: [
            output
            for k in range(item.num)
            if (places := benchmark.places(item, k))
            and (output := find_output(folder, item, k=k, places=places)) is not None
        ]
        for item in items
    }
    if not any(found.values()):
        example = ", ".join(benchmark.places(items[0], 0)) if items else "none"
        raise DataError(f"{folder} holds nothing for {benchmark.name}; expected, say, {example}")
    return found


def missing(items: Sequence[Item], outputs: Mapping[str, Sequence[Output]]) -> dict[str, int]:
    """Count the items that have no output and so no score, and the outputs that are not there."""
    left = [item.num - len(outputs[item.id]) for item in items]
    nothing = sum(not outputs[item.id] for item in items)
    return {"items": nothing, "of_items": len(items), "outputs": sum(left)}


def score(
    benchmark: Benchmark,
    items: Sequence[Item],
    outputs: dict[str, list[Output]],
    *,
    tools: Tools,
    protocol: str,
    show: Show | None = None,
) -> list[Row]:
    """Apply the rule to all items that have an output."""
    rows = []
    for number, item in enumerate(items, 1):
        if outputs[item.id]:
            rows.append(benchmark.score(item, outputs[item.id], tools=tools, protocol=protocol))
        if show is not None:
            show("scored", number, len(items))
    return rows


def _saved(item: Item, k: int, made: Made, *, out: Path) -> list[dict[str, str]]:
    """Write the pictures of an output; return its parts as JSON values."""
    folder = out / PICTURES / item.id
    parts = []
    for number, part in enumerate(made):
        if isinstance(part, str):
            parts.append({"text": part})
            continue
        name = f"{k}.png" if len(made) == 1 else f"{k}-{number}.png"
        folder.mkdir(parents=True, exist_ok=True)
        save_png(part, folder / name)
        parts.append({"image": f"{PICTURES}/{item.id}/{name}"})
    return parts


def _output(parts: Sequence[dict[str, Any]], out: Path) -> Output:
    return Output(tuple(part["text"] if "text" in part else out / part["image"] for part in parts))
