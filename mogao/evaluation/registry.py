"""All benchmarks by the name that the command line takes.

In: a name and options. Out: a benchmark. Modules are imported when their benchmark is asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mogao.errors import ConfigError, nearest
from mogao.evaluation.benchmark import Benchmark

_TASKS = "mogao.evaluation.tasks"
BENCHMARKS = {
    "nano": "world.nano:NanoSuite",
    "world_geneval": "world.drawing:WorldGenEval",
    "world_dense": "world.dense:WorldDense",
    "world_questions": "world.questions:WorldQuestions",
    "world_captions": "world.captions:WorldCaptions",
    "world_edits": "world.editing:WorldEdits",
    "world_turns": "world.turns:WorldTurns",
    "world_stories": "world.stories:WorldStories",
    "world_round_trip": "world.round_trip:WorldRoundTrip",
    "world_repetition": "world.repetition:WorldRepetition",
    "geneval": "geneval:GenEval",
    "dpg": "dpg:DPGBench",
    "genai_bench": "genai_bench:GenAIBench",
    "compbench": "compbench:CompBench",
    "wise": "wise:Wise",
    "imgedit": "imgedit:ImgEdit",
    "imgedit_uge": "imgedit:ImgEditUge",
    "gedit": "gedit:GEdit",
    "kris": "kris:Kris",
    "envision": "envision:Envision",
    "interleaved": "interleaved:Interleaved",
    "unified_bench": "unified_bench:UnifiedBench",
    "pope": "pope:Pope",
    "mme": "mme:Mme",
    "mmbench": "mmbench:MmBench",
    "seed_bench": "seed_bench:SeedBench",
    "mmmu": "mmmu:Mmmu",
    "gqa": "gqa:Gqa",
    "mm_vet": "mm_vet:MmVet",
}
"""Name to module and class below `mogao.evaluation.tasks`."""
COLLECTIONS = {"world": tuple(name for name in BENCHMARKS if name.startswith("world_"))}
"""Name to the benchmarks that it stands for."""


def open_benchmark(
    name: str, options: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> Benchmark:
    """Return a benchmark.

    Args:
        name: Of `BENCHMARKS`.
        options: What the user gave, such as `data`, by the names of the constructor.
        defaults: What is passed on only to benchmarks that take it.

    Raises:
        ConfigError: No benchmark has the name, or it needs an option that is missing, or knows
            nothing of one that is given.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark {name!r}; {nearest(name, [*BENCHMARKS, *COLLECTIONS])}")
    module, _, attribute = BENCHMARKS[name].partition(":")
    make = getattr(import_module(f"{_TASKS}.{module}"), attribute)
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            raise ConfigError(f"{name} takes no {_flag(option)}; it takes {_flags(known)}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise ConfigError(f"{name} needs {_flag(option)}")
    taken = {key: value for key, value in (defaults or {}).items() if key in known}
    benchmark: Benchmark = make(**(taken | dict(options)))
    return benchmark


def protocol_of(benchmark: Benchmark, name: str | None) -> str:
    """Return a protocol of a benchmark, the usual one for None.

    Raises:
        ConfigError: It has no protocol of this name.
    """
    if name is None:
        return benchmark.protocols[0]
    if name not in benchmark.protocols:
        hint = nearest(name, benchmark.protocols)
        raise ConfigError(f"{benchmark.name} has no protocol {name!r}; {hint}")
    return name


def _flag(option: str) -> str:
    return "--pictures" if option == "images" else f"--{option}"


def _flags(known: Mapping[str, Any]) -> str:
    own = [_flag(option) for option in known if option not in ("seed", "round_trip")]
    return ", ".join(own) or "none of its own"
