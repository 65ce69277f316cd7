"""`mogao sweep`: arms that differ in a few settings, trained at equal compute, evaluated alike.

In: a sweep file. Out: DIR/ARM/seed-N for every run with its evaluations, and above them the table,
`summary.json` and the plots. What is finished is not done again, so a sweep goes on where it was
stopped; the table holds every seed of the folder that is finished for all arms, and is written anew
whenever there is one more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from mogao import config as configs
from mogao.commands import evaluate
from mogao.commands.output import finish
from mogao.config import EvaluationConfig, SweepConfig
from mogao.errors import ConfigError
from mogao.files import atomic_write
from mogao.provenance import provenance
from mogao.sweep.check import check_evaluations, open_benchmarks, options_of, record_of
from mogao.sweep.paired import prompt_gaps
from mogao.sweep.plan import Arm, plan_arms, runs_of
from mogao.sweep.report import write_report
from mogao.sweep.scores import Results, compare, read_results, shared_facts
from mogao.sweep.train import MARK, is_finished, train_run
from mogao.training.folder import changed_keys

__all__ = ["load_sweep", "plan", "run"]

COUNTERS = {"step": "steps", "samples": "samples", "tokens": "tokens", "flops": "flops",
            "seconds": "seconds"}  # fmt: skip
"""Counter of a training to its name in `summary.json`."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What one model cost and what it reached."""

    spent: dict[str, Any]
    results: Results


def load_sweep(path: Path, overrides: list[str]) -> SweepConfig:
    """Read and check a sweep and what it evaluates, before anything is trained.

    Raises:
        ConfigError: The file is missing, a key or value is not valid, a benchmark, option, protocol
            or tool is unknown or missing, or a benchmark is named twice.
        DataError: A benchmark has no group of a name, or its records or pictures cannot be read.
        RequestError: A file of recorded answers is missing.
    """
    sweep = configs.load(SweepConfig, path, overrides=overrides)
    check_evaluations(sweep.evaluate, where=str(path))
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
        DataError: Two runs were not scored alike.
        MogaoError: A training failed.
    """
    if out is None:
        raise ConfigError(f"--out DIR is missing; for instance --out runs/{sweep.name}")
    arms = plan_arms(sweep, path.parent)
    measured: dict[int, dict[str, _Measured]] = {}
    facts: dict[str, Any] = {}
    before = [
        seed
        for seed in _seeds_in(out / sweep.baseline)
        if all(_is_done(sweep, arm, out, seed=seed) for arm in arms)
    ]
    for seed in (*before, *(seed for seed in sweep.seeds if seed not in before)):
        measured[seed] = {
            arm.name: _measured(sweep, arm, out, seed=seed, as_json=as_json) for arm in arms
        }
        if seed not in before[:-1]:
            facts = _report(sweep, arms, out, measured=measured)
    for warning in facts["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    text = (out / "table.md").read_text(encoding="utf-8")
    finish(facts | {"out": str(out)}, [text, f"wrote {out / 'table.md'}"], as_json=as_json)


def _planned(arm: Arm, sweep: SweepConfig) -> dict[str, Any]:
    return {
        "overrides": list(arm.overrides),
        "steps": [stage.steps for stage in arm.stages],
        "flops": arm.flops(processes=sweep.processes),
    }


def _seeds_in(folder: Path) -> list[int]:
    """Seeds of an arm that a folder holds, finished or not."""
    names = [one.name.removeprefix("seed-") for one in folder.glob("seed-*")]
    return sorted(int(name) for name in names if name.isdecimal())


def _is_done(sweep: SweepConfig, arm: Arm, out: Path, *, seed: int) -> bool:
    """Whether an arm is trained and evaluated with a seed."""
    folder = _folder(arm, out, seed) / "eval"
    is_trained = all(is_finished(one) for one in runs_of(arm, seed=seed, out=out))
    return is_trained and all(_is_evaluated(one, folder) for one in sweep.evaluate)


def _folder(arm: Arm, out: Path, seed: int) -> Path:
    return out / arm.name / f"seed-{seed}"


def _measured(sweep: SweepConfig, arm: Arm, out: Path, *, seed: int, as_json: bool) -> _Measured:
    """Train and evaluate an arm with a seed, as far as that is not done."""
    folder = _folder(arm, out, seed)
    typer.echo(f"{arm.name}, seed {seed}: {folder}", err=True)
    runs = list(runs_of(arm, seed=seed, out=out))
    counted = [train_run(one, processes=sweep.processes) for one in runs]
    spent = {name: sum(found[key] for found in counted) for key, name in COUNTERS.items()}
    results: Results = {}
    for one in sweep.evaluate:
        results |= _evaluated(one, runs[-1].folder / "model", folder / "eval", as_json=as_json)
    return _Measured(spent, results)


def _report(
    sweep: SweepConfig,
    arms: Sequence[Arm],
    out: Path,
    *,
    measured: dict[int, dict[str, _Measured]],
) -> dict[str, Any]:
    """Compare all seeds and write the files; return the content of `summary.json`."""
    by_arm = {
        arm.name: {seed: measured[seed][arm.name] for seed in sorted(measured)} for arm in arms
    }
    spent = {arm: {seed: one.spent for seed, one in runs.items()} for arm, runs in by_arm.items()}
    reached = {
        arm: {seed: one.results for seed, one in runs.items()} for arm, runs in by_arm.items()
    }
    suites = shared_facts(reached)
    benchmarks = {one.name: one for asked in sweep.evaluate for one in open_benchmarks(asked)}
    lines = compare(reached, prompt_gaps(reached, benchmarks))
    return write_report(sweep, arms, out, spent=spent, suites=suites, lines=lines)


def _is_evaluated(one: EvaluationConfig, folder: Path) -> bool:
    """Whether a model was evaluated with these very settings."""
    mark, out = folder / f"{one.suite}.json", folder / one.suite
    if not mark.is_file() or configs.load(EvaluationConfig, mark) != one:
        return False
    if not (out / "summary.json").is_file():
        return False
    return all((part.folder / "summary.json").is_file() for part in read_results(out).values())


def _evaluated(one: EvaluationConfig, model: Path, folder: Path, *, as_json: bool) -> Results:
    """Evaluate a model unless that is done; return what it reached.

    Raises:
        ConfigError: The folder holds what was made with other settings.
    """
    out, done = folder / one.suite, folder / f"{one.suite}.json"
    if not _is_evaluated(one, folder):
        asked = json.dumps(one.model_dump(mode="json"), indent=2) + "\n"
        begun = out / MARK
        if out.is_dir():
            _check_made(one, begun if begun.is_file() else done, out)
        atomic_write(begun, asked)
        request = evaluate.Request(
            one.suite,
            out,
            options=options_of(one),
            groups=one.groups,
            most=one.num_per_group,
            protocol=one.protocol,
            tools=one.tools,
            record=record_of(one),
        )
        context = evaluate.open_context(
            str(model), dtype="auto", seed=one.seed, settings=one.settings
        )
        evaluate.run(request, context, seed=one.seed, as_json=as_json)
        atomic_write(done, asked)
    return read_results(out)


def _check_made(one: EvaluationConfig, mark: Path, out: Path) -> None:
    """Refuse to add outputs to those of other settings; judges and numbers of items may change."""
    if not mark.is_file():
        return
    before, now = (
        asked.model_dump(mode="json", include={"options", "settings", "seed"})
        for asked in (configs.load(EvaluationConfig, mark), one)
    )
    changes = [key for key in changed_keys(before, now) if key != "options.judge"]
    if changes:
        raise ConfigError(
            f"{out} was made with another {', '.join(changes)}; remove that folder to evaluate the "
            "model anew, or go on with the old value; the trained model stays"
        )
