"""`mogao sample`: many pictures from a file of prompts, resumable.

In: rows `{"id", "prompt", "images"?}`. Out: `DIR/<id>/<k>.png`, a line in `DIR/manifest.jsonl` per
finished picture, and `DIR/settings.json`. A second run goes on where the first one stopped.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from mogao.commands.output import counted, finish
from mogao.commands.rows import picture_paths, read_rows
from mogao.commands.support import Context, open_context, parse_size, require_text
from mogao.data.images import read_image, save_png
from mogao.files import append_row, whole_rows
from mogao.provenance import keep_settings
from mogao.sampling.session import Session
from mogao.sequence import Pixels

__all__ = ["open_context", "parse_size", "run"]


def run(
    prompts: Path,
    out: Path,
    context: Context,
    *,
    num: int,
    size: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Draw `num` pictures per row; picture k uses the seed of the command plus k."""
    rows = read_rows(prompts, required={"prompt": str}, optional={"images": list})
    for row in rows:
        require_text(row["prompt"], what=f"{prompts}: prompt of row {row['id']!r}")
    keep_settings(out, context.settings() | {"size": size})
    done = _finished(out)
    jobs = [(row, k) for row in rows for k in range(num) if (row["id"], k) not in done]
    start = time.perf_counter()
    with context.engine() as engine:
        seeds = (context.seed + k for _, k in jobs)
        drawings = (partial(_draw, row, context, source=prompts, size=size) for row, _ in jobs)
        drawn = zip(jobs, engine.map(drawings, seeds=seeds), strict=True)
        for (row, k), (picture, took) in counted(
            drawn, what="pictures", total=len(jobs), quiet=as_json
        ):
            _keep(row, k, picture, out=out, seed=context.seed + k, seconds=took)
    seconds = time.perf_counter() - start
    result = context.provenance() | {
        "out": str(out),
        "pictures": len(rows) * num,
        "drawn_now": len(jobs),
        "seconds": seconds,
    }
    lines = [f"{len(jobs)} pictures drawn in {seconds:.1f} s, {len(done)} were there: {out}"]
    finish(result, lines, as_json=as_json)


def _draw(
    row: dict[str, Any],
    context: Context,
    session: Session,
    *,
    source: Path,
    size: tuple[int, int] | None,
) -> tuple[Pixels, float]:
    """Draw one picture; return it with the seconds that it took, in company."""
    start = time.perf_counter()
    limit = context.generation.limits.max_input_pixels
    pictures = picture_paths(row, source)
    for path in pictures:
        session.extend(read_image(path, max_pixels=limit), role="user")
    # A text alone is a text-to-picture pair, a plain document, as most of such data is trained.
    session.extend(row["prompt"], role="user" if pictures else "model")
    return session.generate_image(size=size).pixels, time.perf_counter() - start


def _keep(
    row: dict[str, Any], k: int, picture: Pixels, *, out: Path, seed: int, seconds: float
) -> None:
    """Save a picture, then note it in the manifest."""
    name = f"{row['id']}/{k}.png"
    (out / row["id"]).mkdir(parents=True, exist_ok=True)
    save_png(picture, out / name)
    entry = {
        "id": row["id"],
        "k": k,
        "path": name,
        "prompt": row["prompt"],
        "seed": seed,
        "seconds": round(seconds, 3),
    }
    append_row(out / "manifest.jsonl", entry)


def _finished(out: Path) -> set[tuple[str, int]]:
    """(id, k) of the pictures that the manifest names and that are on the disk."""
    entries = whole_rows(out / "manifest.jsonl")
    return {(entry["id"], entry["k"]) for entry in entries if (out / entry["path"]).is_file()}
