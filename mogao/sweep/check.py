"""What a sweep evaluates, opened before anything is trained.

In: evaluations of a sweep. Out: their benchmarks, or what is wrong with one: a missing record file
or picture, a tool that cannot be opened, a tool that the rule asks for and nobody named.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mogao import config as configs
from mogao.config import EvaluationConfig, GenerationConfig
from mogao.errors import ConfigError, DataError
from mogao.evaluation import runner
from mogao.evaluation.benchmark import Benchmark, Item, Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.providers.choose import open_tools
from mogao.evaluation.registry import COLLECTIONS, open_benchmark, protocol_of

_PATHS = ("data", "images", "templates")


def options_of(one: EvaluationConfig) -> dict[str, Any]:
    """Return options as `mogao eval` passes them on: texts, but for the paths of record files."""
    return {
        name: Path(str(value)) if name in _PATHS else str(value)
        for name, value in one.options.items()
    }


def record_of(one: EvaluationConfig) -> Path | None:
    """Return the file that keeps what the tools said."""
    return None if one.record is None else Path(one.record)


def open_benchmarks(one: EvaluationConfig) -> list[Benchmark]:
    """Return the benchmark of an evaluation, or those of a collection.

    Raises:
        ConfigError: A benchmark is unknown, or an option missing or not known.
    """
    suites = COLLECTIONS.get(one.suite, (one.suite,))
    return [open_benchmark(name, options_of(one), defaults={"seed": one.seed}) for name in suites]


def check_evaluations(evaluations: Sequence[EvaluationConfig], *, where: str) -> None:
    """Find now what would be found after the first training.

    Args:
        evaluations: Of one sweep.
        where: What messages begin with.

    Raises:
        ConfigError: A setting, benchmark, option, protocol or tool is not valid, a tool is missing,
            or two evaluations hold one benchmark.
        DataError: Records or pictures cannot be read, or there is no group of a name.
        RequestError: A file of recorded answers is missing.
    """
    opened: dict[str, str] = {}
    for one in evaluations:
        for benchmark in _check(one, where=f"{where}: evaluate {one.suite}"):
            if benchmark.name in opened:
                raise ConfigError(
                    f"{where}: evaluate {opened[benchmark.name]} and {one.suite} both hold "
                    f"{benchmark.name}: one would replace the other"
                )
            opened[benchmark.name] = one.suite


def _check(one: EvaluationConfig, *, where: str) -> list[Benchmark]:
    changed = configs.override(GenerationConfig().model_dump(mode="json"), one.settings)
    configs.parse(GenerationConfig, changed, where=where)
    if one.suite in COLLECTIONS and (one.groups or one.protocol):
        raise ConfigError(
            f"{where} is a collection: groups and protocol belong to one of its benchmarks"
        )
    benchmarks = open_benchmarks(one)
    tools = open_tools(one.tools, record=record_of(one))
    for benchmark in benchmarks:
        protocol = protocol_of(benchmark, one.protocol)
        if one.groups or "data" in one.options:
            items = runner.choose(benchmark.items(), groups=one.groups, most=1)
            try:
                _check_tools(benchmark, items, tools, protocol=protocol)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}; in a sweep it stands under tools") from None
    return benchmarks


class _AskedError(Exception):
    """A tool that is there was asked."""


class _Silent:
    """Stands for a tool of any kind that is there, so that nobody is asked anything yet."""

    name = "silent"

    def _asked(self, *_: Any, **__: Any) -> Any:
        raise _AskedError

    detect = colour = answer = yes_no_probabilities = ask = embed = read = _asked


def _check_tools(
    benchmark: Benchmark, items: Sequence[Item], tools: Tools, *, protocol: str
) -> None:
    """Score empty answers, one of each group: the rule says which tool it lacks."""
    named: dict[str, Any] = {kind: _Silent() for kind in tools.names}
    if "embedders" in named:
        named["embedders"] = (_Silent(),)
    for item in items:
        item.given()
        empty = Output(("",) * (1 + len(item.turns)))
        with suppress(_AskedError, DataError):
            benchmark.score(item, [empty], tools=Tools(**named), protocol=protocol)
