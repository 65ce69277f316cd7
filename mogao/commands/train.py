"""`mogao train`: a run from a config file and single changes.

In: YAML and `key.path=value`. Out: what `mogao.training.loop` writes; here only the plan, the
summary and the exit code.
"""

from __future__ import annotations

from pathlib import Path

import typer

from mogao import config as configs
from mogao.commands.output import finish
from mogao.config import RunConfig
from mogao.errors import ConfigError
from mogao.provenance import provenance

__all__ = ["load_run", "plan", "run"]


def load_run(path: Path, overrides: list[str]) -> RunConfig:
    """Read and check the config before anything heavy is imported.

    Raises:
        ConfigError: The file is missing, or a key or value is not valid.
    """
    return configs.load(RunConfig, path, overrides=overrides)


def plan(config: RunConfig, *, as_json: bool) -> None:
    """Print what a run would do."""
    from mogao.plan.dry_run import dry_run

    facts = dry_run(config)
    lines = [f"{name}: {value}" for name, value in facts.items()]
    finish(provenance(facts["compute_dtype"]) | facts, lines, as_json=as_json)


def run(config: RunConfig, out: Path | None, *, resume: bool, as_json: bool) -> None:
    """Train; Ctrl-C writes a checkpoint and ends with exit code 130.

    Raises:
        ConfigError: No folder is given.
    """
    if out is None:
        raise ConfigError(f"--out DIR is missing; for instance --out runs/{config.name}")
    from mogao.model.hardware import pick_device, pick_dtype
    from mogao.training.loop import train

    report = train(config, out, resume=resume)
    dtype = str(pick_dtype(config.dtype, pick_device())).removeprefix("torch.")
    result = provenance(dtype) | {
        "out": str(out),
        "stopped": report.stopped,
        "step": report.step,
        "skipped": report.skipped,
        "samples": report.samples,
        "seconds": report.seconds,
        "metrics": report.metrics,
        "model": str(report.model),
        "checkpoint": str(report.checkpoint),
    }
    lines = [
        f"stopped by {report.stopped} at step {report.step} after {report.samples} samples",
        f"model: {report.model}",
        f"checkpoint: {report.checkpoint} (--resume goes on)",
    ]
    if report.rank == 0:
        finish(result, lines, as_json=as_json)
    raise typer.Exit(report.exit_code)
