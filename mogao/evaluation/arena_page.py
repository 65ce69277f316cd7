"""The page of an arena: pairs of outputs side by side, with a vote for each aspect.

In: what each pair shows. Out: one HTML text without outside references: pictures are inside, every
text is escaped, and a short script collects the votes and hands them over as a CSV file. The page
knows no names of systems.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

from mogao.data.images import data_url
from mogao.sequence import Pixels

Part = str | Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One pair on the page.

    Attributes:
        id: Name of the pair, such as "t001".
        task: What both systems were given: texts and pictures.
        left: What one system made of it.
        right: What the other made.
    """

    id: str
    task: Sequence[Part]
    left: Sequence[Part]
    right: Sequence[Part]


_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6e6e73; --page: #fbfbfa; --card: #f0efec;
  --line: #d9d7d2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a1a1a6; --page: #161617; --card: #232325; --line: #3a3a3d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 7rem; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; }
h2 { font-size: 1rem; color: var(--soft); margin: 0 0 0.75rem; }
p { margin: 0 0 0.75rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.pair { border-top: 1px solid var(--line); padding: 2rem 0; }
.task { background: var(--card); border-radius: 0.75rem; padding: 0.9rem 1.1rem 0.2rem; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 2rem; margin: 1.25rem 0; }
.side { min-width: 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 0.5rem; margin: 0 0 0.75rem;
  border: 1px solid var(--line); }
fieldset { display: inline-block; border: 1px solid var(--line); border-radius: 0.5rem;
  margin: 0 0.5rem 0.5rem 0; padding: 0.3rem 0.75rem 0.5rem; }
legend { color: var(--soft); font-size: 0.8rem; }
label { margin-right: 0.75rem; }
footer { position: fixed; inset: auto 0 0; background: var(--card); padding: 0.75rem 1.25rem;
  border-top: 1px solid var(--line); }
button, input[type="text"] { font: inherit; padding: 0.3rem 0.75rem; }
"""

_SCRIPT = """
const form = document.getElementById("votes");
const aspects = JSON.parse(form.dataset.aspects);
const store = "arena " + form.dataset.arena;
const rater = document.getElementById("rater");
const progress = document.getElementById("progress");
const pairs = [...document.querySelectorAll(".pair")];
const read = (pair) => aspects.map((_, k) =>
  pair.querySelector(`input[name="${pair.id} ${k}"]:checked`)?.value ?? "");
const voted = () => pairs.filter((pair) => read(pair).some(Boolean));
const show = () => { progress.textContent = `${voted().length} of ${pairs.length}`; };
const quote = (cell) => '"' + cell.replaceAll('"', '""') + '"';
const save = () => {
  show();
  const chosen = [...form.querySelectorAll("input:checked")].map((box) => [box.name, box.value]);
  try { localStorage.setItem(store, JSON.stringify([rater.value, chosen])); } catch { }
};
try {
  const [name, chosen] = JSON.parse(localStorage.getItem(store)) ?? ["", []];
  rater.value = name;
  for (const [key, value] of chosen)
    form.querySelector(`input[name="${key}"][value="${value}"]`).checked = true;
} catch { }
show();
form.addEventListener("change", save);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = rater.value.trim();
  const rows = voted().map((pair) => [name, pair.id, ...read(pair)]);
  const lines = [["rater", "pair", ...aspects], ...rows].map((row) => row.map(quote).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], { type: "text/csv" }));
  link.download = "votes.csv";
  link.click();
});
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_CHOICES = {"left": "left", "tie": "equal", "right": "right"}


def arena_page(panels: Sequence[Panel], *, aspects: Sequence[str]) -> str:
    """Return the page; votes are "left", "tie" or "right" per pair and aspect."""
    body = "\n".join(
        _pair(panel, number, len(panels), aspects=aspects)
        for number, panel in enumerate(panels, start=1)
    )
    identity = hashlib.sha256(body.encode()).hexdigest()[:16]  # keeps the votes of pages apart
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Which is better?</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        "<h1>Which is better?</h1>\n<p>Each pair shows what two systems made of one task. Say for "
        "each aspect which side is better, or that they are equal; leave out what does not apply. "
        "Then write the votes to a file and send it back.</p>\n"
        f'<form id="votes" data-arena="{identity}" '
        f'data-aspects="{html.escape(json.dumps(list(aspects)))}">\n{body}\n'
        '<footer><label>Your name <input type="text" id="rater" required></label>'
        '<button>Write the votes</button> <span id="progress"></span></footer>\n'
        f"</form>\n</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _pair(panel: Panel, number: int, total: int, *, aspects: Sequence[str]) -> str:
    votes = "\n".join(
        _vote(f"{panel.id} {k}", html.escape(aspect)) for k, aspect in enumerate(aspects)
    )
    sides = "\n".join(
        f'<div class="side"><h2>{name}</h2>\n{_parts(parts)}\n</div>'
        for name, parts in (("Left", panel.left), ("Right", panel.right))
    )
    return (
        f'<section class="pair" id="{panel.id}">\n<h2>{number} of {total}</h2>\n'
        f'<div class="task">\n{_parts(panel.task)}\n</div>\n<div class="sides">\n{sides}\n</div>\n'
        f"{votes}\n</section>"
    )


def _vote(name: str, legend: str) -> str:
    boxes = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"> {said}</label>'
        for value, said in _CHOICES.items()
    )
    return f"<fieldset><legend>{legend}</legend>{boxes}</fieldset>"


def _parts(parts: Sequence[Part]) -> str:
    """Texts and pictures in reading order."""
    return "\n".join(
        f"<p>{html.escape(part)}</p>" if isinstance(part, str) else _picture(part) for part in parts
    )


def _picture(pixels: Pixels) -> str:
    """A picture inside the page, written anew: its file may name its maker."""
    height, width = pixels.shape[:2]
    return f'<img src="{data_url(pixels)}" width="{width}" height="{height}" alt="Picture">'
