"""One forward pass of any mix of contexts: linear layers shared, attention per context.

In: groups of runs (what one context reads next, or one picture under several guidance branches).
Out: logits behind texts, velocities of pictures. Training and sampling share every layer of the
transformer; the `Attend` built here reads caches where training reads the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from mogao.config import TransformerConfig
from mogao.model.block import Hidden
from mogao.model.transformer import UNTIMED, MogaoTransformer, TokenInputs
from mogao.packing.layout import TokenKind
from mogao.sampling.batches import Velocities, batch_pictures, batch_tokens
from mogao.sampling.cache import check_history
from mogao.sampling.events import Event
from mogao.sampling.groups import CommitGroup, DenoiseGroup, Group, Run
from mogao.sampling.slabs import SlabPool

Counts = Int64[np.ndarray, " runs"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class CommitStep:
    """Groups to be read into their caches."""

    groups: Sequence[CommitGroup]

    @property
    def num_tokens(self) -> int:
        """Tokens that the step adds to a forward pass."""
        return sum(run.length for group in self.groups for run in group.runs)


Combine = Callable[[Velocities], Tensor]
"""Makes one tensor of the velocities of a picture, one of each context."""


def as_they_are(velocities: Velocities) -> Velocities:
    """Return what it is given."""
    return velocities


@dataclass(frozen=True, slots=True, eq=False)
class DenoiseStep:
    """One picture under several contexts; nothing is committed.

    Attributes:
        group: The picture.
        combine: What becomes of its velocities, done by whoever runs the step.
    """

    group: DenoiseGroup
    combine: Combine = as_they_are

    @property
    def num_tokens(self) -> int:
        """Tokens that the step adds to a forward pass."""
        return sum(run.length for run in self.group.runs)


Step = CommitStep | DenoiseStep
Read = list[Float32[Tensor, "1 vocab"] | None]
"""Of each group the next-token logits behind its last text token; None where it is a picture."""
Task = Generator[Step | Event, Any, Result]
"""Work of many steps: yields a step and is sent what came of it (`Read`, or what a step's
`combine` returns), or yields an event. It does not care who runs its steps, nor in which thread."""


class Runner:
    """Runs steps of one transformer, each call alone; an engine's joins those of many sessions."""

    def __init__(self, transformer: MogaoTransformer, *, pool: SlabPool | None = None) -> None:
        self.transformer = transformer
        self.config = transformer.config
        self.rule = transformer.rule
        self.device = transformer.embedding.tokens.weight.device
        check_history(self.config)
        self.pool = pool or slab_pool(transformer)

    def commit(self, groups: Sequence[CommitGroup]) -> Read:
        """Read what each group holds into its cache."""
        (result,) = run_together(self.transformer, [CommitStep(groups)])
        assert isinstance(result, list)
        return result

    def velocity(
        self, group: DenoiseGroup, runs: Sequence[Run], *, combine: Combine = as_they_are
    ) -> Tensor:
        """Return what `combine` makes of a picture's velocities, one of each context."""
        group.runs = tuple(runs)
        (result,) = run_together(self.transformer, [DenoiseStep(group, combine)])
        assert isinstance(result, Tensor)
        return result

    def play(self, task: Task[Result]) -> Generator[Event, None, Result]:
        """Run a task to its end: its events are the caller's, what it returns is returned."""
        came: Read | Tensor | None = None
        with closing(task):
            while True:
                try:
                    item = task.send(came)
                except StopIteration as end:
                    return cast("Result", end.value)
                came = None
                if isinstance(item, Step):
                    (came,) = run_together(self.transformer, [item])
                else:
                    yield item

    def settle(self) -> None:
        """Wait until no task that was left in the middle is worked on any more."""

    def when_settled(self, work: Callable[[], None]) -> None:
        """Do work as soon as `settle` would not wait: here at once."""
        work()

    def call(self, work: Callable[[], Result], *, num_tokens: int = 0) -> Result:
        """Do other work on the model's networks, such as decoding a picture.

        Args:
            work: What to do.
            num_tokens: What it takes of the budget of an engine's round; alone there is none.
        """
        del num_tokens
        return work()


def slab_pool(transformer: MogaoTransformer, *, num_slots: int = 1) -> SlabPool:
    """Return memory for caches of a transformer, so many of them on a page."""
    device = transformer.embedding.tokens.weight.device
    dtype = transformer.compute_dtype
    return SlabPool(transformer.config, dtype=dtype, device=device, num_slots=num_slots)


def run_together(transformer: MogaoTransformer, steps: Sequence[Step]) -> list[Read | Tensor]:
    """Run any mix of steps: linear layers shared, attention per group.

    It is one forward pass, but that a compiled model runs apart what it has one function for: texts
    that grow by one token, and pictures.
    """
    groups: list[Group] = []
    for step in steps:
        groups += step.groups if isinstance(step, CommitStep) else [step.group]
    for group in groups:
        if isinstance(group, CommitGroup):
            group.prepare()
    known: dict[int, Tensor] = {}
    rest: Sequence[Group] = groups
    if transformer.is_compiled:
        batches, rest = batch_tokens(groups, least=1)
        for batch in batches:
            logits = batch.step(transformer).split(1)
            known |= {id(group): row for group, row in zip(batch.members, logits, strict=True)}
        pictures, rest = batch_pictures(rest)
        for drawn in pictures:
            found = drawn.step(transformer)
            known |= {id(group): row for group, row in zip(drawn.members, found, strict=True)}
    if rest:
        known |= _run_groups(transformer, rest)
    results: list[Read | Tensor] = []
    for step in steps:
        if isinstance(step, DenoiseStep):
            results.append(step.combine(known[id(step.group)]))
        else:
            results.append([known.get(id(group)) for group in step.groups])
    for group in groups:  # last: a step that fails can be run again
        if isinstance(group, CommitGroup):
            group.commit()
    return results


def _run_groups(transformer: MogaoTransformer, groups: Sequence[Group]) -> dict[int, Tensor]:
    """Return the logits of each text and the velocities of each picture, by identity of a group."""
    hidden, inputs = forward(transformer, groups)
    found = list(zip(groups, hidden, strict=True))
    known: dict[int, Tensor] = {}
    texts = [(group, states[0][-1:]) for group, states in found if is_text(group)]
    if texts:
        logits = transformer.logits(torch.cat([state for _, state in texts])).split(1)
        known |= {id(group): row for (group, _), row in zip(texts, logits, strict=True)}
    drawn = [group for group in groups if isinstance(group, DenoiseGroup)]
    if drawn:
        # The head takes all NOISY tokens of a step in their order; a noised history has some too.
        noisy = {
            id(run): state
            for group, states in found
            for run, state in zip(group.runs, states, strict=True)
            if run.source is TokenKind.NOISY
        }
        velocity = transformer.velocity(torch.cat(list(noisy.values())), inputs)
        parts = dict(zip(noisy, velocity.split([len(s) for s in noisy.values()]), strict=True))
        known |= {
            id(g): torch.stack([parts[id(run)] for run in g.runs if id(run) in parts])
            for g in drawn
        }
    return known


def is_text(group: Group) -> bool:
    """Whether a group reads text."""
    return group.runs[0].kind is TokenKind.TEXT


def forward(
    transformer: MogaoTransformer, groups: Sequence[Group]
) -> tuple[list[list[Hidden]], TokenInputs]:
    """Return the final hidden states of every run of every group, and what entered."""
    batches, others = batch_tokens(groups, least=2)
    batched = [*batches, *others]
    runs = [run for group in batched for run in group.runs]
    inputs, slices = assemble(runs, transformer.config)
    packed = torch.cat(transformer.hidden_states(inputs, GroupAttend(batched, slices)))
    states = {id(run): packed[rows] for run, rows in zip(runs, slices, strict=True)}
    return [[states[id(run)] for run in group.runs] for group in groups], inputs


class GroupAttend:
    """Each group attends to its own keys; see `mogao.model.attention.Attend`."""

    def __init__(self, groups: Sequence[Group], slices: Sequence[slice]) -> None:
        remaining = iter(slices)
        self.groups = [(group, _joined([next(remaining) for _ in group.runs])) for group in groups]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, layer: int) -> Tensor:
        """Return the attended values of all packed tokens."""
        if len(self.groups) == 1 and len(self.groups[0][1]) == 1:
            return self.groups[0][0].attend(q, k, v, layer=layer)
        out = torch.empty_like(q)
        for group, pieces in self.groups:
            if len(pieces) == 1:
                (rows,) = pieces
                out[rows] = group.attend(q[rows], k[rows], v[rows], layer=layer)
                continue
            parts = [torch.cat([x[rows] for rows in pieces]) for x in (q, k, v)]
            attended = group.attend(*parts, layer=layer)
            lengths = [rows.stop - rows.start for rows in pieces]
            for rows, values in zip(pieces, attended.split(lengths), strict=True):
                out[rows] = values
        return out


def _joined(slices: Sequence[slice]) -> list[slice]:
    """Merge slices that follow each other."""
    joined = [slices[0]]
    for rows in slices[1:]:
        if rows.start == joined[-1].stop:
            joined[-1] = slice(joined[-1].start, rows.stop)
        else:
            joined.append(rows)
    return joined


def assemble(runs: Sequence[Run], config: TransformerConfig) -> tuple[TokenInputs, list[slice]]:
    """Return runs as inputs of the layers, branch by branch, and where each run lies in them."""
    device = runs[0].positions.device
    branches = [getattr(config.routing, run.source.name.lower()) for run in runs]
    text = [i for i, branch in enumerate(branches) if branch == "text"]
    visual = [i for i, branch in enumerate(branches) if branch == "visual"]
    by_kind = sorted(range(len(runs)), key=lambda i: runs[i].source)
    noisy = [i for i in by_kind if runs[i].source is TokenKind.NOISY]
    lengths = np.array([run.length for run in runs])
    times, rows = _modulation_rows(runs)
    source, place = _starts(lengths, by_kind), _starts(lengths, text + visual)
    features = torch.zeros(0, config.vision_dim, device=device)
    latents = torch.zeros(0, config.latent_dim, device=device)
    inputs = TokenInputs(
        text_ids=_content(runs, TokenKind.TEXT, torch.zeros(0, dtype=torch.long, device=device)),
        vit_features=_content(runs, TokenKind.VIT, features),
        clean_latents=_content(runs, TokenKind.CLEAN, latents),
        noisy_latents=_content(runs, TokenKind.NOISY, latents),
        gather=torch.cat(
            [torch.arange(source[i], source[i] + lengths[i], device=device) for i in text + visual]
        ),
        num_text_branch=int(lengths[text].sum()),
        positions=torch.cat([runs[i].positions for i in text + visual]),
        # Text alone needs no time: nothing is computed for an empty list.
        times=torch.tensor([0.0, *times] if rows.any() else [], device=device),
        time_rows=(_timed(rows[text], lengths[text], device=device),
                   _timed(rows[visual], lengths[visual], device=device)),
        noisy_rows=_groups(rows[noisy], lengths[noisy]).to(device),
    )  # fmt: skip
    return inputs, [
        slice(start, start + run.length) for start, run in zip(place, runs, strict=True)
    ]


def _content(runs: Sequence[Run], kind: TokenKind, empty: Tensor) -> Tensor:
    found = [run.content for run in runs if run.source is kind]
    return torch.cat(found) if found else empty


def _starts(lengths: Counts, order: Sequence[int]) -> list[int]:
    """First row of each run when runs are joined in `order`."""
    starts = np.zeros_like(lengths)
    starts[list(order)] = np.cumsum(lengths[order]) - lengths[order]
    return starts.tolist()


def _modulation_rows(runs: Sequence[Run]) -> tuple[list[float], Counts]:
    """Distinct times of the NOISY runs, and the modulation row of each run."""
    times = list(dict.fromkeys(run.t for run in runs if run.source is TokenKind.NOISY))
    row_of = {TokenKind.CLEAN: UNTIMED + 1}
    rows = [
        UNTIMED + 2 + times.index(run.t)
        if run.source is TokenKind.NOISY
        else row_of.get(run.source, UNTIMED)
        for run in runs
    ]
    return times, np.array(rows)


def _timed(
    rows: Counts, lengths: Counts, *, device: torch.device
) -> Int64[Tensor, " groups"] | None:
    """Modulation row of each group of tokens of a branch; None if none is timed."""
    return _groups(rows, lengths).to(device) if (rows != UNTIMED).any() else None


def _groups(rows: Counts, lengths: Counts) -> Int64[Tensor, " groups"]:
    """One group for all tokens where they share a row, else one per run or one per token."""
    if len(rows) and (rows == rows[0]).all():
        return torch.from_numpy(rows[:1])
    if len(rows) and (lengths == lengths[0]).all():
        return torch.from_numpy(rows)
    return torch.from_numpy(np.repeat(rows, lengths))
