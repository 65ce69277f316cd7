"""One document that grows: what the caller adds, and what the model writes and draws.

In: text, pictures, sampling settings, one seed. Out: text, pictures and events. All draws come from
the session's own generator, so a session depends on its inputs, its settings and its seed alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from mogao.config import GenerationConfig
from mogao.data.images import MIN_SIDE_PIXELS, fit
from mogao.errors import RequestError
from mogao.flow import schedule
from mogao.packing.layout import KEEP_ALL, Drop
from mogao.packing.positions import image_positions
from mogao.sampling.codes import Parts, PictureCodes
from mogao.sampling.context import Context, read
from mogao.sampling.events import (
    Event,
    Finished,
    ImageFinished,
    ImageStarted,
    ImageStep,
    Reason,
    TextDelta,
)
from mogao.sampling.guidance import GuidedVelocity, branches_of, resolve
from mogao.sampling.image import SAMPLERS
from mogao.sampling.runner import Runner
from mogao.sampling.text import forbidden_bias, next_token
from mogao.sampling.transcript import Transcript
from mogao.sequence import ImageSegment, InterleavedSequence, Pixels, Role, Segment, TextSegment

Content = str | Pixels | Image.Image | Segment | InterleavedSequence | Sequence[Segment]
Size = tuple[int, int]  # (height, width) in pixels


@dataclass(slots=True)
class _Plan:
    """One run of the interleaved loop: its settings, and what it has made so far."""

    generation: GenerationConfig
    max_images: int
    max_tokens: int
    force_image: bool
    forbid_images: bool
    only_image: bool
    image_size: Size | None
    images: int = 0
    text_tokens: int = 0


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
            content: Text, a picture (RGB bytes [height, width, 3] or a PIL picture), segments or a
                whole sequence. Pictures are scaled to the pixel budget; changes go to the trace.
            role: Who speaks; None keeps the role of segments, and means the model for bare text
                and pictures. Once somebody else has spoken, the document is a conversation.

        Raises:
            RequestError: Nothing is in it, a picture is too large, too small or no RGB bytes, text
                is no Unicode, or the context would exceed `limits.max_context_tokens`. The
                document is then as before.
        """
        self._check_idle()
        segments = [self._fitted(segment) for segment in _segments(content, role)]
        if not any(isinstance(s, ImageSegment) or s.text.strip() for s in segments):
            raise RequestError("the prompt is empty: write what is to be done, or add a picture")
        before, fits = self._transcript.index, False
        limit = self.generation.limits.max_context_tokens
        try:
            for segment in segments:
                self._transcript.add(segment)
            needed = self._transcript.num_tokens
            fits = needed <= limit
        finally:
            if not fits:
                self._transcript.cut(before)
        if not fits:
            raise RequestError(
                f"the document would take {needed} tokens; limits.max_context_tokens is {limit}: "
                "shorten it or raise the limit"
            )

    def generate_text(
        self, *, max_tokens: int | None = None, generation: GenerationConfig | None = None
    ) -> str:
        """Let the model write until it ends its turn; it draws nothing.

        Raises:
            RequestError: The document is empty.
        """
        events = self.stream(max_tokens=max_tokens, forbid_images=True, generation=generation)
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
        plan = self._plan(generation, force_image=True, only_image=True, image_size=size)
        for event in self._events(plan):
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
            generation: Settings of this call.

        Raises:
            RequestError: The document is empty, a size or a limit is not valid.
        """
        plan = self._plan(
            generation,
            max_images=max_images,
            max_tokens=max_tokens,
            force_image=force_image,
            forbid_images=forbid_images,
            image_size=image_size,
        )
        return self._events(plan)

    def _plan(
        self,
        generation: GenerationConfig | None,
        *,
        max_images: int | None = None,
        max_tokens: int | None = None,
        force_image: bool = False,
        forbid_images: bool = False,
        only_image: bool = False,
        image_size: Size | None = None,
    ) -> _Plan:
        self._check_idle()
        if not self._transcript.segments:
            raise RequestError("the document is empty: extend the session before generating")
        if force_image and forbid_images:
            raise RequestError("force_image and forbid_images exclude each other")
        generation = generation or self.generation
        limit = generation.limits.max_images
        if max_images is not None and not 0 <= max_images <= limit:
            raise RequestError(f"max_images is {max_images}; limits.max_images allows 0 to {limit}")
        if max_tokens is not None and max_tokens < 0:
            raise RequestError(f"max_tokens is {max_tokens}; it must not be negative")
        if image_size is not None:
            self._check_size(image_size)
        return _Plan(
            generation=generation,
            max_images=limit if max_images is None else max_images,
            max_tokens=generation.text.max_tokens if max_tokens is None else max_tokens,
            force_image=force_image,
            forbid_images=forbid_images,
            only_image=only_image,
            image_size=image_size,
        )

    @torch.inference_mode()
    def _events(self, plan: _Plan) -> Iterator[Event]:
        """The interleaved loop."""
        self._check_idle()
        self._is_streaming = True
        whole = self._transcript.mark()
        try:
            self._transcript.open_turn("model")
            is_forced = plan.force_image
            while True:
                reason = "image" if is_forced else (yield from self._write(plan))
                whole, is_forced = self._transcript.mark(), False
                if reason == "image":
                    reason = self._refusal(plan)
                if reason != "image":
                    break
                yield from self._draw(plan)
                whole = self._transcript.mark()
                if plan.only_image:
                    reason = "max_images"
                    break
            self._note("finished", reason=reason)
            yield Finished(reason, text_tokens=plan.text_tokens, images=plan.images)
        finally:
            self._transcript.rewind(whole)
            self._is_streaming = False

    def _write(self, plan: _Plan) -> Iterator[Event]:
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
        stops: dict[int, Reason | Literal["image"]] = {
            tokenizer.end: "end",
            tokenizer.image_open: "image",
        }
        decoder, ids = tokenizer.decode_stream(), []
        while True:
            assert context.hidden is not None
            token = next_token(
                self._parts.transformer.logits(context.hidden)[0],
                plan.generation.text,
                bias=bias,
                generator=self._generator,
            )
            reason = stops.get(token) or self._text_limit(plan)
            if reason:
                break
            ids.append(token)
            plan.text_tokens += 1
            context.read_token(transcript.write_token(token))
            if delta := decoder.push(token):
                yield TextDelta(delta)
        if tail := decoder.flush():
            yield TextDelta(tail)
        if ids:
            transcript.finish_text(TextSegment(tokenizer.decode(ids)), ids)
        seconds = round(time.perf_counter() - start, 4)
        self._note(
            "text", tokens=len(ids), prefill_seconds=round(prefill_seconds, 4), seconds=seconds
        )
        return reason

    def _draw(self, plan: _Plan) -> Iterator[Event]:
        """Denoise one picture, decode it and put it into the document."""
        config, transcript = plan.generation.image, self._transcript
        height, width = size = self._size(plan)
        number, drawn = plan.images, transcript.index
        yield ImageStarted(number, height, width)
        start = time.perf_counter()
        side = self._parts.config.token_pixels
        grid = (height // side, width // side)
        time_position = transcript.open_picture(ImageSegment(np.zeros((*size, 3), np.uint8)))
        branches = resolve(branches_of(config), transcript.spans, drawn=drawn)
        contexts = [self._context(branch.drop) for branch, _ in branches]
        wanted = [(context, spans) for context, (_, spans) in zip(contexts, branches, strict=True)]
        read(wanted, self._codes, runner=self._runner)
        positions = image_positions(
            time_position, grid, self._parts.config.transformer.positions
        )
        velocity = GuidedVelocity(
            self._runner,
            [(branch, c.cache) for (branch, _), c in zip(branches, contexts, strict=True)],
            positions=torch.from_numpy(positions).to(self._parts.device),
            config=config,
        )
        latents = torch.randn(
            (grid[0] * grid[1], self._parts.config.transformer.latent_dim),
            generator=self._generator,
            device=self._parts.device,
        )
        times = schedule(config.num_steps, shift=config.shift)
        for step, latents in enumerate(SAMPLERS[config.sampler](velocity, latents, times)):
            yield ImageStep(number, step, config.num_steps)
        image = ImageSegment(self._codes.picture(latents, grid))
        self._codes.keep(drawn, image, latents)
        transcript.finish_picture(image)
        plan.images += 1
        seconds = time.perf_counter() - start
        self._note(
            "image",
            height=height,
            width=width,
            steps=config.num_steps,
            evaluations=velocity.evaluations,
            branches={branch.name: branch.coefficient for branch, _ in branches},
            seconds=round(seconds, 4),
        )
        yield ImageFinished(number, image, velocity.evaluations, seconds)

    def _context(self, drop: Drop) -> Context:
        if drop not in self._contexts:
            self._contexts[drop] = Context(self._runner, drop=drop)
        return self._contexts[drop]

    def _text_limit(self, plan: _Plan) -> Reason | None:
        """Return the limit that the next text token would exceed."""
        if plan.text_tokens >= plan.max_tokens:
            return "max_tokens"
        is_full = self._transcript.num_tokens >= plan.generation.limits.max_context_tokens
        return "max_context" if is_full else None

    def _refusal(self, plan: _Plan) -> Reason | Literal["image"]:
        """Return the limit that the next picture would exceed, or "image" where there is none."""
        if plan.images >= plan.max_images:
            return "max_images"
        height, width = self._size(plan)
        tokens = 2 * height * width // self._parts.config.token_pixels**2 + 2
        limit = plan.generation.limits.max_context_tokens
        return "max_context" if self._transcript.num_tokens + tokens > limit else "image"

    def _size(self, plan: _Plan) -> Size:
        """Size of the next picture: the caller's, else the last picture's, else the default."""
        if plan.image_size is not None:
            return plan.image_size
        images = self._transcript.sequence.images
        if images:
            return images[-1].size
        size = plan.generation.image.height, plan.generation.image.width
        self._check_size(size)
        return size

    def _check_size(self, size: Size) -> None:
        side = self._parts.config.token_pixels
        if min(size) < side or any(pixels % side for pixels in size):
            raise RequestError(
                f"picture size {size[0]} x {size[1]} (height x width): both must be positive "
                f"multiples of {side}"
            )

    def _check_idle(self) -> None:
        if self._is_streaming:
            raise RequestError("the session is generating: finish or close its stream first")

    def _fitted(self, segment: Segment) -> Segment:
        """Check a picture and scale it to the token grid and the pixel budget."""
        if isinstance(segment, TextSegment):
            return segment
        limits = self.generation.limits
        shape, kind = segment.pixels.shape, segment.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or kind != np.uint8:
            raise RequestError(
                f"picture of shape {shape} and type {kind}; expected RGB bytes [height, width, 3]"
            )
        if shape[0] * shape[1] > limits.max_input_pixels or min(shape[:2]) < MIN_SIDE_PIXELS:
            raise RequestError(
                f"picture of {shape[0]} x {shape[1]} pixels; sides must be at least "
                f"{MIN_SIDE_PIXELS} and the area at most {limits.max_input_pixels}"
            )
        side = self._parts.config.token_pixels
        pixels, change = fit(segment.pixels, token_pixels=side, pixel_budget=limits.pixel_budget)
        if change is not None:
            self._trace["inputs"].append(change)
        return replace(segment, pixels=pixels)

    def _note(self, event: str, **facts: Any) -> None:
        self._trace["events"].append({"event": event, **facts})


def _segments(content: Content, role: Role | None) -> list[Segment]:
    """Bring what the caller gives into the form of segments."""
    if isinstance(content, str):
        return [TextSegment(content, role=role or "model")]
    if isinstance(content, Image.Image):
        return [ImageSegment(np.asarray(content.convert("RGB")), role=role or "model")]
    if isinstance(content, np.ndarray):
        return [ImageSegment(content, role=role or "model")]
    given = [content] if isinstance(content, TextSegment | ImageSegment) else list(content)
    return [replace(segment, role=role) if role else segment for segment in given]
