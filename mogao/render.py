"""What `mogao generate`, `mogao chat` and the demo write: Markdown, a page, pictures and a trace.

In: a finished interleaved sequence and a trace. Out: `index.md`, a self-contained `index.html`
(pictures inside, no scripts, all text escaped), `001.png`, `002.png`, ... and `trace.json`.
"""

from __future__ import annotations

import html
import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from mogao.data.images import data_url, png_bytes
from mogao.data.markdown import to_markdown
from mogao.errors import RequestError
from mogao.files import write_folder
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment

GIVEN = "given"
"""Tag of segments that came in; everything else was written or drawn by the model."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #6e6e73; --page: #fbfbfa; --card: #f0efec;
  --line: #d9d7d2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --soft: #a1a1a6; --page: #161617; --card: #232325; --line: #3a3a3d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 18px/1.6 Georgia, "Iowan Old Style", "Noto Serif", serif; }
main { max-width: 42rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 2rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 1rem; }
p { margin: 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.user { background: var(--card); border-radius: 0.75rem; padding: 0.9rem 1.1rem 0.1rem;
  margin: 2rem 0 1rem; font-family: system-ui, sans-serif; font-size: 0.95rem; }
.user::before { content: "You"; display: block; color: var(--soft); font-size: 0.8rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0 0 1.25rem; }
figure { margin: 0; }
figure img { display: block; width: min(16rem, 100%); height: auto; border-radius: 0.5rem;
  border: 1px solid var(--line); }
figcaption { color: var(--soft); font: 0.75rem/1.6 system-ui, sans-serif; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem; color: var(--soft);
  font: 0.8rem/1.5 system-ui, sans-serif; }
pre { overflow-x: auto; }
"""


def write_document(
    out: str | Path, document: InterleavedSequence, *, title: str, trace: dict[str, Any]
) -> list[str]:
    """Write a document as files; pictures of an earlier run in the same folder are replaced.

    Args:
        out: Folder, made when missing.
        document: What was said and drawn; pictures tagged `GIVEN` came in.
        title: Heading of the page.
        trace: JSON values: settings, seed, events, timings.

    Returns:
        Names of the picture files, in reading order.

    Raises:
        RequestError: `out` exists and is not a folder.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out {out} is a file; name a folder")
    names = [f"{number:03d}.png" for number in range(1, len(document.images) + 1)]
    files = {
        name: png_bytes(image.pixels) for name, image in zip(names, document.images, strict=True)
    }
    page = to_html(document, title=title, trace=trace)
    record = trace | {"title": title, "files": names}
    files["trace.json"] = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
    files["index.html"] = page.encode()
    files["index.md"] = to_markdown(document.segments, names=names).encode()
    old = _earlier_pictures(out)
    write_folder(out, files)
    for name in old - set(names):
        (out / name).unlink(missing_ok=True)
    return names


def to_html(document: InterleavedSequence, *, title: str, trace: dict[str, Any]) -> str:
    """One page without scripts or outside references; every text is escaped."""
    body: list[str] = []
    for role, turn in groupby(document.segments, key=lambda segment: segment.role):
        inner = "\n".join(_turn(list(turn)))
        body.append(f'<section class="{role}">\n{inner}\n</section>')
    heading = html.escape(title)
    facts = html.escape(_summary(document, trace))
    details = html.escape(json.dumps(trace.get("generation", {}), indent=2, ensure_ascii=False))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{heading}</h1>\n" + "\n".join(body) + f"\n<footer>\n<p>{facts}</p>\n<details>"
        f"<summary>Settings</summary>\n<pre>{details}</pre>\n</details>\n</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _turn(segments: list[Segment]) -> list[str]:
    """The paragraphs and rows of pictures of one speaker."""
    blocks: list[str] = []
    for is_picture, run in groupby(segments, key=lambda s: isinstance(s, ImageSegment)):
        parts = "\n".join(_figure(s) if isinstance(s, ImageSegment) else _text(s) for s in run)
        blocks.append(f'<div class="pictures">\n{parts}\n</div>' if is_picture else parts)
    return blocks


def _text(segment: TextSegment) -> str:
    blocks = []
    for paragraph in re.split(r"\n\s*\n", segment.text.strip("\n")):
        level = re.match(r"#{1,3} +(?=\S)", paragraph)
        tag = "h2" if level else "p"
        content = paragraph[level.end() :] if level else paragraph
        blocks.append(f"<{tag}>{html.escape(content)}</{tag}>")
    return "\n".join(blocks)


def _figure(segment: ImageSegment) -> str:
    height, width = segment.size
    origin = "given" if GIVEN in segment.tags or segment.role != "model" else "drawn"
    return (
        f'<figure><img src="{data_url(segment.pixels)}" width="{width}" height="{height}" '
        f'alt="Picture, {origin}"><figcaption>{origin}, {width} x {height}</figcaption></figure>'
    )


def _summary(document: InterleavedSequence, trace: dict[str, Any]) -> str:
    """One line under the page: who made it, with what, in what time."""
    drawn = sum(GIVEN not in image.tags and image.role == "model" for image in document.images)
    facts = [f"Written by mogao, model {trace.get('model', 'unknown')}", f"{drawn} pictures drawn"]
    if "seed" in trace:
        facts.append(f"seed {trace['seed']}")
    if "seconds" in trace:
        facts.append(f"{trace['seconds']:.1f} s")
    return ", ".join(facts) + ". What the model says and shows is invented and may be wrong."


def _earlier_pictures(out: Path) -> set[str]:
    """Picture names that an earlier run recorded in its own trace."""
    try:
        names = json.loads((out / "trace.json").read_text(encoding="utf-8")).get("files", [])
    except (OSError, ValueError, AttributeError):
        return set()
    return {name for name in names if re.fullmatch(r"\d{3,}\.png", str(name))}
