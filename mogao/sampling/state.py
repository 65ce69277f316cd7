"""One document with all that was computed about it: what sessions, their loop and their forks hold.

In: a model, a seed. Out: the transcript, filled contexts, the guided velocity of the next picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import takewhile

import torch

from mogao.config import KEEP_ALL, Drop, ImageSamplingConfig, LayoutConfig
from mogao.packing.layout import TokenKind
from mogao.packing.positions import image_positions
from mogao.packing.spans import Span
from mogao.sampling.cache import KVCache, held_bytes
from mogao.sampling.codes import Parts, PictureCodes
from mogao.sampling.context import Context, boundary_runs, read
from mogao.sampling.guidance import Guidance, GuidedVelocity, guidance_of, resolve
from mogao.sampling.runner import Runner
from mogao.sampling.transcript import Transcript, num_cached_tokens

MIN_SHARED_TOKENS = 16
"""A branch whose beginning equals at least as many tokens of the full context starts from those."""


class DocumentState:
    """A document, the contexts that have read it and the generator of its draws.

    Attributes:
        parts: The model.
        runner: Runs its steps.
        transcript: What was said and shown.
        codes: Features and latents of its pictures.
        contexts: One for each kind of branch that was needed so far.
        generator: Source of every draw.
    """

    def __init__(self, parts: Parts, runner: Runner, *, seed: int) -> None:
        self.parts, self.runner = parts, runner
        self.codes = PictureCodes(parts, runner)
        self.contexts: dict[Drop, Context] = {}
        self.generator = torch.Generator(parts.device).manual_seed(seed)
        self.transcript = Transcript(
            parts.tokenizer, parts.config.transformer, token_pixels=parts.config.token_pixels
        )

    @property
    def cache_bytes(self) -> int:
        """Memory of all caches; what they share counts once."""
        return held_bytes(context.cache for context in self.contexts.values())

    def fork(self, *, seed: int | None) -> DocumentState:
        """Return an independent document with the same beginning; keys and values are shared.

        Args:
            seed: Of its draws; None goes on as this one would.
        """
        other = copy(self)
        other.transcript, other.codes = self.transcript.copy(), self.codes.copy()
        other.contexts = {drop: context.fork() for drop, context in self.contexts.items()}
        other.generator = torch.Generator(self.parts.device)
        if seed is None:
            other.generator.set_state(self.generator.get_state())
        else:
            other.generator.manual_seed(seed)
        return other

    def read(self, wanted: Sequence[tuple[Drop, Sequence[Span]]]) -> list[Context]:
        """Bring contexts up to date; a new one begins with what it shares with the first."""
        (first_drop, first_spans), *others = wanted
        news = [(drop, spans) for drop, spans in others if drop not in self.contexts]
        layout = self.parts.config.transformer.layout
        shared = [shared_tokens(first_spans, spans, layout) for _, spans in news]
        if any(count >= MIN_SHARED_TOKENS for count in shared):
            first = self.context(first_drop)
            read([(first, first_spans)], self.codes, runner=self.runner)
            for drop, spans in news:
                if (drop.vit, drop.clean) == (first_drop.vit, first_drop.clean):
                    self.contexts[drop] = first.fork(drop=drop, num_spans=first.num_shared(spans))
        contexts = [self.context(drop) for drop, _ in wanted]
        pairs = [(context, spans) for context, (_, spans) in zip(contexts, wanted, strict=True)]
        read(pairs, self.codes, runner=self.runner)
        return contexts

    def trim(self) -> None:
        """Free the memory of what the transcript no longer begins with."""
        full = self.contexts.get(KEEP_ALL)
        if full is not None:
            full.forget_beyond(self.transcript.spans)
        self.contexts = {} if full is None else {KEEP_ALL: full}
        self.codes.forget_from(len(self.transcript.segments))

    def guided_velocity(
        self, config: ImageSamplingConfig, grid: tuple[int, int], *, drawn: int
    ) -> tuple[GuidedVelocity, Guidance]:
        """Return the velocity under all branches, whose contexts are read when they are needed.

        Args:
            config: Guidance.
            grid: (rows, cols) of the picture in tokens.
            drawn: Segment of the picture; its open token is the last of the transcript.
        """
        guidance, kept = resolve(guidance_of(config), self.transcript.spans, drawn=drawn)

        def caches(numbers: Sequence[int]) -> list[KVCache]:
            wanted = [(guidance.branches[i].drop, kept[i]) for i in numbers]
            return [context.cache for context in self.read(wanted)]

        form, device = self.parts.config.transformer.positions, self.parts.device
        # The open token is the last of every context; the picture begins behind it.
        times = [spans[-1].time + len(spans[-1].ids) for spans in kept]
        velocity = GuidedVelocity(
            self.runner,
            guidance,
            caches,
            positions=[
                torch.from_numpy(image_positions(time, grid, form)).to(device) for time in times
            ],
            boundaries=[
                boundary_runs(TokenKind.NOISY, self.codes.boundary, time=time, device=device)
                for time in times
            ],
        )
        return velocity, guidance

    def context(self, drop: Drop) -> Context:
        """Return the context of a kind of branch; a new one has read nothing."""
        if drop not in self.contexts:
            self.contexts[drop] = Context(self.runner, drop=drop)
        return self.contexts[drop]


def shared_tokens(spans: Sequence[Span], others: Sequence[Span], layout: LayoutConfig) -> int:
    """Return how many tokens two contexts have in common at their beginning."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(spans, others, strict=False))
    return sum(num_cached_tokens(span, layout) for span, _ in pairs)
