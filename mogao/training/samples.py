"""What a run can do so far: a sheet of pictures and a page of answers.

In: documents of the run's own data, cut before their last learned segment; of the endless world
such as it has not been trained on, of records the same ones in another order. Out: `step-N.png`
(truth above, drawn below, prompt under both) and `step-N.txt`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from mogao.config import DataConfig, GenerationConfig, RunConfig, reseeded
from mogao.data.images import save_png
from mogao.data.mixture import build_source
from mogao.errors import RequestError
from mogao.files import atomic_write
from mogao.sampling.codes import Parts
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, TextSegment
from mogao.training.checkpoint import checkpoint_name
from mogao.training.pictures import UNSEEN_SEED

NUM_PICTURES = 8
NUM_ANSWERS = 8
MAX_DOCUMENTS = 200
MAX_ANSWER_TOKENS = 48
CAPTION_PIXELS = 64


class SampleSheet:
    """Draws and answers the same requests every time."""

    def __init__(self, config: RunConfig, generation: GenerationConfig) -> None:
        self._data = config.data
        self._generation = generation
        self._requests: list[InterleavedSequence] = []

    def write(
        self, folder: Path, step: int, *, parts: Parts, generator: torch.Generator
    ) -> tuple[Path, Path]:
        """Write the sheet and the page; return their paths.

        Args:
            folder: Made when missing.
            step: Finished steps, for the names.
            parts: The model.
            generator: Source of the seeds of all sessions.
        """
        self._requests = self._requests or choose_requests(self._data)
        columns, lines = [], []
        for request in self._requests:
            seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
            truth, text = request.segments[-1], _last_text(request)
            try:
                made = _make(request, Session(parts, generation=self._generation, seed=seed))
            except RequestError as error:  # one odd document must not end a run
                lines.append(f"{text}\n  not tried: {error}\n")
                continue
            if isinstance(truth, ImageSegment) and isinstance(made, ImageSegment):
                columns.append((truth.pixels, made.pixels, text))
            elif isinstance(truth, TextSegment):
                lines.append(f"{text}\n  model: {made}\n  truth: {truth.text}\n")
        folder.mkdir(parents=True, exist_ok=True)
        sheet, page = (
            folder / f"{checkpoint_name(step)}.png",
            folder / f"{checkpoint_name(step)}.txt",
        )
        if columns:
            save_png(np.asarray(draw_sheet(columns)), sheet)
        atomic_write(page, "\n".join(lines))
        return sheet, page


def _make(request: InterleavedSequence, session: Session) -> ImageSegment | str:
    """Let the model make the last segment of a document from those before it."""
    *context, truth = request.segments
    session.extend(context)
    if isinstance(truth, ImageSegment):
        return session.generate_image(size=truth.size)
    return session.generate_text(max_tokens=MAX_ANSWER_TOKENS)


def choose_requests(data: DataConfig) -> list[InterleavedSequence]:
    """Return documents of an unseen part of the data, each ending with what the model must make."""
    source = build_source(reseeded(data, by=UNSEEN_SEED))
    pictures: list[InterleavedSequence] = []
    answers: list[InterleavedSequence] = []
    for _ in range(MAX_DOCUMENTS):
        sequence = source.next()
        learned = [i for i, segment in enumerate(sequence.segments) if segment.has_loss]
        if not learned or learned[-1] == 0:
            continue
        cut = sequence.with_segments(sequence.segments[: learned[-1] + 1])
        is_picture = isinstance(cut.segments[-1], ImageSegment)
        group, size = (pictures, NUM_PICTURES) if is_picture else (answers, NUM_ANSWERS)
        if len(group) < size:
            group.append(cut)
        if len(pictures) == NUM_PICTURES and len(answers) == NUM_ANSWERS:
            break
    return pictures + answers


def draw_sheet(columns: Sequence[tuple[Pixels, Pixels, str]]) -> Image.Image:
    """Return truth above, drawn below and the prompt under both, one column a request."""
    width = max(pixels.shape[1] for column in columns for pixels in column[:2]) + 8
    height = max(pixels.shape[0] for column in columns for pixels in column[:2]) + 8
    sheet = Image.new("RGB", (width * len(columns), 2 * height + CAPTION_PIXELS), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (truth, drawn, text) in enumerate(columns):
        left = index * width + 4
        sheet.paste(Image.fromarray(truth), (left, 4))
        sheet.paste(Image.fromarray(drawn), (left, height + 4))
        caption = "\n".join(textwrap.wrap(text, max(8, width // 7))[:5])
        draw.text((left, 2 * height), caption, fill="black")
    return sheet


def _last_text(sequence: InterleavedSequence) -> str:
    texts = [s.text for s in sequence.segments[:-1] if isinstance(s, TextSegment)]
    return texts[-1] if texts else "(pictures only)"
