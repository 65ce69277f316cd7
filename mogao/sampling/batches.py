"""Text tokens of many contexts as one batch, and pictures: what the steps of an engine are.

In: groups of one text token each, whose keys lie on one page; noisy pictures of one size. Out: one
group that attends for all of the former, and, where the model is compiled, the whole step of either
as one function.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from mogao.model.transformer import MogaoTransformer
from mogao.sampling.cache import Plane
from mogao.sampling.groups import (
    CommitGroup,
    DenoiseGroup,
    Group,
    PerHead,
    PicturePast,
    attend_items,
)
from mogao.sampling.slabs import Page, Slab

Velocities = Float32[Tensor, "branches tokens latent_dim"]
MAX_COPIED_BYTES = 2**28
"""Most keys and values that are copied so that pictures are drawn as one batch."""


class TokenBatch:
    """One more text token of each of several contexts on one page.

    It covers a range of the page's places. A place between that takes no part sees everything, and
    nobody asks what came of it.

    Attributes:
        members: The groups.
        runs: Theirs, in order.
    """

    def __init__(self, members: Sequence[CommitGroup], page: Page, slots: Sequence[int]) -> None:
        """Join groups.

        Args:
            members: Of one text token each.
            page: Holds all that they see.
            slots: The place of each on the page.
        """
        self.members = list(members)
        self.runs = tuple(group.runs[0] for group in members)
        device = page.rows.device
        first, stop = min(slots), max(slots) + 1
        lengths = [group.cache.lengths[Plane.TEXT] for group in members]
        self._longest, self._places = max(lengths), stop - first
        self._rows = page.rows[:, :, first:stop]
        self._slots = torch.tensor(slots, device=device) - first
        self._lengths = torch.tensor(lengths, device=device)

    def attend(self, q: PerHead, k: PerHead, v: PerHead, *, layer: int) -> PerHead:
        """Write keys and values of the tokens, return their attended values; see `Group`."""
        keys, values = self._rows[:, layer]
        keys[self._slots, :, self._lengths] = k
        values[self._slots, :, self._lengths] = v
        seen = self._rows[:, layer, :, :, : self._longest + 1]
        attended = attend_items(self._spread(q)[:, None], seen, self._bias_with_own)
        return attended[:, 0].index_select(0, self._slots)

    def step(self, transformer: MogaoTransformer) -> Float32[Tensor, "members vocab"]:
        """Run the whole step as one function; write keys and values, return the logits."""
        logits, new = transformer.text_step(
            self._spread(torch.cat([run.content for run in self.runs])),
            self._spread(torch.cat([run.positions for run in self.runs])),
            past=self._rows[..., : self._longest, :],
            bias=self._bias(self._lengths, longest=self._longest),
        )
        self._rows[:, :, self._slots, :, self._lengths] = new[:, :, self._slots].movedim(2, 0)
        return logits.index_select(0, self._slots)

    @cached_property
    def _bias_with_own(self) -> Float[Tensor, "places 1 rows"] | None:
        """The same for all layers."""
        return self._bias(self._lengths + 1, longest=self._longest + 1)

    def _bias(
        self, lengths: Int64[Tensor, " members"], *, longest: int
    ) -> Float[Tensor, "places 1 rows"] | None:
        """Hide what lies behind each member's rows."""
        if self._places == 1:
            return None
        seen = lengths.new_full((self._places,), longest).index_copy(0, self._slots, lengths)
        hidden = torch.arange(longest, device=lengths.device) >= seen[:, None, None]
        return self._rows.new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)

    def _spread(self, x: Tensor) -> Tensor:
        """Lay one row of each member at its place, zeros between."""
        if self._places == 1:
            return x
        return x.new_zeros(self._places, *x.shape[1:]).index_copy(0, self._slots, x)


class PictureBatch:
    """Noisy pictures of one size, each under several contexts.

    Attributes:
        members: The groups.
    """

    def __init__(self, members: Sequence[DenoiseGroup]) -> None:
        self.members = list(members)

    def step(self, transformer: MogaoTransformer) -> list[Velocities]:
        """Run the whole step as one function; return the velocities of each member."""
        runs = [run for group in self.members for run in group.runs]
        past = PicturePast.of(self.members)
        # One time serves all contexts of one picture.
        times = [run.t for run in runs] if len(self.members) > 1 else [runs[0].t]
        velocity = transformer.picture_step(
            torch.cat([run.content for run in runs]),
            torch.tensor(times, device=past.keys_values.device),
            torch.cat([run.positions for run in runs]),
            past=past.keys_values,
            bias=past.bias,
        )
        items = velocity.unflatten(0, (len(runs), -1))
        return list(items.split([len(group.runs) for group in self.members]))


def batch_pictures(groups: Sequence[Group]) -> tuple[list[PictureBatch], list[Group]]:
    """Join the pictures of one size, unless their past together is too much to be copied.

    Returns:
        The batches, and the groups that belong to none.
    """
    by_size: dict[int, list[DenoiseGroup]] = {}
    for group in groups:
        if isinstance(group, DenoiseGroup) and group.is_plain:
            by_size.setdefault(group.num_tokens, []).append(group)
    batches = [
        PictureBatch(members)
        for members in by_size.values()
        if len(members) == 1 or sum(group.buffer.nbytes for group in members) <= MAX_COPIED_BYTES
    ]
    joined = {id(group) for batch in batches for group in batch.members}
    return batches, [group for group in groups if id(group) not in joined]


def batch_tokens(groups: Sequence[Group], *, least: int) -> tuple[list[TokenBatch], list[Group]]:
    """Join the groups that read one text token each, page by page.

    Args:
        groups: Of one step.
        least: Fewer members make no batch.

    Returns:
        The batches, and the groups that belong to none.
    """
    by_page: dict[int, list[tuple[CommitGroup, Slab]]] = {}
    for group in groups:
        slab = group.only_slab if isinstance(group, CommitGroup) else None
        if isinstance(group, CommitGroup) and slab is not None:
            by_page.setdefault(id(slab.page), []).append((group, slab))
    batches = [
        TokenBatch([g for g, _ in found], found[0][1].page, [slab.slot for _, slab in found])
        for found in by_page.values()
        if len(found) >= least
    ]
    joined = {id(group) for batch in batches for group in batch.members}
    return batches, [group for group in groups if id(group) not in joined]
