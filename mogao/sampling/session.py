"""One document that grows: what the caller adds, and what the model writes and draws.

In: text, pictures, sampling settings, one seed. Out: text, pictures and events. All draws come from
the session's own generator, so a session depends on its inputs, its settings and its seed alone.
"""

from __future__ import annotations

from collections.abc import Generator
from copy import copy
from typing import Any

import torch

from mogao.config import GenerationConfig
from mogao.errors import RequestError
from mogao.sampling.codes import Parts
from mogao.sampling.events import Event, Finished, ImageFinished, TextDelta
from mogao.sampling.inputs import Content, Size, as_segments, fitted
from mogao.sampling.loop import InterleavedLoop
from mogao.sampling.plan import Plan
from mogao.sampling.runner import Runner
from mogao.sampling.state import DocumentState
from mogao.sampling.text import Grammar
from mogao.sequence import ImageSegment, InterleavedSequence, Role


class Session:
    """A document and its model: extend it, let the model go on, go back, branch off.

    Attributes:
        generation: Default settings of every call.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        generation: GenerationConfig,
        seed: int = 0,
        runner: Runner | None = None,
    ) -> None:
        """Begin an empty document.

        Args:
            parts: The model.
            generation: Default settings.
            seed: Of all draws.
            runner: Runs the steps; None runs them alone, an engine's joins those of many sessions.
        """
        self.generation = generation
        self._state = DocumentState(parts, runner or Runner(parts.transformer), seed=seed)
        self._is_streaming = False
        self._trace: dict[str, Any] = {
            "seed": seed,
            "generation": generation.model_dump(mode="json"),
            "inputs": [],
            "events": [],
        }

    @property
    def state(self) -> DocumentState:
        """The document with all that was computed about it."""
        self._state.runner.settle()
        return self._state

    @property
    def sequence(self) -> InterleavedSequence:
        """The document so far: what the caller gave and what the model finished."""
        return self.state.transcript.sequence

    @property
    def cache_bytes(self) -> int:
        """Memory of all caches; what they share counts once."""
        return self.state.cache_bytes

    def fork(self, *, seed: int | None = None) -> Session:
        """Return an independent session with the same document; its keys and values are shared.

        Args:
            seed: Of the fork's draws; None draws what this session would draw next.

        Raises:
            RequestError: The session is generating.
        """
        self._check_idle()
        other = copy(self)
        other._state = self.state.fork(seed=seed)  # noqa: SLF001 - a copy of this class
        trace = self._trace | {"inputs": list(self._trace["inputs"])}
        trace["events"] = [*self._trace["events"], {"event": "forked", "seed": seed}]
        other._trace = trace  # noqa: SLF001 - a copy of this class
        return other

    def rewind(self, num_segments: int) -> None:
        """Forget all but the first segments of the document; draws are not taken back.

        Raises:
            RequestError: The session is generating, or there are fewer segments.
        """
        self._check_idle()
        count = len(self.state.transcript.segments)
        if not 0 <= num_segments <= count:
            raise RequestError(f"cannot go back to {num_segments} segments: there are {count}")
        self.state.transcript.cut(num_segments)
        self.state.trim()
        self._note("rewound", segments=num_segments)

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
        limits, config = self.generation.limits, self.state.parts.config
        segments = as_segments(content, role, limits=limits)
        pairs = [
            fitted(
                segment,
                limits,
                token_pixels=config.token_pixels,
                most_tokens=config.most_side_tokens,
            )
            for segment in segments
        ]
        before, is_kept = self.state.transcript.index, False
        try:
            for segment, _ in pairs:
                self.state.transcript.add(segment)
            needed = self.state.transcript.num_tokens
            if needed > limits.max_context_tokens:
                raise RequestError(
                    f"the document would take {needed} tokens; limits.max_context_tokens is "
                    f"{limits.max_context_tokens}: shorten it or raise the limit"
                )
            is_kept = True
        finally:
            if not is_kept:
                self.state.transcript.cut(before)
        self._trace["inputs"] += [change for _, change in pairs if change is not None]

    def generate_text(
        self,
        *,
        max_tokens: int | None = None,
        grammar: Grammar | None = None,
        tags: tuple[str, ...] = (),
        generation: GenerationConfig | None = None,
    ) -> str:
        """Let the model write until it ends its turn; it draws nothing.

        Args:
            max_tokens: Most text tokens.
            grammar: Rule on the tokens.
            tags: Of the text; guidance can leave it out by tag, such as a "thought".
            generation: Settings of this call.

        Raises:
            RequestError: The document is empty, or the grammar leaves no token.
        """
        plan = Plan(
            generation or self.generation,
            max_tokens=max_tokens,
            forbid_images=True,
            grammar=grammar,
            tags=tags,
            whole_texts=True,
        )
        self._check(plan)
        events = _inferring(self._events(plan))
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    def generate_image(
        self, *, size: Size | None = None, generation: GenerationConfig | None = None
    ) -> ImageSegment:
        """Draw one picture here and now, whether or not the model would open one.

        Args:
            size: (height, width) in pixels; None takes that of the last picture, else the default.
            generation: Settings of this call.

        Raises:
            RequestError: The document is empty, the size is not valid, or a limit (context,
                pictures, time) is reached.
        """
        plan = Plan(
            generation or self.generation, image_size=size, force_image=True, only_image=True
        )
        self._check(plan)
        reason = ""
        for event in _inferring(self._events(plan)):
            if isinstance(event, ImageFinished):
                return event.image
            if isinstance(event, Finished):
                reason = event.reason
        limit = {"max_context": "max_context_tokens"}.get(reason, reason)
        value = getattr(plan.generation.limits, limit, None)
        raise RequestError(f"no picture: limits.{limit} = {value} is reached")

    def stream(
        self,
        *,
        max_images: int | None = None,
        max_tokens: int | None = None,
        force_image: bool = False,
        forbid_images: bool = False,
        image_size: Size | None = None,
        grammar: Grammar | None = None,
        tags: tuple[str, ...] = (),
        generation: GenerationConfig | None = None,
    ) -> Generator[Event, None, None]:
        """Let the model go on and tell what it does; the last event is `Finished`.

        A caller that stops early leaves the document as it was behind the last whole segment; what
        is drawn next then differs from what was left, and does not depend on when it was left.

        Args:
            max_images: Most pictures; when the model opens one more, the stream ends before it.
            max_tokens: Most text tokens, all texts together; 0 allows pictures only.
            force_image: Open a picture at once.
            forbid_images: Never let the model open one.
            image_size: (height, width) in pixels of every picture; None takes that of the last
                picture, else the default.
            grammar: Rule on the tokens of all texts.
            tags: Of all texts that are written; guidance can leave them out by tag.
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
            tags=tags,
        )
        self._check(plan)
        return _inferring(self._events(plan))

    def _check(self, plan: Plan) -> None:
        self._check_idle()
        if not self.state.transcript.segments:
            raise RequestError("the document is empty: extend the session before generating")
        config = self.state.parts.config
        plan.check(token_pixels=config.token_pixels, most_tokens=config.most_side_tokens)

    def _events(self, plan: Plan) -> Generator[Event, None, None]:
        self._check_idle()
        self._is_streaming = True
        self._note("started", **plan.facts(self.generation))
        try:
            yield from InterleavedLoop(self._state, plan, self._note).events()
        finally:
            self._state.runner.when_settled(self._rest)

    def _rest(self) -> None:
        self._is_streaming = False

    def _check_idle(self) -> None:
        self._state.runner.settle()
        if self._is_streaming:
            raise RequestError("the session is generating: finish or close its stream first")

    def _note(self, event: str, **facts: Any) -> None:
        self._trace["events"].append({"event": event, **facts})


def _inferring(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
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
