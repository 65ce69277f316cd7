"""`mogao bench`: speed on this machine, as JSON with fixed keys or as a table.

In: nothing. Out: what `mogao.bench` measures.
"""

from __future__ import annotations

from typing import Any

from mogao.commands.output import finish
from mogao.provenance import provenance


def ectf(*, seed: int, as_json: bool) -> None:
    """One packed sequence with N pictures against N sequences with one picture each."""
    import mogao.bench.ectf

    facts = mogao.bench.ectf.run(seed=seed)
    lines = [f"{'pictures':>8}  {'ectf s':>8}  {'one each s':>10}  {'faster':>6}"]
    for row in facts["rows"]:
        ours, theirs = row["ectf"]["seconds"], row["one_per_picture"]["seconds"]
        lines.append(f"{row['pictures']:>8}  {ours:>8.3f}  {theirs:>10.3f}  {theirs / ours:>5.2f}x")
    finish(provenance(facts.get("dtype")) | facts, lines, as_json=as_json)


def train(*, compile_layers: bool, seed: int, as_json: bool) -> None:
    """A training step and its share of the machine's matrix rate."""
    import mogao.bench.train

    facts = mogao.bench.train.run(seed=seed, compile_layers=compile_layers)
    finish(provenance(facts.get("dtype")) | facts, _lines(facts), as_json=as_json)


def _lines(facts: dict[str, Any]) -> list[str]:
    return [
        f"{key:24} {f'{value:,.3f}' if isinstance(value, float) else value}"
        for key, value in facts.items()
    ]
