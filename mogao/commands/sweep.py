"""`mogao sweep`: arms that differ in a few settings, trained at equal compute, evaluated alike.

In: a sweep file. Out: DIR/ARM/seed-N for every run with its evaluations, and above them the table,
`summary.json` and the plots. What is finished is not done again, so a sweep goes on where it was
stopped; the table is written anew whenever all arms have one more seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from mogao import config as configs
from mogao.commands import evaluate
from mogao.commands.output import finish
from mogao.config import EvaluationConfig, GenerationConfig, SweepConfig
from mogao.errors import ConfigError
from mogao.evaluation import runner
from mogao.evaluation.registry import COLLECTIONS, open_benchmark
from mogao.files import atomic_write
from mogao.provenance import provenance
from mogao.sweep.plan import Arm, plan_arms, runs_of
from mogao.sweep.report import write_report
from mogao.sweep.scores import Scores, compare, read_scores
from mogao.sweep.train import train_run

__all__ = ["load_sweep", "plan", "run"]

COUNTERS = {"step": "steps", "samples": "samples", "tokens": "tokens", "flops": "flops",
            "seconds": "seconds"}  # fmt: skip
"""Counter of a training to its name in `summary.json`."""


def load_sweep(path: Path, overrides: list[str]) -> SweepConfig:
    """Read and check a sweep and what it evaluates, before anything is trained.

    Raises:
        ConfigError: The file is missing, a key or value is not valid, or a benchmark is unknown or
            lacks an option.
        DataError: A benchmark has no group of a name.
    """
    sweep = configs.load(SweepConfig, path, overrides=overrides)
    for one in sweep.evaluate:
        _check(one, where=f"{path}: evaluate {one.suite}")
    return sweep


def plan(sweep: SweepConfig, path: Path, *, as_json: bool) -> None:
    """Print what would be trained."""
    arms = plan_arms(sweep, path.parent)
    facts = {
        "name": sweep.name,
        "equal": sweep.equal,
        "seeds": list(sweep.seeds),
        "evaluate": [one.suite for one in sweep.evaluate],
        "arms": {arm.name: _planned(arm, sweep) for arm in arms},
    }
    seeds = ", ".join(map(str, sweep.seeds))
    lines = [f"{sweep.name}: equal {sweep.equal}, seeds {seeds}, {sweep.processes} processes"]
    for arm in arms:
        steps = " + ".join(str(stage.steps) for stage in arm.stages)
        flops = arm.flops(processes=sweep.processes)
        lines.append(f"{arm.name}: {steps} steps, {flops:.4g} FLOPs a run")
        lines += [f"  {change}" for change in arm.overrides]
    finish(provenance() | facts, lines, as_json=as_json)


def run(sweep: SweepConfig, path: Path, out: Path | None, *, as_json: bool) -> None:
    """Train and evaluate all runs, seed by seed, and write the table.

    Raises:
        ConfigError: No folder is given, or it holds other runs.
        MogaoError: A training failed.
    """
    if out is None:
        raise ConfigError(f"--out DIR is missing; for instance --out runs/{sweep.name}")
    arms = plan_arms(sweep, path.parent)
    spent: dict[str, dict[int, dict[str, Any]]] = {arm.name: {} for arm in arms}
    results: dict[str, dict[int, Scores]] = {arm.name: {} for arm in arms}
    facts: dict[str, Any] = {}
    for seed in sweep.seeds:
        for arm in arms:
            folder = out / arm.name / f"seed-{seed}"
            typer.echo(f"{arm.name}, seed {seed}: {folder}", err=True)
            runs = list(runs_of(arm, seed=seed, out=out))
            counted = [train_run(one, processes=sweep.processes) for one in runs]
            spent[arm.name][seed] = {
                name: sum(found[key] for found in counted) for key, name in COUNTERS.items()
            }
            scores: Scores = {}
            for one in sweep.evaluate:
                model = runs[-1].folder / "model"
                scores |= _evaluated(one, model, folder / "eval", as_json=as_json)
            results[arm.name][seed] = scores
        facts = write_report(sweep, arms, out, spent=spent, lines=compare(results))
    text = (out / "table.md").read_text(encoding="utf-8")
    finish(facts | {"out": str(out)}, [text, f"wrote {out / 'table.md'}"], as_json=as_json)


def _check(one: EvaluationConfig, *, where: str) -> None:
    """Find now what would be found after the first training."""
    changed = configs.override(GenerationConfig().model_dump(mode="json"), one.settings)
    configs.parse(GenerationConfig, changed, where=where)
    if one.suite in COLLECTIONS and one.groups:
        raise ConfigError(f"{where} is a collection: groups belong to one of its benchmarks")
    for suite in COLLECTIONS.get(one.suite, (one.suite,)):
        benchmark = open_benchmark(suite, _options(one), defaults={"seed": one.seed})
        if one.groups:
            runner.choose(benchmark.items(), groups=one.groups, most=1)


def _planned(arm: Arm, sweep: SweepConfig) -> dict[str, Any]:
    return {
        "overrides": list(arm.overrides),
        "steps": [stage.steps for stage in arm.stages],
        "flops": arm.flops(processes=sweep.processes),
    }


def _evaluated(one: EvaluationConfig, model: Path, folder: Path, *, as_json: bool) -> Scores:
    """Evaluate a model unless that is done, with these very settings; return its scores."""
    asked = json.dumps(one.model_dump(mode="json"), indent=2) + "\n"
    mark, out = folder / f"{one.suite}.json", folder / one.suite
    if not mark.is_file() or mark.read_text(encoding="utf-8") != asked:
        request = evaluate.Request(
            one.suite,
            out,
            options=_options(one),
            groups=one.groups,
            most=one.num_per_group,
        )
        context = evaluate.open_context(
            str(model), dtype="auto", seed=one.seed, settings=one.settings
        )
        evaluate.run(request, context, seed=one.seed, as_json=as_json)
        atomic_write(mark, asked)
    return read_scores(out / "summary.json")


def _options(one: EvaluationConfig) -> dict[str, Any]:
    """Options as `mogao eval` passes them on: texts, but for the paths of record files."""
    paths = ("data", "images", "templates")
    return {
        name: Path(str(value)) if name in paths else str(value)
        for name, value in one.options.items()
    }
