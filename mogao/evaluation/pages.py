"""Pages of an evaluation: one of a benchmark, one of a collection of them.

In: scores, rows, outputs. Out: HTML that needs nothing beside it but the pages it links to.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mogao.data.images import data_url, read_image
from mogao.evaluation.benchmark import Output, Row
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING

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
RIGHT = "right"
_NOTE = "The ceiling is what the judge says of real renders."


@dataclass(frozen=True, slots=True)
class Head:
    """What stands above the items.

    Attributes:
        suite: Name of the benchmark.
        model: What was scored.
        facts: Protocol, seed and judges in words.
        scores: By name, the overall one first.
    """

    suite: str
    model: str
    facts: str
    scores: Mapping[str, Score]


def suite_page(
    head: Head,
    rows: Sequence[Row],
    *,
    prompts: Mapping[str, str],
    outputs: Mapping[str, Sequence[Output]],
) -> str:
    """Return a page: scores as a table, then successes and failures of each group.

    Args:
        head: Who was scored on what.
        rows: Of the items.
        prompts: Text of each item, by its id.
        outputs: Of each item, by its id.

    Raises:
        RequestError: A picture cannot be read.
    """
    parts = [f"<h1>{_title(head)}</h1><p>{html.escape(head.facts)} {_NOTE}</p>"]
    parts += [_table(head.scores), *_curves(head.scores)]
    for group in dict.fromkeys(row.group for row in rows):
        own = sorted((row for row in rows if row.group == group), key=_goodness)
        bad, good = own[:SHOWN], own[SHOWN:][-SHOWN:]
        parts.append(f"<h2>{html.escape(group)}</h2>")
        tiles = [_tile(row, prompts[row.id], outputs[row.id]) for row in [*reversed(good), *bad]]
        parts.append(f'<div class="items">{"".join(tiles)}</div>')
    return _document(_title(head), parts)


def collection_page(name: str, heads: Sequence[Head]) -> str:
    """Return a page: the first score of each benchmark, then all scores of each.

    Args:
        name: Of the collection.
        heads: Of its benchmarks; the page of each lies in the folder of its name.
    """
    title = html.escape(f"{name}: {heads[0].model}" if heads else name)
    first = {
        f"{head.suite}: {score_name}": score
        for head in heads
        for score_name, score in list(head.scores.items())[:1]
    }
    parts = [f"<h1>{title}</h1><p>The first score of each benchmark. {_NOTE}</p>", _table(first)]
    for head in heads:
        link = html.escape(f"{head.suite}/report.html")
        parts.append(f'<h2><a href="{link}">{html.escape(head.suite)}</a></h2>')
        parts += [f"<p>{html.escape(head.facts)}</p>", _table(head.scores), *_curves(head.scores)]
    return _document(title, parts)


def _title(head: Head) -> str:
    return html.escape(f"{head.suite}: {head.model}")


def _document(title: str, parts: Sequence[str]) -> str:
    """A page around its parts; all texts are escaped already."""
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


def _curves(scores: Mapping[str, Score]) -> list[str]:
    """A plot of each score that was taken at three numbers or more, named `score/number`."""
    curves: dict[str, list[tuple[float, Score]]] = {}
    for name, score in scores.items():
        of, _, at = name.rpartition("/")
        if of and re.fullmatch(r"\d+(\.\d+)?", at):
            curves.setdefault(of, []).append((float(at), score))
    return [_curve(name, sorted(at)) for name, at in curves.items() if len(at) >= 3]


def _curve(name: str, points: Sequence[tuple[float, Score]]) -> str:
    """One score against a number, with its intervals."""
    first, last = points[0][0], points[-1][0]
    top = max(1.0, *(score.high for _, score in points))

    def place(at: float, value: float) -> tuple[float, float]:
        return 40 + (at - first) / (last - first) * 280, 130 - value / top * 110

    marks, line = [], []
    for at, score in points:
        x, y = place(at, score.value)
        (_, low), (_, high) = place(at, score.low), place(at, score.high)
        line.append(f"{x:.1f},{y:.1f}")
        marks.append(
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="currentColor"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#4a7d9c"/>'
            f'<text x="{x:.1f}" y="148" text-anchor="middle">{at:g}</text>'
        )
    return (
        f"<h3>{html.escape(name)}</h3>"
        '<svg width="340" height="155" font-size="11" fill="currentColor">'
        f'<path d="M36 20V130H324" fill="none" stroke="currentColor"/><text x="4" y="24">{top:g}'
        '</text><text x="4" y="134">0</text>'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#4a7d9c" stroke-width="2"/>'
        f"{''.join(marks)}</svg>"
    )


def _goodness(row: Row) -> float:
    """What a page sorts by: `right` where a row has it, else the mean of its own values."""
    if RIGHT in row.values:
        return row.values[RIGHT]
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
