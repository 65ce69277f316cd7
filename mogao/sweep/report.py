"""What a sweep leaves behind: one table in three forms, and a plot of every benchmark.

In: arms with what their runs spent, and the comparison. Out: `table.md`, `table.csv`,
`summary.json` and `plots/SUITE.svg`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mogao.config import SweepConfig
from mogao.files import atomic_write, to_json
from mogao.provenance import provenance
from mogao.sweep.plan import Arm
from mogao.sweep.plot import plot
from mogao.sweep.scores import Interval, Line, Spread

Spent = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Arm to seed to what training counted, all stages together: steps, tokens, flops, seconds."""
Facts = Mapping[str, Mapping[str, Any]]
"""Benchmark to how it was scored."""
TOLERANCE = 0.02
"""How far what an arm spent may lie from what the baseline spent, as a share."""
_NOTE = (
    "A score is the mean over seeds, with the least and the most of them in brackets. A difference "
    "from the baseline is paired by seed; behind +- stands its standard error over seeds. The "
    "intervals of a difference are of 95 %: over seeds by Student's t, over prompts by resampled "
    "items. Intervals over prompts of the scores are in `table.csv`."
)
COLUMNS = (
    "suite", "score", "arm", "num_seeds", "mean", "least", "most", "standard_error", "low", "high",
    "num_prompts", "ceiling", "difference", "difference_least", "difference_most",
    "difference_standard_error", "difference_seeds_low", "difference_seeds_high",
    "difference_prompts_low", "difference_prompts_high",
)  # fmt: skip


def write_report(
    sweep: SweepConfig,
    arms: Sequence[Arm],
    out: Path,
    *,
    spent: Spent,
    suites: Facts,
    lines: Sequence[Line],
) -> dict[str, Any]:
    """Write all files; return the content of `summary.json`."""
    facts = summary(sweep, arms, spent=spent, suites=suites, lines=lines)
    for suite in dict.fromkeys(line.suite for line in lines):
        own = [line for line in lines if line.suite == suite]
        atomic_write(out / "plots" / f"{suite}.svg", plot(suite, own))
    atomic_write(out / "table.csv", csv_table(lines))
    table = markdown(sweep, arms, spent=spent, suites=suites, lines=lines)
    atomic_write(out / "table.md", table)
    atomic_write(out / "summary.json", json.dumps(json.loads(to_json(facts)), indent=2) + "\n")
    return facts


def unequal(sweep: SweepConfig, spent: Spent) -> list[str]:
    """Return a warning for each run that did not spend what the sweep says is equal."""
    if sweep.equal == "steps":
        return []
    baseline = spent[sweep.baseline]
    return [
        f"{arm}, seed {seed}, spent {found[sweep.equal] / baseline[seed][sweep.equal]:.3f} of the "
        f"{sweep.equal} of {sweep.baseline}: this is no comparison at equal compute"
        for arm, runs in spent.items()
        for seed, found in runs.items()
        if abs(found[sweep.equal] - baseline[seed][sweep.equal])
        > TOLERANCE * baseline[seed][sweep.equal]
    ]


def summary(
    sweep: SweepConfig,
    arms: Sequence[Arm],
    *,
    spent: Spent,
    suites: Facts,
    lines: Sequence[Line],
) -> dict[str, Any]:
    """Return all that is known, as JSON values."""
    return {
        "name": sweep.name,
        "baseline": sweep.baseline,
        "equal": sweep.equal,
        "processes": sweep.processes,
        "seeds": list(spent[sweep.baseline]),
        "arms": {
            arm.name: {
                "overrides": list(arm.overrides),
                "steps": [stage.steps for stage in arm.stages],
                "estimated_flops": arm.flops(processes=sweep.processes),
                "runs": {str(seed): dict(found) for seed, found in spent[arm.name].items()},
            }
            for arm in arms
        },
        "warnings": unequal(sweep, spent),
        "suites": {suite: dict(facts) for suite, facts in suites.items()},
        "scores": [line.to_json() for line in lines],
        **provenance(),
    }


def csv_table(lines: Sequence[Line]) -> str:
    """Return one row for each score of each arm."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        value, difference = line.value, line.difference
        numbers = [value.mean, value.least, value.most, value.standard_error, *line.prompts]
        gaps = [None] * 8 if difference is None else [
            difference.mean, difference.least, difference.most, difference.standard_error,
            *(difference.interval or (None, None)), *(line.difference_prompts or (None, None)),
        ]  # fmt: skip
        head = [line.suite, line.score, line.arm, len(value.by_seed)]
        cells = [*map(_cell, numbers), line.num_prompts, _cell(line.ceiling), *map(_cell, gaps)]
        writer.writerow([*head, *cells])
    return text.getvalue()


def markdown(
    sweep: SweepConfig,
    arms: Sequence[Arm],
    *,
    spent: Spent,
    suites: Facts,
    lines: Sequence[Line],
) -> str:
    """Return the table for people: what was spent, then a table of every benchmark."""
    seeds = ", ".join(map(str, spent[sweep.baseline]))
    facts = f"Baseline `{sweep.baseline}`; seeds {seeds}; equal {sweep.equal}. {_NOTE}"
    warnings = [f"**Warning: {warning}.**" for warning in unequal(sweep, spent)]
    parts = [f"# {sweep.name}", facts, *warnings, _spent_table(sweep, arms, spent)]
    for suite in dict.fromkeys(line.suite for line in lines):
        own = [line for line in lines if line.suite == suite]
        table = _suite_table([arm.name for arm in arms], own)
        parts += [f"## {suite}", _scoring(suites[suite]), table]
    return "\n\n".join(parts) + "\n"


def _scoring(facts: Mapping[str, Any]) -> str:
    """How a benchmark was scored, in one line."""
    judges = {f"{kind} judged by": name for kind, name in (facts["tools"] or {}).items()}
    said = {
        "Protocol": facts["protocol"],
        "evaluation seed": facts["seed"],
        **(judges or {"judged by": "rules alone"}),
        "dtype": facts["dtype"],
        **(facts["options"] or {}),
        **{option: one["name"] for option, one in (facts["files"] or {}).items()},
    }
    return "; ".join(f"{name} {value}" for name, value in said.items()) + "."


def _spent_table(sweep: SweepConfig, arms: Sequence[Arm], spent: Spent) -> str:
    """Means over the seeds of what each arm spent, counted while it trained."""
    rows = [
        "| arm | overrides | steps | tokens | FLOPs | of the baseline | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    baseline = _mean_of(spent[sweep.baseline], "flops")
    for arm in arms:
        own = spent[arm.name]
        flops = _mean_of(own, "flops")
        share = f"{flops / baseline:.4f}" if baseline else ""
        changes = "<br>".join(f"`{change}`" for change in arm.overrides).replace("|", "\\|")
        rows.append(
            f"| {arm.name} | {changes} | {_mean_of(own, 'steps'):.0f} "
            f"| {_mean_of(own, 'tokens'):.4g} | {flops:.4g} | {share} "
            f"| {_mean_of(own, 'seconds') / 60:.1f} |"
        )
    return "\n".join(rows)


def _suite_table(arms: Sequence[str], lines: Sequence[Line]) -> str:
    others = arms[1:]
    gap_heads = [(f"{arm} - {arms[0]}", "over seeds", "over prompts") for arm in others]
    heads = ["score", *arms, *(head for each in gap_heads for head in each), "ceiling", "prompts"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in dict.fromkeys(line.score for line in lines):
        own = {line.arm: line for line in lines if line.score == name}
        first = own[arms[0]]
        cells = [
            name,
            *(_value(own[arm].value) for arm in arms),
            *(cell for arm in others for cell in _gap(own[arm])),
            "" if first.ceiling is None else f"{first.ceiling:.3f}",
            str(first.num_prompts),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _value(spread: Spread) -> str:
    if len(spread.by_seed) == 1:
        return f"{spread.mean:.3f}"
    return f"{spread.mean:.3f} ({spread.least:.3f} to {spread.most:.3f})"


def _gap(line: Line) -> tuple[str, str, str]:
    """The difference, and its intervals over seeds and over prompts."""
    assert line.difference is not None
    gap, error = line.difference, line.difference.standard_error
    said = f"{gap.mean:+.3f}" + ("" if error is None else f" +- {error:.3f}")
    return said, _ends(gap.interval), _ends(line.difference_prompts)


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _mean_of(runs: Mapping[int, Mapping[str, Any]], key: str) -> float:
    return sum(float(run[key]) for run in runs.values()) / len(runs)
