"""What one guidance branch has read: a cache over a real, possibly shorter token sequence.

In: the spans that the branch keeps. Out: a filled cache and the logits behind the last text
token. Reading is incremental: only what differs from the spans read before is read anew, so
forgetting and growing are one operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mogao.config import Drop, Kind
from mogao.packing.layout import KIND_BY_NAME, TokenKind
from mogao.packing.positions import (
    Positions,
    boundary_positions,
    image_positions,
    text_positions,
)
from mogao.packing.spans import Origin, Span
from mogao.sampling.cache import KVCache
from mogao.sampling.groups import CommitGroup, Run
from mogao.sampling.runner import CommitStep, Runner, Task

# Longer texts are read in pieces: the scores of a piece take memory piece x context.
PREFILL_TOKENS = 512


@runtime_checkable
class Codes(Protocol):
    """What a context asks of the picture encoders.

    Attributes:
        boundary: Ids of the two tokens around each copy of a picture, or none.
    """

    boundary: tuple[int, ...]

    def features(self, span: Span) -> Float[Tensor, "tokens vision_dim"]:
        """Return the understanding features of a picture."""
        ...

    def latents(self, span: Span) -> Float32[Tensor, "tokens latent_dim"]:
        """Return the latent patches of a picture."""
        ...


class Context:
    """One branch: what it leaves out, what it has read, and its cache.

    Attributes:
        drop: What the branch leaves out.
        cache: Keys and values of all that was read.
        spans: What was read, in order.
        lengths: Of the cache, behind each span.
        logits: Behind the last token read [1, vocab], where that was text.
    """

    def __init__(self, runner: Runner, *, drop: Drop) -> None:
        self.drop = drop
        self.runner = runner
        self.cache = KVCache(runner.pool)
        self.logits: Float32[Tensor, "1 vocab"] | None = None
        self.spans: list[Span] = []
        self.lengths: list[tuple[int, ...]] = []

    def fork(self, *, drop: Drop | None = None, num_spans: int | None = None) -> Context:
        """Return a context that has read the first spans of this one; their keys are shared.

        Args:
            drop: What the new branch leaves out; None keeps that of this one.
            num_spans: None takes all.
        """
        count = len(self.spans) if num_spans is None else num_spans
        other = copy(self)
        other.drop = self.drop if drop is None else drop
        other.spans, other.lengths = self.spans[:count], self.lengths[:count]
        lengths = self.lengths[count - 1] if count else [0 for _ in self.cache.lengths]
        other.cache = self.cache.fork(lengths)
        other.logits = self.logits if count == len(self.spans) else None
        return other

    def num_shared(self, spans: Sequence[Span]) -> int:
        """Return how many leading spans of a document this context has read."""
        pairs = zip(self.spans, spans, strict=False)
        return next((i for i, (old, new) in enumerate(pairs) if old != new),
                    min(len(self.spans), len(spans)))  # fmt: skip

    def read_token(self, span: Span) -> Task[None]:
        """Read one more text token: the decode step, as part of a task."""
        positions = text_positions(span.time, 1, self.runner.config.positions)
        (self.logits,) = yield CommitStep([self._text_group(positions, span.ids)])
        self._note([span])

    def groups(self, spans: Sequence[Span], codes: Codes) -> Iterator[CommitGroup]:
        """Yield what has to be read so that the cache holds exactly `spans`, step by step.

        Each group must be committed before the next is asked for. Afterwards `logits` are known if
        the last span is text.
        """
        self.forget_beyond(spans)
        start = len(self.spans)
        while start < len(spans):
            if spans[start].origin is Origin.PICTURE:
                stop = start + 1
                yield from self._picture_group(spans[start], codes)
            else:
                stop = start
                while stop < len(spans) and spans[stop].origin is not Origin.PICTURE:
                    stop += 1
                yield from self._text_groups(spans[start:stop])
            self._note(spans[start:stop])
            start = stop

    def forget_beyond(self, spans: Sequence[Span]) -> None:
        """Cut the cache to what it shares with `spans`."""
        shared = self.num_shared(spans)
        read_to = self.lengths[-1] if self.lengths else (0,) * len(self.cache.lengths)
        if shared < len(self.spans) or tuple(self.cache.lengths) != tuple(read_to):
            self.logits = None  # they belong to a text that is cut, or was read in part
        if shared == len(spans) and shared and (shared < len(self.spans) or self.logits is None):
            shared -= 1  # the logits behind the last span are not known: read it again
        del self.spans[shared:], self.lengths[shared:]
        self.cache.truncate(self.lengths[-1] if shared else [0 for _ in self.cache.lengths])

    def _note(self, spans: Sequence[Span]) -> None:
        """Remember spans as read; the lengths behind each follow from those behind the last."""
        after = list(self.cache.lengths)
        lengths = []
        for span in reversed(spans):
            lengths.append(tuple(after))
            after[0] -= len(span.ids)
        self.spans.extend(spans)
        self.lengths.extend(reversed(lengths))

    def _text_groups(self, spans: Sequence[Span]) -> Iterator[CommitGroup]:
        config = self.runner.config.positions
        positions = np.concatenate([text_positions(s.time, len(s.ids), config) for s in spans])
        ids = [i for span in spans for i in span.ids]
        for start in range(0, len(ids), PREFILL_TOKENS):
            stop = start + PREFILL_TOKENS
            yield self._text_group(positions[start:stop], ids[start:stop])

    def _text_group(self, positions: Positions, ids: Sequence[int]) -> CommitGroup:
        device = self.runner.device
        run = Run(
            TokenKind.TEXT,
            positions=torch.from_numpy(positions).to(device),
            content=torch.tensor(ids, device=device),
        )
        return CommitGroup([run], self.cache, self.runner.rule)

    def _picture_group(self, span: Span, codes: Codes) -> Iterator[CommitGroup]:
        assert span.image is not None
        runs: list[Run] = []
        if span.image.vit and not self.drop.vit:
            runs += self._copy(TokenKind.VIT, codes.features(span), span=span, codes=codes)
        history = self.runner.config.history
        if history and span.image.latents and not self.drop.clean:
            # As NOISY history a finished picture has t = 0, which is what a run without time has.
            kind = KIND_BY_NAME[history]
            runs += self._copy(kind, codes.latents(span), span=span, codes=codes)
        if runs:
            yield CommitGroup(runs, self.cache, self.runner.rule)

    def _copy(self, kind: TokenKind, content: Tensor, *, span: Span, codes: Codes) -> list[Run]:
        """One copy of a picture, behind its boundary tokens where it has its own."""
        config, device = self.runner.config, self.runner.device
        name: Kind = "vit" if kind is TokenKind.VIT else "clean"
        time = span.part_time(name, config.layout)
        grid = span.vit_grid if kind is TokenKind.VIT else span.grid
        positions = torch.from_numpy(image_positions(time, grid, config.positions)).to(device)
        return [*boundary_runs(kind, codes.boundary, time=time, device=device),
                Run(kind, positions, content)]  # fmt: skip


def boundary_runs(
    kind: TokenKind, ids: Sequence[int], *, time: int, device: torch.device
) -> list[Run]:
    """Return the boundary tokens of one copy of a picture as a run; nothing where it has none."""
    if not ids:
        return []
    positions = torch.from_numpy(boundary_positions(time)).to(device)
    return [Run(kind, positions, torch.tensor(ids, device=device), is_boundary=True)]


def read(wanted: Sequence[tuple[Context, Sequence[Span]]], codes: Codes, *, runner: Runner) -> None:
    """Bring several contexts up to date together; those that lag read in the same steps."""
    pending = [(context, context.groups(spans, codes)) for context, spans in wanted]
    while pending:
        steps = [(context, groups, next(groups, None)) for context, groups in pending]
        active = [(context, group) for context, _, group in steps if group is not None]
        pending = [(context, groups) for context, groups, group in steps if group is not None]
        if active:
            states = runner.commit([group for _, group in active])
            for (context, _), logits in zip(active, states, strict=True):
                context.logits = logits
