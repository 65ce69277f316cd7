"""One document that grows: what the caller adds, and what the model writes and draws.

In: text, pictures, sampling settings, one seed. Out: text, pictures and events. All draws come from
the session's own generator, so a session depends on its inputs, its settings and its seed alone.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mogao.config import KEEP_ALL, Drop, GenerationConfig, ImageSamplingConfig
from mogao.errors import RequestError
from mogao.packing.positions import image_positions
from mogao.sampling.cache import KVCache
from mogao.sampling.codes import Parts, PictureCodes
from mogao.sampling.context import Context, read
from mogao.sampling.events import (
    Event,
    Finished,
    ImageFinished,
    ImageStarted,
    ImageStep,
    TextDelta,
)
from mogao.sampling.guidance import Guidance, GuidedVelocity, guidance_of, resolve
from mogao.sampling.image import Reuse, Velocity, sampler_of, schedule_of
from mogao.sampling.inputs import Content, Size, as_segments, fitted
from mogao.sampling.plan import Plan, Stop
from mogao.sampling.runner import Runner
from mogao.sampling.text import Grammar, TextWriter, forbidden_bias
from mogao.sampling.transcript import Transcript
from mogao.sequence import ImageSegment, InterleavedSequence, Role, TextSegment


class Session:
    """The interleaved loop over one document. Source: arXiv 2505.05472, inference.

    Text is decoded until the model ends its turn or opens a picture; the picture is denoised under
    its guidance branches and decoded; its understanding tokens and its final latents are read into
    the cache; text goes on behind it.
    """

    def __init__(self, parts: Parts, *, generation: GenerationConfig, seed: int = 0) -> None:
        self.generation = generation
        self._parts = parts
        self._runner = Runner(parts.transformer)
        self._generator = torch.Generator(parts.device).manual_seed(seed)
        self._codes = PictureCodes(parts)
        self._contexts: dict[Drop, Context] = {}
        self._transcript = Transcript(
            parts.tokenizer, parts.config.transformer, token_pixels=parts.config.token_pixels
        )
        self._whole = self._transcript.mark()  # behind the last whole segment
        self._is_streaming = False
        self._trace: dict[str, Any] = {
            "seed": seed,
            "generation": generation.model_dump(mode="json"),
            "inputs": [],
            "events": [],
        }

    @property
    def sequence(self) -> InterleavedSequence:
        """The document so far: what the caller gave and what the model finished."""
        return self._transcript.sequence

    @property
    def cache_bytes(self) -> int:
        """Memory of all caches."""
        return sum(context.cache.bytes for context in self._contexts.values())

    def trace(self) -> dict[str, Any]:
        """Return what happened, as JSON values: seed, settings, changed inputs, events, costs."""
        events = [dict(event) for event in self._trace["events"]]
        return self._trace | {
            "inputs": list(self._trace["inputs"]),
            "events": events,
            "evaluations": sum(event.get("evaluations", 0) for event in events),
            "cache_bytes": self.cache_bytes,
        }

    def extend(self, content: Content, *, role: Role | None = None) -> None:
        """Add to the document; nothing is computed until something is generated.

        Args:
            content: Text, a picture (RGB bytes [height, width, 3] or a PIL picture), a segment, a
                list of these, or a whole sequence. Pictures are scaled to the pixel budget; changes
                go to the trace.
            role: Who speaks; None keeps the role of segments, and means the model for bare text
                and pictures. Once somebody else has spoken, the document is a conversation.

        Raises:
            RequestError: Nothing is in it, a picture is too large, too small or no RGB bytes, text
                is no Unicode, or the context would exceed `limits.max_context_tokens`. The
                document is then as before.
        """
        self._check_idle()
        limits, side = self.generation.limits, self._parts.config.token_pixels
        pairs = [fitted(s, limits, token_pixels=side) for s in as_segments(content, role)]
        before, is_kept = self._transcript.index, False
        try:
            for segment, _ in pairs:
                self._transcript.add(segment)
            needed = self._transcript.num_tokens
            if needed > limits.max_context_tokens:
                raise RequestError(
                    f"the document would take {needed} tokens; limits.max_context_tokens is "
                    f"{limits.max_context_tokens}: shorten it or raise the limit"
                )
            is_kept = True
        finally:
            if not is_kept:
                self._transcript.cut(before)
        self._trace["inputs"] += [change for _, change in pairs if change is not None]

    def generate_text(
        self,
        *,
        max_tokens: int | None = None,
        grammar: Grammar | None = None,
        generation: GenerationConfig | None = None,
    ) -> str:
        """Let the model write until it ends its turn; it draws nothing.

        Raises:
            RequestError: The document is empty, or the grammar leaves no token.
        """
        events = self.stream(
            max_tokens=max_tokens, forbid_images=True, grammar=grammar, generation=generation
        )
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    def generate_image(
        self, *, size: Size | None = None, generation: GenerationConfig | None = None
    ) -> ImageSegment:
        """Draw one picture here and now, whether or not the model would open one.

        Args:
            size: (height, width) in pixels; None takes that of the last picture, else the default.
            generation: Settings of this call.

        Raises:
            RequestError: The document is empty, the size is not valid, or the context is full.
        """
        plan = Plan(
            generation or self.generation, image_size=size, force_image=True, only_image=True
        )
        self._check(plan)
        for event in _inferring(self._events(plan)):
            if isinstance(event, ImageFinished):
                return event.image
        raise RequestError(
            "no room for a picture in limits.max_context_tokens = "
            f"{plan.generation.limits.max_context_tokens}"
        )

    def stream(
        self,
        *,
        max_images: int | None = None,
        max_tokens: int | None = None,
        force_image: bool = False,
        forbid_images: bool = False,
        image_size: Size | None = None,
        grammar: Grammar | None = None,
        generation: GenerationConfig | None = None,
    ) -> Iterator[Event]:
        """Let the model go on and tell what it does; the last event is `Finished`.

        A caller that stops early leaves the document as it was behind the last whole segment.

        Args:
            max_images: Most pictures; when the model opens one more, the stream ends before it.
            max_tokens: Most text tokens, all texts together; 0 allows pictures only.
            force_image: Open a picture at once.
            forbid_images: Never let the model open one.
            image_size: (height, width) in pixels of every picture; None takes that of the last
                picture, else the default.
            grammar: Rule on the tokens of all texts.
            generation: Settings of this call.

        Raises:
            RequestError: The document is empty, a size or a limit is not valid, or the grammar
                leaves no token.
        """
        plan = Plan(
            generation or self.generation,
            max_images=max_images,
            max_tokens=max_tokens,
            image_size=image_size,
            force_image=force_image,
            forbid_images=forbid_images,
            grammar=grammar,
        )
        self._check(plan)
        return _inferring(self._events(plan))

    def _check(self, plan: Plan) -> None:
        self._check_idle()
        if not self._transcript.segments:
            raise RequestError("the document is empty: extend the session before generating")
        plan.check(token_pixels=self._parts.config.token_pixels)

    def _events(self, plan: Plan) -> Generator[Event, None, None]:
        """The interleaved loop."""
        self._check_idle()
        self._is_streaming = True
        self._whole = self._transcript.mark()
        try:
            self._transcript.open_turn("model")
            is_forced = plan.force_image
            while True:
                reason: Stop = "image" if is_forced else (yield from self._write(plan))
                is_forced = False
                if reason == "image":
                    reason = self._picture_limit(plan)
                if reason != "image":
                    break
                yield from self._draw(plan)
                if plan.only_image:
                    reason = "max_images"
                    break
            self._note("finished", reason=reason)
            yield Finished(reason, text_tokens=plan.text_tokens, images=plan.images)
        finally:
            self._transcript.rewind(self._whole)
            self._is_streaming = False

    def _write(self, plan: Plan) -> Generator[Event, None, Stop]:
        """Write text until the model ends its turn, opens a picture or meets a limit."""
        tokenizer, transcript = self._parts.tokenizer, self._transcript
        start = time.perf_counter()
        context = self._context(KEEP_ALL)
        read([(context, transcript.spans)], self._codes, runner=self._runner)
        prefill_seconds = time.perf_counter() - start
        bias = forbidden_bias(
            tokenizer,
            self._parts.config.transformer.vocab_size,
            allow_image=not plan.forbid_images,
            device=self._parts.device,
        )
        stops: dict[int, Stop] = {tokenizer.end: "end", tokenizer.image_open: "image"}
        writer = TextWriter(
            tokenizer,
            plan.generation.text,
            bias=bias,
            generator=self._generator,
            history=transcript.text_ids,
            grammar=plan.grammar,
        )
        before = transcript.mark()
        while True:
            assert context.hidden is not None
            token = writer.choose(self._parts.transformer.logits(context.hidden)[0])
            reason = stops.get(token) or plan.text_limit(transcript.num_tokens)
            if reason:
                break
            plan.text_tokens += 1
            delta = writer.take(token)
            if writer.is_stopped:
                reason = "stop"
            else:
                context.read_token(transcript.write_token(token))
            if delta is not None:
                yield delta
            if reason:
                break
        if tail := writer.flush():
            yield tail
        if (ids := writer.finish()) != writer.ids:
            transcript.rewind(before)
            for token in ids:
                transcript.write_token(token)
        if ids:
            transcript.finish_text(TextSegment(tokenizer.decode(ids)), ids)
            self._whole = transcript.mark()
        seconds = round(time.perf_counter() - start, 4)
        self._note(
            "text", tokens=len(ids), prefill_seconds=round(prefill_seconds, 4), seconds=seconds
        )
        return reason

    def _draw(self, plan: Plan) -> Iterator[Event]:
        """Denoise one picture, decode it and put it into the document."""
        config, transcript = plan.generation.image, self._transcript
        height, width = self._size(plan)
        number, drawn = plan.images, transcript.index
        yield ImageStarted(number, height, width)
        start = time.perf_counter()
        side = self._parts.config.token_pixels
        grid = (height // side, width // side)
        # Only the size counts: the open token comes before there is a picture.
        transcript.open_picture(ImageSegment(np.zeros((height, width, 3), np.uint8)))
        velocity, guidance = self._guided_velocity(config, grid, drawn=drawn)
        latents = noise = torch.randn(
            (grid[0] * grid[1], self._parts.config.transformer.latent_dim),
            generator=self._generator,
            device=self._parts.device,
        )
        times = schedule_of(config)
        field: Velocity = velocity
        if config.reuse_threshold:
            field = Reuse(velocity, threshold=config.reuse_threshold, last=times[-2])
        sampler = sampler_of(config, generator=self._generator)
        for step, state in enumerate(sampler(field, noise, times)):
            latents = state
            yield ImageStep(number, step, len(times) - 1)
        image = ImageSegment(self._codes.picture(latents, grid))
        self._codes.keep(drawn, image, latents)
        transcript.finish_picture(image)
        self._whole = transcript.mark()
        plan.images += 1
        seconds = time.perf_counter() - start
        self._note(
            "image",
            height=height,
            width=width,
            num_steps=len(times) - 1,
            evaluations=velocity.evaluations,
            branches={branch.name: branch.coefficient(1.0) for branch in guidance.branches},
            seconds=round(seconds, 4),
        )
        yield ImageFinished(number, image, velocity.evaluations, seconds)

    def _guided_velocity(
        self, config: ImageSamplingConfig, grid: tuple[int, int], *, drawn: int
    ) -> tuple[GuidedVelocity, Guidance]:
        """Return the velocity under all branches, whose contexts are read when they are needed."""
        guidance, kept = resolve(guidance_of(config), self._transcript.spans, drawn=drawn)
        contexts = [self._context(branch.drop) for branch in guidance.branches]

        def caches(numbers: Sequence[int]) -> list[KVCache]:
            read([(contexts[i], kept[i]) for i in numbers], self._codes, runner=self._runner)
            return [contexts[i].cache for i in numbers]

        form = self._parts.config.transformer.positions
        # The open token is the last of every context; the picture begins behind it.
        positions = [image_positions(spans[-1].time + 1, grid, form) for spans in kept]
        tensors = [torch.from_numpy(rows).to(self._parts.device) for rows in positions]
        return GuidedVelocity(self._runner, guidance, caches, positions=tensors), guidance

    def _context(self, drop: Drop) -> Context:
        if drop not in self._contexts:
            self._contexts[drop] = Context(self._runner, drop=drop)
        return self._contexts[drop]

    def _size(self, plan: Plan) -> Size:
        images = self._transcript.sequence.images
        return plan.size(images[-1].size if images else None)

    def _picture_limit(self, plan: Plan) -> Stop:
        height, width = self._size(plan)
        tokens = height * width // self._parts.config.token_pixels**2
        return plan.picture_limit(self._transcript.num_tokens, picture_tokens=2 * tokens + 2)

    def _check_idle(self) -> None:
        if self._is_streaming:
            raise RequestError("the session is generating: finish or close its stream first")

    def _note(self, event: str, **facts: Any) -> None:
        self._trace["events"].append({"event": event, **facts})


def _inferring(events: Generator[Event, None, None]) -> Iterator[Event]:
    """Compute each event in inference mode and hand it over outside of it.

    A `with torch.inference_mode()` around a `yield` would leak the mode into the caller.
    """
    try:
        while True:
            with torch.inference_mode():
                event = next(events, None)
            if event is None:
                return
            yield event
    finally:
        events.close()
