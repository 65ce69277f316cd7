"""`mogao sample`: many pictures from a file of prompts, resumable.

In: rows `{"id", "prompt", "images"?}`. Out: `DIR/<id>/<k>.png`, a line in `DIR/manifest.jsonl` per
finished picture, and `DIR/settings.json`. A second run goes on where the first one stopped.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from mogao.commands.output import counted, finish
from mogao.commands.rows import picture_paths, read_rows
from mogao.commands.support import Context, open_context, parse_size, require_text
from mogao.data.images import read_image, save_png
from mogao.errors import ConfigError
from mogao.files import atomic_write, to_json
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
    _keep_settings(out, context.settings() | {"size": size})
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
    with (out / "manifest.jsonl").open("a", encoding="utf-8") as manifest:
        manifest.write(to_json(entry) + "\n")


def _keep_settings(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new run, or compare with those of the run that is resumed.

    Raises:
        ConfigError: The folder was filled with other settings.
    """
    path = out / "settings.json"
    settings = json.loads(to_json(settings))
    if not path.is_file():
        atomic_write(path, json.dumps(settings, indent=2) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before != settings:
        changed = [key for key in settings if before.get(key) != settings[key]]
        raise ConfigError(
            f"{out} was filled with another {', '.join(changed)}; choose another --out, "
            "or the settings in its settings.json"
        )


def _finished(out: Path) -> set[tuple[str, int]]:
    """(id, k) of the pictures that the manifest names and that are on the disk.

    A last line that an interruption cut short is removed, so that its picture is drawn again.
    """
    path = out / "manifest.jsonl"
    if not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        atomic_write(path, whole)
    entries = [json.loads(line) for line in whole.splitlines()]
    return {(entry["id"], entry["k"]) for entry in entries if (out / entry["path"]).is_file()}
