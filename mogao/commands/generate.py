"""`mogao generate`: continue an interleaved document and write it as files.

In: a Markdown file, or a prompt with pictures. Out: `index.md`, `index.html`, pictures and
`trace.json` in one folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from mogao.commands.output import finish
from mogao.commands.support import (
    Context,
    Show,
    open_context,
    parse_size,
    require_text,
)
from mogao.data.images import read_image
from mogao.data.markdown import read_markdown
from mogao.errors import RequestError
from mogao.render import GIVEN, write_document
from mogao.sampling.reply import Reply, collect
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, InterleavedSequence, Segment, TextSegment

__all__ = ["Request", "StreamOptions", "open_context", "parse_size", "run"]


@dataclass(frozen=True, slots=True)
class Request:
    """What to continue and where to write: either a document or a prompt with pictures."""

    document: Path | None
    prompt: str | None
    images: list[Path]
    out: Path


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Limits and switches of the interleaved loop; size is (height, width) in pixels."""

    max_images: int | None = None
    force_image: bool = False
    forbid_images: bool = False
    size: tuple[int, int] | None = None


def run(request: Request, *, options: StreamOptions, context: Context, as_json: bool) -> None:
    """Continue a document and write the result."""
    given = read_request(request, context)
    session = context.session()
    session.extend(given)
    reply = stream(session, options, quiet=as_json)
    trace = make_trace(context, session, reply)
    write_document(request.out, session.sequence, title=_title(given), trace=trace)
    result = context.provenance() | {
        "out": str(request.out),
        "pictures": len(reply.images),
        "text_tokens": reply.text_tokens,
        "seconds": reply.seconds,
        "evaluations": reply.evaluations,
        "cache_bytes": session.cache_bytes,
        "reason": reply.reason,
    }
    line = f"{len(reply.images)} pictures, {reply.text_tokens} text tokens, {reply.seconds:.1f} s"
    finish(result, [line, f"wrote {request.out / 'index.html'}"], as_json=as_json)


def read_request(request: Request, context: Context) -> InterleavedSequence:
    """The document to continue, each segment tagged as given.

    Raises:
        RequestError: There is no document and no prompt, or both, or one of them is empty, or a
            picture cannot be read.
    """
    limit = context.generation.limits.max_input_pixels
    if (request.document is None) == (request.prompt is None):
        raise RequestError("give either a Markdown document or --prompt TEXT")
    if request.document is not None:
        if request.images:
            raise RequestError("--image goes with --prompt; in a document write ![](picture.png)")
        document = read_markdown(request.document, max_pixels=limit)
    else:
        text = require_text(request.prompt or "", what="--prompt")
        pictures = [read_image(path, max_pixels=limit) for path in request.images]
        segments: list[Segment] = [ImageSegment(pixels, role="user") for pixels in pictures]
        document = InterleavedSequence((*segments, TextSegment(text, role="user")), id="prompt")
    return document.with_segments([replace(s, tags=(*s.tags, GIVEN)) for s in document.segments])


def stream(session: Session, options: StreamOptions, *, quiet: bool) -> Reply:
    """Let the model go on and show what comes."""
    show = Show(Console(stderr=True, quiet=quiet, highlight=False))
    try:
        return collect(
            session.stream(
                max_images=options.max_images,
                force_image=options.force_image,
                forbid_images=options.forbid_images,
                image_size=options.size,
            ),
            show=show,
        )
    finally:
        show.close()


def make_trace(context: Context, session: Session, reply: Reply) -> dict[str, Any]:
    """Everything that is needed to repeat or judge a result, as JSON values."""
    return {
        "model": context.name,
        "seconds": round(reply.seconds, 3),
        "reason": reply.reason,
        **session.trace(),
        "provenance": context.provenance(),
    }


def _title(document: InterleavedSequence) -> str:
    """First line of the text, shortened, or the name of the document."""
    lines = [line.strip("# ").strip() for line in document.text.splitlines()]
    first = next((line for line in lines if line), document.id)
    return first if len(first) <= 80 else first[:77].rstrip() + "..."
