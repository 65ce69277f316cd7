"""The interleaved loop: text until the model ends or opens a picture, the picture, and on.

In: the state of a document and the plan of a call. Out: events, while the document grows; a loop
that is left early leaves it as it was behind the last whole segment; if it was left inside a
segment, the generator has a new seed, drawn there.
Source: arXiv 2505.05472, inference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch

from mogao.config import KEEP_ALL
from mogao.sampling.context import Context
from mogao.sampling.events import (
    Event,
    Finished,
    ImageFinished,
    ImageStarted,
    ImageStep,
    Reason,
)
from mogao.sampling.guidance import GuidedVelocity
from mogao.sampling.image import Latents, RandomStep, Reuse, Velocity, run_sampler, schedule_of
from mogao.sampling.inputs import Size
from mogao.sampling.plan import Plan, Stop
from mogao.sampling.runner import Task
from mogao.sampling.state import DocumentState
from mogao.sampling.text import TextWriter, forbidden_bias
from mogao.sampling.transcript import Mark, num_picture_tokens
from mogao.sequence import ImageSegment, Pixels, TextSegment

Note = Callable[..., None]
"""Takes the name of an event and facts about it, for the trace."""


class InterleavedLoop:
    """One call: goes on with a document until the model, the caller or a limit ends it.

    Text is decoded until the model ends its turn or opens a picture; the picture is denoised under
    its guidance branches and decoded; its understanding tokens and its final latents are read into
    the cache; text goes on behind it.
    """

    def __init__(self, state: DocumentState, plan: Plan, note: Note) -> None:
        self._state, self._plan, self._note = state, plan, note
        self._log_prob: float | None = None  # of the token that ended the last text
        self._keep()

    def events(self) -> Generator[Event, None, None]:
        """Yield what happens; `Finished` is the last."""
        plan = self._plan
        plan.start()
        try:
            reason = yield from self._segments()
        except BaseException:
            self._state.runner.when_settled(self._undo)
            raise
        self._state.transcript.rewind(self._whole)
        self._note("finished", reason=reason)
        log_prob = self._log_prob if reason == "end" else None
        yield Finished(reason, plan.text_tokens, plan.images, log_prob)

    def _segments(self) -> Generator[Event, None, Reason]:
        """Write and draw by turns; say why it ends."""
        plan = self._plan
        self._state.transcript.open_turn("model")
        is_forced = plan.force_image
        while True:
            self._is_open = True
            self._log_prob = None
            reason: Stop = "image" if is_forced else (yield from self._write())
            is_forced = False
            if reason == "image":
                reason = self._picture_limit()
            if reason != "image":
                return reason
            is_drawn = yield from self._draw()
            if plan.only_image or not is_drawn:
                return "max_images" if is_drawn else "max_seconds"

    def _keep(self) -> None:
        """Remember this place as the end of the last whole segment."""
        self._whole = self._state.transcript.mark()
        self._drawn = self._state.generator.get_state()
        self._is_open = False

    def _undo(self) -> None:
        """Go back behind the last whole segment; a segment that was begun is begun otherwise next.

        An engine runs ahead of who reads its events, so how much was drawn since is chance.
        """
        self._state.transcript.rewind(self._whole)
        if self._is_open:
            self._state.trim()
            generator = self._state.generator
            generator.set_state(self._drawn)
            seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
            generator.manual_seed(int(seed))

    def _write(self) -> Generator[Event, None, Stop]:
        """Write text until the model ends its turn, opens a picture or meets a limit."""
        transcript = self._state.transcript
        start = time.perf_counter()
        before = transcript.mark()
        transcript.open_text(tags=self._plan.tags)
        (context,) = self._state.read([(KEEP_ALL, transcript.spans)])
        prefill_seconds = time.perf_counter() - start
        writer = self._writer()
        reason = yield from self._state.runner.play(self._decode(context, writer))
        if (tail := writer.flush()) is not None:
            yield tail
        self._finish_text(writer, before)
        self._log_prob = writer.log_prob
        seconds = round(time.perf_counter() - start, 4)
        self._note("text", tokens=len(writer.ids), prefill_seconds=round(prefill_seconds, 4),
                   seconds=seconds)  # fmt: skip
        return reason

    def _decode(self, context: Context, writer: TextWriter) -> Task[Stop]:
        """Choose tokens and read them, one step each; say why the text ends."""
        plan, transcript, tokenizer = (
            self._plan,
            self._state.transcript,
            self._state.parts.tokenizer,
        )
        stops: dict[int, Stop] = {tokenizer.end: "end", tokenizer.image_open: "image"}
        while True:
            assert context.logits is not None
            token = writer.choose(context.logits[0])
            reason = stops.get(token) or plan.text_limit(transcript.num_tokens)
            if reason:
                return reason
            plan.text_tokens += 1
            delta = writer.take(token)
            if not writer.is_stopped:
                span = transcript.write_token(token, tags=plan.tags)
                yield from context.read_token(span)
            if delta is not None:
                yield delta
            if writer.is_stopped:
                return "stop"

    def _writer(self) -> TextWriter:
        parts, plan = self._state.parts, self._plan
        bias = forbidden_bias(
            parts.tokenizer,
            parts.config.transformer.vocab_size,
            allow_image=not plan.forbid_images,
            device=parts.device,
        )
        return TextWriter(
            parts.tokenizer,
            plan.generation.text,
            bias=bias,
            generator=self._state.generator,
            history=self._state.transcript.text_ids,
            grammar=plan.grammar,
            whole=plan.whole_texts,
        )

    def _finish_text(self, writer: TextWriter, before: Mark) -> None:
        """Put a text into the document; where a stop string cut it, without the rest."""
        transcript = self._state.transcript
        ids = writer.finish()
        tags = self._plan.tags
        if ids != writer.ids or not ids:
            transcript.rewind(before)
            if ids:
                transcript.open_text(tags=tags)
            for token in ids:
                transcript.write_token(token, tags=tags)
        if ids:
            text = self._state.parts.tokenizer.decode(ids)
            transcript.finish_text(TextSegment(text, tags=tags), ids)
            self._keep()

    def _draw(self) -> Generator[Event, None, bool]:
        """Denoise one picture, decode it and put it into the document; False if time ran out."""
        state, plan, transcript = self._state, self._plan, self._state.transcript
        config, (height, width) = plan.generation.image, self._size()
        number, drawn = plan.images, transcript.index
        yield ImageStarted(number, height, width, self._log_prob)
        start = time.perf_counter()
        side = state.parts.config.token_pixels
        grid = (height // side, width // side)
        # Only the size counts: the open token comes before there is a picture.
        transcript.open_picture(ImageSegment(np.zeros((height, width, 3), np.uint8)))
        velocity, guidance = state.guided_velocity(config, grid, drawn=drawn)
        times = schedule_of(config)
        latents, count, is_drawn = torch.empty(0), len(times) - 1, False
        try:
            for step, (reached, draw) in enumerate(self._denoise(velocity, times, grid)):
                latents = reached
                if plan.is_late and step + 1 < count:
                    return False
                yield ImageStep(number, step, count, self._preview(velocity, grid, step), draw)
            is_drawn = True
        finally:
            if not is_drawn:
                self._note("image_left", evaluations=velocity.evaluations)
        image = ImageSegment(state.codes.picture(latents, grid))
        state.codes.keep(drawn, image, latents)
        transcript.finish_picture(image)
        self._keep()
        plan.images += 1
        seconds = time.perf_counter() - start
        self._note(
            "image",
            height=height,
            width=width,
            num_steps=count,
            evaluations=velocity.evaluations,
            branches={branch.name: branch.coefficient(1.0) for branch in guidance.branches},
            seconds=round(seconds, 4),
        )
        yield ImageFinished(number, image, velocity.evaluations, seconds)
        return True

    def _denoise(
        self, velocity: GuidedVelocity, times: list[float], grid: tuple[int, int]
    ) -> Iterator[tuple[Latents, RandomStep | None]]:
        """Return what lies behind each interval, from noise of the document's generator."""
        config, state = self._plan.generation.image, self._state
        noise = torch.randn(
            (grid[0] * grid[1], state.parts.config.transformer.latent_dim),
            generator=state.generator,
            device=state.parts.device,
        )
        field: Velocity = velocity
        if config.reuse_threshold:
            field = Reuse(velocity, threshold=config.reuse_threshold, last=times[-2])
        return run_sampler(field, noise, times, config=config, generator=state.generator)

    def _preview(self, velocity: GuidedVelocity, grid: tuple[int, int], step: int) -> Pixels | None:
        """The picture as it would be if the flow went straight on, where one is asked for."""
        config = self._plan.generation.image
        every, number = config.preview_every, step + 1
        is_due = number in every if isinstance(every, tuple) else number % every == 0
        if config.previews == "none" or not is_due:
            return None
        if config.previews == "decoder":
            return self._state.codes.picture(velocity.clean, grid)
        return self._state.codes.rough_picture(velocity.clean, grid)

    def _size(self) -> Size:
        images = self._state.transcript.sequence.images
        return self._plan.size(images[-1].size if images else None)

    def _picture_limit(self) -> Stop:
        config, transcript = self._state.parts.config, self._state.transcript
        tokens = num_picture_tokens(
            self._size(), config.transformer.layout, token_pixels=config.token_pixels
        )
        return self._plan.picture_limit(transcript.num_tokens, picture_tokens=tokens)
