"""`mogao eval`: a benchmark in two stages, with a folder between them.

In: the name of a benchmark, and a model or a folder that any program filled. Out: `outputs.jsonl`
and `pictures/` of the first stage; `summary.json`, `items.jsonl` and `report.html` of the second.
A collection does the same in one folder each, with an overview above them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from mogao.commands.output import finish, progress_bar
from mogao.commands.support import Context, open_context
from mogao.errors import ConfigError
from mogao.evaluation import runner
from mogao.evaluation.benchmark import Benchmark, Item, Output
from mogao.evaluation.controls import Perfect, Shuffled
from mogao.evaluation.player import Player, SessionPlayer, round_trip
from mogao.evaluation.providers.choose import open_tools
from mogao.evaluation.registry import COLLECTIONS, open_benchmark, protocol_of
from mogao.evaluation.results import Summary, score_line, write_overview, write_results
from mogao.provenance import compare_settings, keep_settings, kept_settings

__all__ = ["Request", "model_of", "open_context", "read_options", "run"]

STAGES = ("all", "generate", "score")
CONTROLS = ("perfect", "shuffled")
REPLIES = "replies.jsonl"
"""What tools said that are asked over a network or are slow, unless the user names a file."""
_HASHED = (".json", ".jsonl", ".tsv", ".csv", ".txt")
"""Files of a folder of records whose content counts; of all others the size does."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be evaluated.

    Attributes:
        suite: Name of the benchmark, or of a collection of them.
        out: Folder of the results.
        stage: `generate` makes outputs, `score` scores those that are there, `all` does both.
        options: Of the benchmark: its record file and so on.
        images: Folder that another program filled; None where a model makes the outputs.
        control: One of `CONTROLS`: who answers in place of the model, in suites of the world.
        groups: Only these groups; empty takes all.
        most: Most items of a group.
        protocol: How to score; None takes the usual way.
        tools: `KIND=SPEC` each.
        record: File that keeps what the tools said; None takes `REPLIES` in the folder.
    """

    suite: str
    out: Path
    stage: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)
    images: Path | None = None
    control: str | None = None
    groups: Sequence[str] = ()
    most: int | None = None
    protocol: str | None = None
    tools: Sequence[str] = ()
    record: Path | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What is to be printed of one benchmark: JSON values, lines for people; its scores."""

    facts: dict[str, Any]
    lines: list[str]
    summary: Summary | None = None


def read_options(texts: Sequence[str]) -> dict[str, str]:
    """Read `KEY=VALUE` options of a benchmark.

    Raises:
        ConfigError: One has another form.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, value) in zip(texts, pairs, strict=True):
        if not (key and equals and value):
            raise ConfigError(f"--option {text!r} must look like KEY=VALUE")
    return {key: value for key, _, value in pairs}


def model_of(request: Request) -> str:
    """Return the model whose outputs lie in the folder of a request, else the built-in one."""
    first = COLLECTIONS.get(request.suite, ("",))[0]
    return str((kept_settings(request.out / first) or {}).get("model", "nano"))


def run(request: Request, context: Context | None, *, seed: int, as_json: bool) -> None:
    """Make outputs, score them, or both; a collection goes through its benchmarks.

    Raises:
        ConfigError: The stage or control is unknown, `--images` stands beside a stage that draws
            or a control, or a collection is asked for a group or a protocol.
    """
    _check(request)
    if request.suite not in COLLECTIONS:
        found = _evaluate(request, context, seed=seed, quiet=as_json)
        finish(found.facts, found.lines, as_json=as_json)
        return
    each = [
        _evaluate(
            replace(request, suite=name, out=request.out / name), context, seed=seed, quiet=as_json
        )
        for name in COLLECTIONS[request.suite]
    ]
    facts: dict[str, Any] = {"suite": request.suite, "suites": [found.facts for found in each]}
    lines = [line for found in each for line in found.lines]
    summaries = [found.summary for found in each if found.summary is not None]
    if summaries:
        facts = write_overview(request.suite, summaries, request.out)
        lines.append(f"wrote {request.out / 'report.html'}")
    finish(facts, lines, as_json=as_json)


def _check(request: Request) -> None:
    if request.stage not in STAGES:
        raise ConfigError(f"--stage {request.stage!r}: expected one of {', '.join(STAGES)}")
    if request.control not in (None, *CONTROLS):
        raise ConfigError(f"--control {request.control!r}: expected one of {', '.join(CONTROLS)}")
    if request.images is not None and request.stage == "generate":
        raise ConfigError("--images names finished pictures: there is nothing to generate")
    if request.images is not None and request.control is not None:
        raise ConfigError("--images names finished pictures: a control cannot answer as well")
    if request.suite in COLLECTIONS and (request.groups or request.protocol or request.images):
        raise ConfigError(
            f"{request.suite} is a collection: --group, --protocol and --images belong to one of "
            f"{', '.join(COLLECTIONS[request.suite])}"
        )


def _evaluate(request: Request, context: Context | None, *, seed: int, quiet: bool) -> _Found:
    """Go through the stages of one benchmark."""
    defaults: dict[str, Any] = {"seed": seed}
    if context is not None:
        defaults["round_trip"] = partial(round_trip, context.model.parts.autoencoder)
    benchmark = open_benchmark(request.suite, request.options, defaults=defaults)
    protocol = protocol_of(benchmark, request.protocol)
    items = runner.choose(benchmark.items(), groups=request.groups, most=request.most)
    tools = open_tools(request.tools, record=_record(request))
    settings = _settings(request, context, seed=seed)
    with _progress(quiet=quiet) as show:
        if context is not None and request.stage != "score":
            keep_settings(request.out, settings)
            player = _player(request.control, context, items, seed=seed)
            made = runner.generate(items, player, request.out, show=show)
            if request.stage == "generate":
                facts = {"out": str(request.out), "items": len(items), "made_now": made}
                lines = [f"{made} outputs made: {request.out}"]
                return _Found(context.provenance() | facts, lines)
        outputs = _outputs(benchmark, items, request)
        rows = runner.score(benchmark, items, outputs, tools=tools, protocol=protocol, show=show)
    summary = Summary(
        benchmark.name,
        protocol,
        model=request.control or settings["model"],
        weights=settings["weights"],
        seed=seed,
        scores=benchmark.table(rows, protocol=protocol),
        tools=tools.names | getattr(benchmark, "judges", {}),
        files=_files(request.options),
        options=_texts(request.options),
        asked={"groups": list(request.groups), "num_per_group": request.most},
        missing=runner.missing(items, outputs),
        failures=Counter(failure for row in rows for failure in row.failures),
        dtype=settings["dtype"],
    )
    facts = write_results(summary, rows, request.out, items=items, outputs=outputs)
    lines = [score_line(name, score) for name, score in summary.scores.items()]
    lines += [line for line in [summary.missing_line] if line]
    return _Found(facts, [*lines, f"wrote {request.out / 'report.html'}"], summary)


def _settings(request: Request, context: Context | None, *, seed: int) -> dict[str, Any]:
    """What decides the outputs; where they are only scored, that of the run that made them.

    Raises:
        ConfigError: The folder was filled with other settings.
    """
    asked = {
        "suite": request.suite,
        "control": request.control,
        # A judge and what it is told have no part in what is made.
        "options": {k: v for k, v in _texts(request.options).items() if k != "judge"},
        "files": {k: v for k, v in _files(request.options).items() if k != "templates"},
    }
    if context is None:
        return {"model": str(request.images), "weights": None, "dtype": None} | asked
    before = kept_settings(request.out) if request.stage == "score" else None
    if before is None:
        return context.settings() | asked
    compare_settings(request.out, before, {"model": context.name, "seed": seed} | asked)
    return context.settings() | asked | before


def _record(request: Request) -> Path | None:
    """The file that keeps what tools say: that of the user, or one where an answer costs much."""
    specs = [spec.partition("=")[2] for spec in request.tools]
    costs = any(spec.startswith(("endpoint:", "local:")) for spec in specs)
    return request.record or (request.out / REPLIES if costs else None)


def _player(control: str | None, context: Context, items: Sequence[Item], *, seed: int) -> Player:
    """Who takes the items: the model, or a control whose pictures pass the model's autoencoder."""
    passed = partial(round_trip, context.model.parts.autoencoder)
    if control == "perfect":
        return Perfect(round_trip=passed)
    if control == "shuffled":
        return Shuffled(items, seed=seed, round_trip=passed)
    return SessionPlayer(context.model, generation=context.generation, seed=seed)


def _outputs(
    benchmark: Benchmark, items: Sequence[Item], request: Request
) -> dict[str, list[Output]]:
    if request.images is not None:
        return runner.find_outputs(benchmark, items, request.images)
    return runner.read_outputs(items, request.out)


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    """The options that are no files."""
    return {name: value for name, value in options.items() if isinstance(value, str)}


def _files(options: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The options that are files, each by name and hash."""
    return {name: _identity(path) for name, path in options.items() if isinstance(path, Path)}


def _identity(path: Path) -> dict[str, str]:
    """Name and hash of a file, or of the texts of a folder with the sizes of all else in it."""
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
            if file.suffix in _HASHED:
                digest.update(file.read_bytes())
    return {"name": path.name, "sha256": digest.hexdigest()}


@contextmanager
def _progress(*, quiet: bool) -> Iterator[runner.Show]:
    """Show a bar for each stage on standard error."""
    with progress_bar(Console(stderr=True, quiet=quiet)) as progress:
        bars: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done)

        yield show
