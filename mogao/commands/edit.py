"""`mogao edit`: change a picture as told.

In: a picture and an instruction, or rows `{"id", "images", "instruction"}`. Out: one PNG per edit,
with `--batch` as `DIR/<id>.png` beside `DIR/manifest.jsonl`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from mogao.commands import rows as batches
from mogao.commands.output import counted, finish
from mogao.commands.support import Context, open_context, require_text
from mogao.data.images import read_image, save_png
from mogao.errors import RequestError
from mogao.files import atomic_write, to_json
from mogao.sampling.reply import Reply, collect
from mogao.sampling.session import Session

__all__ = ["Edit", "open_context", "read_rows", "run"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: pictures to start from, what to change, where to write the result."""

    id: str
    images: list[Path]
    instruction: str
    out: Path


def read_rows(words: list[str], batch: Path | None, *, out: Path) -> list[Edit]:
    """Edits from the command line or from a batch file.

    Raises:
        RequestError: Neither or both are given, or an instruction is empty.
        DataError: The batch file is not valid.
    """
    if bool(words) == (batch is not None):
        raise RequestError('give IMAGE "INSTRUCTION" or --batch FILE.jsonl')
    if batch is None:
        if len(words) < 2:
            raise RequestError('both are needed: IMAGE "INSTRUCTION"')
        if out.suffix.lower() != ".png":
            raise RequestError(f"--out {out} must name a .png file")
        text = require_text(words[-1], what="instruction")
        return [Edit("0", [Path(word) for word in words[:-1]], text, out)]
    found = batches.read_rows(batch, required={"images": list, "instruction": str}, optional={})
    return [
        Edit(
            row["id"],
            batches.picture_paths(row, batch),
            require_text(row["instruction"], what=f"{batch}: instruction of row {row['id']!r}"),
            out / f"{row['id']}.png",
        )
        for row in found
    ]


def run(
    edits: list[Edit], context: Context, *, out: Path, force_image: bool, as_json: bool
) -> None:
    """Make each edit in a session of its own; a refusal in words is passed on.

    Raises:
        RequestError: The model answered a single edit in words only.
    """
    single = edits[0].out == out
    start = time.perf_counter()
    entries = []
    with context.engine() as engine:
        jobs = (partial(apply, edit, context, force_image=force_image) for edit in edits)
        replies = zip(edits, engine.map(jobs, seeds=repeat(context.seed)), strict=True)
        quiet = as_json or single
        for edit, reply in counted(replies, what="edits", total=len(edits), quiet=quiet):
            entries.append(_write(edit, reply))
    if single and not entries[0]["path"]:
        raise RequestError(f"the model drew nothing and said: {entries[0]['text'] or '(nothing)'}")
    drawn = [entry["path"] for entry in entries if entry["path"]]
    if not single:
        atomic_write(out / "manifest.jsonl", "".join(to_json(e) + "\n" for e in entries))
    result = context.provenance() | {
        "out": str(out),
        "pictures": len(drawn),
        "seconds": time.perf_counter() - start,
        "edits": entries,
    }
    finish(result, [f"wrote {path}" for path in drawn], as_json=as_json)


def apply(edit: Edit, context: Context, session: Session, *, force_image: bool) -> Reply:
    """Show the pictures, give the instruction, and take what the model says and draws."""
    limit = context.generation.limits.max_input_pixels
    for path in edit.images:
        session.extend(read_image(path, max_pixels=limit), role="user")
    session.extend(edit.instruction, role="user")
    return collect(session.stream(max_images=1, force_image=force_image))


def _write(edit: Edit, reply: Reply) -> dict[str, Any]:
    """Save the picture of a reply, where there is one."""
    pictures = reply.images
    if pictures:
        edit.out.parent.mkdir(parents=True, exist_ok=True)
        save_png(pictures[-1].pixels, edit.out)
    return {
        "id": edit.id,
        "path": str(edit.out) if pictures else "",
        "text": reply.text,
        "seconds": round(reply.seconds, 3),
    }
