"""`mogao arena`: two or more systems side by side, without their names.

In: folders that systems filled for the same items, or the votes of raters. Out: a page to vote on
with the key to it; or wins, strengths with intervals, and how much each rater follows the side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

from rich.console import Console

from mogao.commands.output import finish, printable, progress_bar
from mogao.commands.rows import picture_paths, read_rows
from mogao.data.images import read_image
from mogao.errors import ConfigError, DataError
from mogao.evaluation.arena import judge_pairs, make_arena, score_votes
from mogao.evaluation.arena_fit import Share
from mogao.evaluation.arena_votes import ArenaResult, AspectResult
from mogao.evaluation.benchmark import Item
from mogao.evaluation.providers.base import ChatJudge
from mogao.evaluation.registry import open_benchmark
from mogao.evaluation.tasks.records import document
from mogao.provenance import provenance
from mogao.sequence import Pixels

KEY = "key.json"
PAGE = "arena.html"


@dataclass(frozen=True, slots=True)
class Request:
    """What is compared.

    Attributes:
        systems: `NAME=FOLDER` each.
        suite: Benchmark whose items the folders answer; None takes that of their runs.
        prompts: Rows `{"id", "prompt", "images"?}` that they answer instead.
        data: Record file of the benchmark.
        pictures: Folder of the records' pictures.
        options: `KEY=VALUE` each, what else the benchmark takes.
        groups: Only these groups; empty takes all.
        most: Most items of a group.
    """

    systems: Sequence[str]
    suite: str | None = None
    prompts: Path | None = None
    data: Path | None = None
    pictures: Path | None = None
    options: Sequence[str] = ()
    groups: Sequence[str] = ()
    most: int | None = None


def page(request: Request, out: Path, *, repeats: float, seed: int, as_json: bool) -> None:
    """Write the page and its key.

    Raises:
        ConfigError: The request is not whole, or the folder holds a key that votes may need.
        DataError: A folder, a row or an output is missing or broken.
    """
    if (out / KEY).exists():
        raise ConfigError(
            f"{out / KEY} is the key to a page that may be out for votes; choose another --out"
        )
    systems = _systems(request.systems)
    items = _items(request, systems, seed=seed)
    pairs = make_arena(items, systems, out, seed=seed, repeats=repeats)
    facts = {"out": str(out), "systems": list(systems), "items": len(items), "pairs": len(pairs)}
    lines = [
        f"wrote {out / PAGE}: {len(pairs)} pairs of {len(items)} items",
        f"keep {out / KEY} for 'mogao arena fit': raters must not see it",
    ]
    finish(provenance() | facts, lines, as_json=as_json)


def fit(votes: Sequence[Path], key: Path | None, *, seed: int, as_json: bool) -> None:
    """Add the votes of raters up; without a key it is looked for beside the first file.

    Raises:
        DataError: A file is missing or not valid.
    """
    key = key or votes[0].parent / KEY
    if not key.is_file():
        raise DataError(f"no key at {key}: --key names the file that 'mogao arena page' wrote")
    result = score_votes(votes, key, seed=seed)
    facts = {"votes": [str(path) for path in votes], "key": str(key)}
    finish(provenance() | facts | result.to_json(), result_lines(result), as_json=as_json)


def judge(
    request: Request, tools: Sequence[str], *, record: Path | None, seed: int, as_json: bool
) -> None:
    """Let a model vote on each two systems of each item in both orders.

    Args:
        request: What is compared.
        tools: `judge=SPEC`.
        record: File that keeps what the judge said.
        seed: Of the intervals, and of the items where no run says theirs.
        as_json: Print one object instead of lines.

    Raises:
        ConfigError: The request is not whole, or there is no judge.
        DataError: A folder, a row or an output is missing or broken.
        RequestError: The judge cannot be asked.
    """
    from mogao.evaluation.providers.choose import open_tools

    asked: ChatJudge = open_tools(tools, record=record).need("judge")
    systems = _systems(request.systems)
    items = _items(request, systems, seed=seed)
    with progress_bar(Console(stderr=True, quiet=as_json)) as bar:
        task = bar.add_task("replies", total=2 * len(items) * comb(len(systems), 2))
        counted = _Counted(asked, partial(bar.advance, task))
        result = judge_pairs(items, systems, counted, seed=seed)
    facts = {"judge": asked.name, "systems": list(systems), "items": len(items)}
    finish(provenance() | facts | result.to_json(), result_lines(result), as_json=as_json)


def result_lines(result: ArenaResult) -> list[str]:
    """Return an outcome as lines for people: each aspect as a table, then each rater."""
    lines = [line for name, found in result.aspects.items() for line in _table(name, found)]
    for rater, share in result.left_wins.items():
        against = "" if share.p_value is None else f", p = {share.p_value:.3g} against one half"
        lines.append(f"{rater}: left side won {_share(share)} decided votes{against}")
    for rater, share in result.agreement.items():
        lines.append(f"{rater}: same vote with sides swapped in {_share(share)} pairs")
    if result.unread:
        lines.append(f"votes that could not be read: {result.unread}")
    return [printable(line) for line in lines]


class _Counted:
    """A judge that says when it has replied."""

    def __init__(self, asked: ChatJudge, replied: Callable[[], None]) -> None:
        self.name = asked.name
        self._asked = asked
        self._replied = replied

    def ask(self, text: str, *, pictures: Sequence[Pixels] = ()) -> str:
        """As `ChatJudge`."""
        reply = self._asked.ask(text, pictures=pictures)
        self._replied()
        return reply


def _systems(texts: Sequence[str]) -> dict[str, Path]:
    """Read `NAME=FOLDER` arguments."""
    systems: dict[str, Path] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not (name and folder):
            raise ConfigError(f"{text!r} must look like NAME=FOLDER")
        if name in systems:
            raise ConfigError(f"{text!r}: there is a system {name!r} already")
        if not Path(folder).is_dir():
            raise DataError(f"{text!r}: no folder at {folder}")
        systems[name] = Path(folder)
    return systems


def _items(request: Request, systems: Mapping[str, Path], *, seed: int) -> list[Item]:
    """The items that all systems answered."""
    from mogao.commands.evaluate import read_options  # brings torch
    from mogao.evaluation.runner import choose

    paths = {"data": request.data, "images": request.pictures}
    options: dict[str, Any] = {key: path for key, path in paths.items() if path is not None}
    options |= read_options(request.options)
    if request.prompts is not None:
        if request.suite or options:
            raise ConfigError("--prompts says what was asked: leave out --suite and its options")
        items: Sequence[Item] = _items_of_rows(request.prompts)
    else:
        run = _suite(request, systems, seed=seed)
        items = open_benchmark(
            run.suite, run.options | options, defaults={"seed": run.seed}
        ).items()
    return choose(items, groups=request.groups, most=request.most)


def _items_of_rows(path: Path) -> list[Item]:
    rows = read_rows(path, required={"prompt": str}, optional={"images": list})
    return [
        Item(
            row["id"],
            "prompts",
            row["prompt"],
            "document",
            partial(
                document,
                row["prompt"],
                pictures=[partial(read_image, picture) for picture in picture_paths(row, path)],
            ),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    """What was asked of a system: a benchmark, the seed of its items and its options."""

    suite: str
    seed: int
    options: dict[str, str]

    def __str__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"{self.suite}, seed {self.seed}{options}"


def _suite(request: Request, systems: Mapping[str, Path], *, seed: int) -> _Run:
    """The run that all folders share; other programs' folders say nothing of theirs."""
    found = {name: run for name, folder in systems.items() if (run := _run(folder)) is not None}
    first = next(iter(found.values()), None)
    if any(run != first for run in found.values()):
        each = "; ".join(f"{name}: {run}" for name, run in found.items())
        raise ConfigError(f"an arena needs runs of the same items, got {each}")
    if first is None:
        if request.suite is None:
            raise ConfigError("no folder says what was asked: name it with --suite or --prompts")
        return _Run(request.suite, seed, {})
    if request.suite not in (None, first.suite):
        raise ConfigError(f"--suite {request.suite}: the folders hold runs of {first.suite}")
    return first


def _run(folder: Path) -> _Run | None:
    """The run of `mogao eval` that filled a folder; None for other programs."""
    path = folder / "settings.json"
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if "suite" not in settings:
            return None
        return _Run(settings["suite"], int(settings["seed"]), dict(settings.get("options", {})))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no settings of a run: {error!r}") from None


def _table(aspect: str, found: AspectResult) -> list[str]:
    """The outcome for one aspect, the strongest system first."""
    strongest = sorted(found.strengths.items(), key=lambda one: -one[1].value)
    width = max(len(name) for name in ("system", *found.strengths))
    lines = [aspect, f"  {'system':{width}}  strength  95 % interval     items"]
    for name, score in strongest:
        interval = f"[{score.low:+.2f}, {score.high:+.2f}]"
        lines.append(f"  {name:{width}}  {score.value:+8.2f}  {interval:16}  {score.n:5}")
    lines += [
        f"  {one.first} against {one.second}: {one.wins} won, {one.ties} equal, {one.losses} lost"
        for one in found.tallies
    ]
    return lines


def _share(share: Share) -> str:
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {share.n}"
