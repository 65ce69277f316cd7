"""The tour that `make demo` runs: draw from text, look, edit, and tell an illustrated story.

Everything on the page comes from one model and one stream of text and pictures:
`python examples/demo.py --out out/demo` writes index.html, index.md, pictures and trace.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao import ImageSegment, InterleavedSequence, Mogao, MogaoError, TextSegment
from mogao.provenance import provenance
from mogao.render import GIVEN, write_document
from mogao.sampling.reply import Reply, collect
from mogao.sequence import Segment

PROMPT = "A picture of a fox on a meadow."
QUESTIONS = ("What is in the picture?", "Where is the fox?", "Describe the picture.")
EDITS = ("Change the background to a beach.", "Add a heart.")
STORY = "A story about a fox that collects things on a meadow, in four pictures."


@dataclass(slots=True)
class Tour:
    """The page as it grows, and what each part cost."""

    model: Mogao
    seed: int
    segments: list[Segment] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Start a part of the page."""
        print(text, flush=True)
        self.segments.append(TextSegment(f"## {text}", tags=(GIVEN,)))

    def run(
        self, name: str, given: list[Segment], *, show: slice = slice(None), **options: Any
    ) -> Reply:
        """Give segments to a fresh session, let it go on, and put both on the page.

        Args:
            name: What the part is called in the trace.
            given: What the model reads.
            show: Which of the given segments are put on the page.
            options: Passed to `Session.stream`.
        """
        session = self.model.session(seed=self.seed)
        session.extend(given)
        reply = collect(session.stream(**options))
        self.segments += [*given[show], *reply.segments]
        self.trace.append(
            {"part": name, "seconds": round(reply.seconds, 2), "evaluations": reply.evaluations,
             "cache_bytes": session.cache_bytes, "events": session.trace()["events"]}
        )  # fmt: skip
        print(f"  {name}: {len(reply.images)} pictures, {reply.seconds:.1f} s", flush=True)
        return reply


def draw(tour: Tour) -> ImageSegment:
    """Draw one picture from a text."""
    tour.heading("Draw")
    prompt = TextSegment(PROMPT, tags=(GIVEN,))
    reply = tour.run("draw", [prompt], max_images=1, force_image=True)
    return reply.images[0]


def look(tour: Tour, picture: ImageSegment) -> None:
    """Ask about the picture."""
    tour.heading("Look")
    seen = ImageSegment(picture.pixels, role="user")
    for question in QUESTIONS:
        asked = TextSegment(question, role="user")
        tour.run("look", [seen, asked], show=slice(1, None), forbid_images=True)


def edit(tour: Tour, picture: ImageSegment) -> None:
    """Change the picture step by step, each time starting from the last result."""
    tour.heading("Edit")
    for instruction in EDITS:
        seen = ImageSegment(picture.pixels, role="user")
        told = TextSegment(instruction, role="user")
        reply = tour.run("edit", [seen, told], show=slice(1, None), max_images=1, force_image=True)
        picture = reply.images[0]


def tell(tour: Tour) -> None:
    """Let the model tell a story and decide by itself when to draw."""
    tour.heading("Tell a story")
    tour.run("story", [TextSegment(STORY, role="user")], max_images=5)


def main() -> int:
    """Run the tour and write the page; the exit code follows the kind of error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.perf_counter()
    try:
        tour = Tour(Mogao.from_pretrained(arguments.model), arguments.seed)
        loaded = time.perf_counter()
        picture = draw(tour)
        look(tour, picture)
        edit(tour, picture)
        tell(tour)
        done = time.perf_counter()
        trace = {
            "model": arguments.model,
            "seed": arguments.seed,
            "load_seconds": round(loaded - start, 2),
            "seconds": round(done - loaded, 2),
            "generation": tour.model.generation.model_dump(mode="json"),
            "parts": tour.trace,
            "provenance": provenance(str(tour.model.dtype).removeprefix("torch.")),
        }
        document = InterleavedSequence(tuple(tour.segments), id="demo")
        names = write_document(arguments.out, document, title="A tour of mogao", trace=trace)
    except MogaoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: cannot write {arguments.out}: {error.strerror}", file=sys.stderr)
        return 6
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"{len(names)} pictures in {done - loaded:.1f} s (loading: {loaded - start:.1f} s)")
    print(f"open {arguments.out / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
