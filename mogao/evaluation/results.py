"""What an evaluation leaves behind: `summary.json`, `items.jsonl` and a page to look at.

In: rows and scores. Out: files. The same run twice gives the same files but for where and when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.pages import Head, collection_page, suite_page
from mogao.evaluation.scores import Score
from mogao.files import atomic_write, to_json
from mogao.provenance import provenance


@dataclass(frozen=True, slots=True)
class Summary:
    """Scores and all that must be known to believe them.

    Attributes:
        suite: Name of the benchmark.
        protocol: How it was scored.
        model: What was scored, as the user calls it.
        seed: Of the items, and of all draws where a model of ours made the outputs.
        scores: By name, the overall one first.
        tools: Names of those who judged.
        weights: Fingerprint of the model's folder, or None.
        files: Name and sha256 of each file that an option of the benchmark names, by the option.
        options: Of the benchmark, as the user gave them.
        asked: Groups and most items of a group.
        missing: How many outputs are not there, and how many items so have no score.
        failures: How often what could not be read, by kind.
        dtype: Compute type of the model.
    """

    suite: str
    protocol: str
    model: str
    seed: int
    scores: Mapping[str, Score]
    tools: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    dtype: str | None = None

    @property
    def missing_line(self) -> str:
        """What is not there, in words; empty where nothing is missing."""
        if not self.missing.get("outputs"):
            return ""
        return (
            f"MISSING: {self.missing['outputs']} outputs are not there, so that "
            f"{self.missing['items']} of {self.missing['of_items']} items are not scored."
        )

    def head(self) -> Head:
        """Return what stands above the items on a page."""
        judged = ", ".join(f"{kind}: {name}" for kind, name in self.tools.items()) or "rules alone"
        options = "".join(f"; {name} {value}" for name, value in self.options.items())
        facts = f"Protocol {self.protocol}{options}; seed {self.seed}; judged by {judged}."
        facts = f"{facts} {self.missing_line}".rstrip()
        return Head(self.suite, self.model, facts, self.scores)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `summary.json`."""
        return {
            "suite": self.suite,
            "protocol": self.protocol,
            "model": self.model,
            "seed": self.seed,
            "scores": {name: score.to_json() for name, score in self.scores.items()},
            "tools": dict(self.tools),
            "weights": self.weights,
            "files": dict(self.files),
            "options": dict(self.options),
            "asked": dict(self.asked),
            "missing": dict(self.missing),
            "failures": dict(self.failures),
            **provenance(self.dtype),
        }


def write_results(
    summary: Summary,
    rows: Sequence[Row],
    out: Path,
    *,
    items: Sequence[Item],
    outputs: Mapping[str, Sequence[Output]],
) -> dict[str, Any]:
    """Write all files of a finished evaluation; return the summary as JSON values."""
    facts = summary.to_json()
    lines = [to_json(row_json(row)) + "\n" for row in rows]
    atomic_write(out / "items.jsonl", "".join(lines))
    asked = {item.id: item for item in items}
    page = suite_page(
        summary.head(),
        rows,
        prompts={name: item.prompt for name, item in asked.items()},
        outputs=outputs,
        given=lambda name: [image.pixels for image in asked[name].given().images],
    )
    atomic_write(out / "report.html", page)
    atomic_write(out / "summary.json", json.dumps(json.loads(to_json(facts)), indent=2) + "\n")
    return facts


def write_overview(name: str, summaries: Sequence[Summary], out: Path) -> dict[str, Any]:
    """Write the files of a collection, whose benchmarks lie in folders of their names below.

    Returns:
        The summaries of all benchmarks as JSON values.
    """
    facts = {"suite": name, "suites": [summary.to_json() for summary in summaries]}
    atomic_write(out / "report.html", collection_page(name, [one.head() for one in summaries]))
    atomic_write(out / "summary.json", json.dumps(json.loads(to_json(facts)), indent=2) + "\n")
    return facts


def row_json(row: Row) -> dict[str, Any]:
    """Return one line of `items.jsonl`."""
    return {
        "id": row.id,
        "group": row.group,
        "unit": row.unit,
        "values": {name: round(value, 6) for name, value in row.values.items()},
        "failures": list(row.failures),
        "facts": dict(row.facts),
    }


def score_line(name: str, score: Score) -> str:
    """Return one score as a line for people."""
    top = "" if score.ceiling is None else f", ceiling {score.ceiling:.3f}"
    return f"{name:28} {score.value:8.3f} [{score.low:.3f}, {score.high:.3f}] n={score.n}{top}"
