"""Draw `speed.svg` from the JSON files beside it: how many times faster, one bar a claim.

Run `python benchmarks/plot.py` after new measurements. Nothing but the standard library.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROW, LEFT, WIDTH, RIGHT = 26, 430, 300, 60
INK, BAR, LINE = "#24292f", "#3b7dd8", "#b08800"


def load(name: str) -> dict[str, Any]:
    """Read one result."""
    facts: dict[str, Any] = json.loads((HERE / name).read_text(encoding="utf-8"))
    return facts


def claims() -> list[tuple[str, float]]:
    """Return what is compared and how many times faster it is; one run each."""
    decode, denoise, document = load("decode.json"), load("denoise.json"), load("interleave.json")
    llama = {row["context"]: row["tokens_per_second"] for row in decode["peers"]["llama"]["rows"]}
    rows = [
        (f"text behind {row['context']:,} tokens, against transformers Llama",
         row["tokens_per_second"] / llama[row["context"]])
        for row in decode["rows"]
    ]  # fmt: skip
    theirs = denoise["peers"]["omnigen"]["rows"]
    rows += [
        (f"denoise step, {ours['branches']} branch(es), against diffusers OmniGen",
         other["seconds_per_step"] / ours["seconds_per_step"])
        for ours, other in zip(denoise["small"]["rows"], theirs, strict=True)
    ]  # fmt: skip
    rows.append((
        "a picture of 256 tokens, against transformers Janus",
        denoise["peers"]["janus"]["seconds"] / denoise["picture"]["seconds"],
    ))  # fmt: skip
    peer = document["peers"]["transfusion-pytorch"]
    rows += [
        (
            "interleaved document, against transfusion-pytorch",
            peer["seconds"] / document["seconds"],
        ),
        ("eight documents at once, against transfusion-pytorch",
         peer["eight_seconds"] / document["eight"]["seconds"]),
    ]  # fmt: skip
    rows += [
        (f"eight requests together, against in turn: {row['mix']}",
         row["in_turn_seconds"] / row["together_seconds"])
        for row in load("batch.json")["rows"]
    ]  # fmt: skip
    rows += [
        (f"training step with {row['pictures']} pictures, ECTF against a sequence each",
         row["one_per_picture"]["seconds"] / row["ectf"]["seconds"])
        for row in load("ectf.json")["rows"] if row["pictures"] >= 4
    ]  # fmt: skip
    return rows


def draw(rows: list[tuple[str, float]]) -> str:
    """Return the chart as SVG; the line marks equal speed."""
    scale = WIDTH / max(ratio for _, ratio in rows)
    width, height = LEFT + WIDTH + RIGHT, ROW * len(rows) + 20
    space = "http://www.w3.org/2000/svg"
    style = 'font-family="sans-serif" font-size="13"'
    parts = [
        f'<svg xmlns="{space}" width="{width}" height="{height}" {style}>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for number, (name, ratio) in enumerate(rows):
        top, length = 10 + ROW * number, ratio * scale
        bar = f'width="{length:.1f}" height="{ROW - 8}" fill="{BAR}"'
        parts += [
            text(LEFT - 10, top + 17, escape(name), anchor="end"),
            f'<rect x="{LEFT}" y="{top + 4}" {bar}/>',
            text(LEFT + length + 6, top + 17, f"{ratio:.1f}x", anchor="start"),
        ]
    equal = LEFT + scale
    parts.append(f'<path d="M{equal:.1f} 6V{height - 6}" stroke="{LINE}" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>", ""])


def text(x: float, y: float, words: str, *, anchor: str) -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{INK}">{words}</text>'


if __name__ == "__main__":
    (HERE / "speed.svg").write_text(draw(claims()), encoding="utf-8")
