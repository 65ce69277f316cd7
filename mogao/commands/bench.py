"""`mogao bench`: speed on this machine, as JSON with fixed keys or as a table.

In: nothing. Out: what `mogao.bench` measures.
"""

from __future__ import annotations

from typing import Any

from mogao.commands.output import finish
from mogao.provenance import provenance


def ectf(*, seed: int, as_json: bool) -> None:
    """One packed sequence with N pictures against N sequences with one picture each."""
    from mogao.bench import ectf as bench

    facts = bench.run(seed=seed)
    lines = [f"{'pictures':>8}  {'ectf s':>8}  {'one each s':>10}  {'faster':>6}"]
    for row in facts["rows"]:
        ours, theirs = row["ectf"]["seconds"], row["one_per_picture"]["seconds"]
        lines.append(f"{row['pictures']:>8}  {ours:>8.3f}  {theirs:>10.3f}  {theirs / ours:>5.2f}x")
    finish(provenance(facts.get("dtype")) | facts, lines, as_json=as_json)


def train(*, seed: int, as_json: bool) -> None:
    """A training step and its share of the machine's matrix rate."""
    from mogao.bench import train as bench

    facts = bench.run(seed=seed)
    finish(provenance(facts.get("dtype")) | facts, _lines(facts), as_json=as_json)


def _lines(facts: dict[str, Any]) -> list[str]:
    numbers = {key: value for key, value in facts.items() if isinstance(value, int | float)}
    return [f"{key:24} {value:,.3f}" for key, value in numbers.items()]
