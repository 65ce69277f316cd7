"""Pages of an evaluation: one of a benchmark, one of a collection of them.

In: scores, rows, outputs. Out: HTML that needs nothing beside it but the pages it links to.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mogao.data.images import data_url, read_image
from mogao.errors import RequestError
from mogao.evaluation.benchmark import Output, Row
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import CEILING
from mogao.sequence import Pixels

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
.pictures { display: flex; flex-wrap: wrap; gap: 2px; margin-bottom: 0.2rem; }
.pictures img { width: 100%; display: block; } .many img { width: calc(50% - 1px); }
.pictures + br { display: none; }
.given { border: 1px dashed var(--soft); padding: 2px; }
p { color: var(--soft); }
"""
RIGHT = "right"
_NOTES = ("answer", "missing", "wrong", "reasons")
"""Facts of a row, or of one of its pictures, that say what was right or what was not."""
_BAR = 200
"""Length of a full bar, pixels."""
_MORE_THAN_ALL = 1.0001  # no share reaches it; sums of floats make one a little more than 1
_SIDE = 160
"""Longest side of a picture on the page, pixels."""
Given = Callable[[str], Sequence[Pixels]]
"""Returns the pictures that an item shows to who is scored, by its id."""
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
    given: Given | None = None,
) -> str:
    """Return a page: scores as a table, then successes and failures of each group.

    Args:
        head: Who was scored on what.
        rows: Of the items.
        prompts: Text of each item, by its id.
        outputs: Of each item, by its id.
        given: Pictures that belong to the prompts; asked only for items that are shown.
    """
    parts = [f"<h1>{_title(head)}</h1><p>{html.escape(head.facts)} {_NOTE}</p>"]
    parts += [_table(head.scores), *_curves(head.scores)]
    for group in dict.fromkeys(row.group for row in rows):
        own = sorted((row for row in rows if row.group == group), key=_goodness)
        bad, good = own[:SHOWN], own[SHOWN:][-SHOWN:]
        parts.append(f"<h2>{html.escape(group)}</h2>")
        tiles = [
            _tile(row, prompts[row.id], outputs[row.id], given=given(row.id) if given else ())
            for row in [*reversed(good), *bad]
        ]
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
    """The scores with a bar for each: shares from 0 to 1, all others to the largest among them."""
    largest = max((score.high for score in scores.values()), default=1.0)
    rows = ["<tr><th>score<th>value<th>95 % interval<th>n<th>ceiling<th></tr>"]
    for name, score in scores.items():
        full = 1.0 if score.high < _MORE_THAN_ALL else largest
        low, value, high = (max(x, 0.0) / full * _BAR for x in (score.low, score.value, score.high))
        bar = (
            f'<svg width="{_BAR + 4}" height="12">'
            f'<rect width="{value:.1f}" height="12" fill="#7aa6c2"/>'
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


def _tile(row: Row, prompt: str, outputs: Sequence[Output], *, given: Sequence[Pixels]) -> str:
    """One item: what was given and made, what is right and what is wrong, its values."""
    made = [_thumbnail(path) for output in outputs for path in output.pictures if path.is_file()]
    values = ", ".join(f"{name} {value:.2f}" for name, value in row.values.items())
    lines = [
        _grid(list(map(_thumbnail, given)), "given") + html.escape(prompt),
        _grid(made, "made"),
        *(f"<i>{html.escape(output.text)}</i>" for output in outputs if output.text),
        *map(html.escape, [*_notes(row.facts), *_notes_by_output(row.facts), *row.failures]),
        f"<small>{html.escape(values)}</small>",
    ]
    mark = "good" if _goodness(row) >= 1 else "bad" if _goodness(row) <= 0 else ""
    return f'<div class="item {mark}">{"<br>".join(filter(None, lines))}</div>'


def _grid(pictures: Sequence[str], kind: str) -> str:
    """Pictures side by side, two in a row where there are several."""
    if not pictures:
        return ""
    many = " many" if len(pictures) > 1 else ""
    return f'<div class="pictures {kind}{many}">{"".join(pictures)}</div>'


def _thumbnail(source: Path | Pixels) -> str:
    """A picture as small as the page shows it, or the name of a file that is none."""
    try:
        pixels = _read(source) if isinstance(source, Path) else source
    except RequestError as error:
        return f"<b>{html.escape(str(error))}</b>"
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return f'<img alt="" src="{data_url(np.asarray(image))}">'


def _read(path: Path) -> Pixels:
    return read_image(path, where=f"{path.parent.name}/{path.name}")


def _notes_by_output(facts: Mapping[str, Any]) -> list[str]:
    """The notes of each output, which are numbered where there are several."""
    made = [own for own in facts.get("pictures", []) if isinstance(own, Mapping)]
    return [
        f"{k}. {note}" if len(made) > 1 else note
        for k, own in enumerate(made, 1)
        for note in _notes(own)
    ]


def _notes(facts: Mapping[str, Any]) -> list[str]:
    """Facts that say what was right or wrong, one a line."""
    found = [(name, facts[name]) for name in _NOTES if facts.get(name)]
    return [
        f"{name}: {'; '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in found
    ]
