"""What an evaluation leaves behind: `summary.json`, `items.jsonl` and a page to look at.

In: rows and scores. Out: files. The same run twice gives the same files but for where and when.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao.data.images import data_url, read_image
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.files import atomic_write, to_json
from mogao.provenance import provenance

SHOWN = 24
"""Most successes, and most failures, of a group on the page."""
_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6e6e73; --page: #fbfbfa;
  --line: #d9d7d2; --good: #1e8c3c; --bad: #c82828; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a1a1a6; --page: #161617; --line: #3a3a3d; } }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; margin: 1rem 0 2rem; }
td, th { border-bottom: 1px solid var(--line); padding: 0.3rem 0.8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.items { display: flex; flex-wrap: wrap; gap: 0.75rem; }
.item { width: 10rem; font-size: 0.75rem; border-top: 4px solid var(--soft); padding-top: 0.4rem;
  overflow-wrap: anywhere; }
.good { border-color: var(--good); } .bad { border-color: var(--bad); }
.item img { width: 100%; image-rendering: auto; display: block; margin-bottom: 0.2rem; }
p { color: var(--soft); }
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """Scores and all that must be known to believe them.

    Attributes:
        suite: Name of the benchmark.
        protocol: How it was scored.
        model: What was scored, as the user calls it.
        seed: Of all draws; None where the pictures came from elsewhere.
        scores: By name, the overall one first.
        tools: Names of those who judged.
        data: Record file of the benchmark with its sha256, or None.
        failures: How often what could not be read, by kind.
        dtype: Compute type of the model.
    """

    suite: str
    protocol: str
    model: str
    seed: int | None
    scores: Mapping[str, Score]
    tools: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    dtype: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of `summary.json`."""
        return {
            "suite": self.suite,
            "protocol": self.protocol,
            "model": self.model,
            "seed": self.seed,
            "scores": {name: score.to_json() for name, score in self.scores.items()},
            "tools": dict(self.tools),
            "data": self.data,
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
    atomic_write(out / "report.html", _page(summary, rows, items=items, outputs=outputs))
    atomic_write(out / "summary.json", json.dumps(json.loads(to_json(facts)), indent=2) + "\n")
    return facts


def row_json(row: Row) -> dict[str, Any]:
    """Return one line of `items.jsonl`."""
    return {
        "id": row.id,
        "group": row.group,
        "values": {name: round(value, 6) for name, value in row.values.items()},
        "failures": list(row.failures),
        "facts": dict(row.facts),
    }


def score_line(name: str, score: Score) -> str:
    """Return one score as a line for people."""
    top = "" if score.ceiling is None else f", ceiling {score.ceiling:.3f}"
    return f"{name:28} {score.value:8.3f} [{score.low:.3f}, {score.high:.3f}] n={score.n}{top}"


def _page(
    summary: Summary,
    rows: Sequence[Row],
    *,
    items: Sequence[Item],
    outputs: Mapping[str, Sequence[Output]],
) -> str:
    """Scores as a table, then successes and failures of each group with their pictures."""
    prompts = {item.id: item.prompt for item in items}
    title = html.escape(f"{summary.suite}: {summary.model}")
    judged = ", ".join(f"{kind}: {name}" for kind, name in summary.tools.items()) or "rules alone"
    facts = f"Protocol {summary.protocol}; seed {summary.seed}; judged by {judged}."
    note = "The ceiling is what the judge says of real renders."
    parts = [f"<h1>{title}</h1><p>{html.escape(facts)} {note}</p>", _table(summary.scores)]
    for group in dict.fromkeys(row.group for row in rows):
        own = sorted((row for row in rows if row.group == group), key=_goodness)
        bad, good = own[:SHOWN], own[SHOWN:][-SHOWN:]
        parts.append(f"<h2>{html.escape(group)}</h2>")
        tiles = [_tile(row, prompts[row.id], outputs[row.id]) for row in [*reversed(good), *bad]]
        parts.append(f'<div class="items">{"".join(tiles)}</div>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(scores: Mapping[str, Score]) -> str:
    """The scores with a bar for each, drawn to the largest among them."""
    largest = max((score.high for score in scores.values()), default=1.0) or 1.0
    rows = ["<tr><th>score<th>value<th>95 % interval<th>n<th>ceiling<th></tr>"]
    for name, score in scores.items():
        low, value, high = (
            max(x, 0.0) / largest * 200 for x in (score.low, score.value, score.high)
        )
        bar = (
            f'<svg width="204" height="12"><rect width="{value:.1f}" height="12" fill="#7aa6c2"/>'
            f'<path d="M{low:.1f} 6H{high:.1f}" stroke="currentColor" stroke-width="2"/></svg>'
        )
        top = "" if score.ceiling is None else f"{score.ceiling:.3f}"
        rows.append(
            f"<tr><td>{html.escape(name)}<td>{score.value:.3f}<td>{score.low:.3f} to "
            f"{score.high:.3f}<td>{score.n}<td>{top}<td>{bar}</tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _goodness(row: Row) -> float:
    """Mean of the values of a row, for sorting; what a judge says of real renders is left out."""
    own = [value for name, value in row.values.items() if name != CEILING]
    return sum(own) / len(own) if own else 0.0


def _tile(row: Row, prompt: str, outputs: Sequence[Output]) -> str:
    """One item: its pictures, its prompt, its texts, its values."""
    first = outputs[0]
    images = "".join(
        f'<img alt="" src="{data_url(read_image(path))}">'
        for path in first.pictures
        if path.is_file()
    )
    said = f"<br><i>{html.escape(first.text)}</i>" if first.text else ""
    values = ", ".join(f"{name} {value:.2f}" for name, value in row.values.items())
    mark = "good" if _goodness(row) >= 1 else "bad" if _goodness(row) <= 0 else ""
    return (
        f'<div class="item {mark}">{images}{html.escape(prompt)}{said}<br>'
        f"<small>{html.escape(values)}</small></div>"
    )
