"""`mogao ask`: a question about pictures, answered in text.

In: pictures and a question, or rows `{"id", "images", "question"}`. Out: answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

from mogao.commands import rows as batches
from mogao.commands.output import counted, finish, printable
from mogao.commands.support import Context, open_context, require_text
from mogao.data.images import read_image
from mogao.errors import RequestError
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment

__all__ = ["Question", "answer", "open_context", "read_rows", "run"]


@dataclass(frozen=True, slots=True)
class Question:
    """One question about any number of pictures."""

    id: str
    images: list[Path]
    text: str


def read_rows(words: list[str], batch: Path | None) -> list[Question]:
    """Questions from the command line (pictures, then the question) or from a batch file.

    Raises:
        RequestError: Neither or both are given, or a question is empty.
        DataError: The batch file is not valid.
    """
    if bool(words) == (batch is not None):
        raise RequestError('give IMAGE... "QUESTION" or --batch FILE.jsonl')
    if batch is None:
        *pictures, text = words
        return [Question("0", [Path(picture) for picture in pictures], _question(text, "question"))]
    found = batches.read_rows(batch, required={"images": list, "question": str}, optional={})
    return [
        Question(
            row["id"],
            batches.picture_paths(row, batch),
            _question(row["question"], f"{batch}: question of row {row['id']!r}"),
        )
        for row in found
    ]


def run(questions: list[Question], context: Context, *, as_json: bool) -> None:
    """Answer each question in a session of its own."""
    quiet = as_json or len(questions) == 1
    with context.engine() as engine:
        jobs = (partial(answer, question, context) for question in questions)
        texts = engine.map(jobs, seeds=repeat(context.seed))
        shown = counted(zip(questions, texts, strict=True), what="questions",
                        total=len(questions), quiet=quiet)  # fmt: skip
        answers = [{"id": question.id, "text": text} for question, text in shown]
    lines = [printable(answer["text"]) for answer in answers]
    if len(lines) > 1:
        lines = [f"{a['id']}: {line}" for a, line in zip(answers, lines, strict=True)]
    finish(context.provenance() | {"answers": answers}, lines, as_json=as_json)


def answer(question: Question, context: Context, session: Session) -> str:
    """The model's answer to one question, in a new session."""
    limit = context.generation.limits.max_input_pixels
    for path in question.images:
        # An answer needs what a picture shows; its latents serve drawing alone.
        image = ImageSegment(read_image(path, max_pixels=limit), latents=False)
        session.extend(image, role="user")
    session.extend(question.text, role="user")
    return session.generate_text().strip()


def _question(text: str, what: str) -> str:
    if Path(text).suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"} and Path(text).is_file():
        raise RequestError(f"the last argument {text!r} is a picture; end with the question")
    return require_text(text, what=what)
