"""What one step reads and for whom: runs, grouped by the cache that they attend to.

In: runs of tokens and the caches of contexts. Out: groups that attend layer by layer; a commit
group writes what it reads into its cache, a denoise group leaves the caches alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from weakref import ref

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from mogao.model.past import attend_pieces
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.sampling.cache import PLANE_OF_KIND, KVCache, Plane, planes_read
from mogao.sampling.slabs import Slab

PerHead = Float[Tensor, "tokens _ head_dim"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Consecutive tokens of one kind that enter a step.

    Attributes:
        kind: What they carry.
        positions: (time, row, column) of each.
        content: TEXT: ids; VIT: features of the vision encoder; CLEAN and NOISY: latent patches.
        t: Flow time of NOISY tokens; all others are fed 0 or none.
        is_boundary: The tokens are text, such as those around a copy of a picture; `kind` then says
            only how they see and are seen.
    """

    kind: TokenKind
    positions: Float32[Tensor, "tokens 3"]
    content: Tensor
    t: float = 0.0
    is_boundary: bool = False

    @property
    def source(self) -> TokenKind:
        """What the tokens are made of; it decides their branch."""
        return TokenKind.TEXT if self.is_boundary else self.kind

    @property
    def length(self) -> int:
        """Tokens of the run."""
        return int(self.positions.shape[0])


@runtime_checkable
class Group(Protocol):
    """Runs that attend together, apart from all other groups of a step."""

    runs: tuple[Run, ...]

    def attend(self, q: PerHead, k: PerHead, v: PerHead, *, layer: int) -> PerHead:
        """Return the attended values of the group's tokens, run after run."""
        ...


class CommitGroup:
    """What one context reads next: a run of text, or the copies of one picture.

    Keys and values are written behind the cache's committed rows before they are read, so own and
    earlier tokens of a plane are one view; `commit` makes them count.
    """

    def __init__(self, runs: Sequence[Run], cache: KVCache, rule: MaskRule) -> None:
        self.runs = tuple(runs)
        self.cache = cache
        self.planes = [PLANE_OF_KIND[run.kind] for run in runs]
        kinds = {(run.kind, plane) for run, plane in zip(runs, self.planes, strict=True)}
        assert len(kinds) == len(set(self.planes)), "one kind per plane in a step"
        self.ranges = [self._ranges(run, rule) for run in self.runs]
        self.biases = [
            self._bias(run, ranges) for run, ranges in zip(self.runs, self.ranges, strict=True)
        ]

    def prepare(self) -> None:
        """Make room in the cache; may be repeated.

        Done by whoever runs the step: memory that another context reads must not move meanwhile.
        """
        for plane, length in self._lengths():
            self.cache.reserve(plane, length)

    def attend(self, q: PerHead, k: PerHead, v: PerHead, *, layer: int) -> PerHead:
        """Return the attended values of the group's tokens; see `Group`."""
        lengths = [run.length for run in self.runs]
        written = list(zip(self.planes, k.split(lengths), v.split(lengths), strict=True))
        for plane in dict.fromkeys(self.planes):
            keys, values = (
                torch.cat(rows) if len(rows) > 1 else rows[0]
                for rows in zip(*(pair for at, *pair in written if at is plane), strict=True)
            )
            self.cache.write(layer, plane, keys=keys, values=values)
        attended = []
        for queries, ranges, bias in zip(q.split(lengths), self.ranges, self.biases, strict=True):
            pieces = [
                piece
                for plane, start, stop in ranges
                for piece in self.cache.read(layer, plane, start=start, stop=stop)
            ]
            if len(pieces) > 1 and len(queries) == 1:
                attended.append(attend_pieces(queries, pieces))
            else:
                keys_values = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)
                attended.append(attend_items(queries[None], keys_values[:, None], bias)[0])
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    @property
    def only_slab(self) -> Slab | None:
        """What one text token sees besides itself, where a single slab holds it from its start."""
        run, ranges = self.runs[0], self.ranges[0]
        if run.kind is not TokenKind.TEXT or run.length > 1 or len(ranges) > 1:
            return None
        (plane, start, _), parts = ranges[0], self.cache.parts[Plane.TEXT]
        is_whole = plane is Plane.TEXT and start == 0 and len(parts) == 1 and self.cache.lengths[0]
        return parts[0].slab if is_whole else None

    def commit(self) -> None:
        """Make the written rows count."""
        for plane, length in self._lengths():
            self.cache.advance(plane, length)

    def _lengths(self) -> list[tuple[Plane, int]]:
        """Tokens that each plane gains."""
        gained = dict.fromkeys(self.planes, 0)
        for plane, run in zip(self.planes, self.runs, strict=True):
            gained[plane] += run.length
        return list(gained.items())

    def _ranges(self, query: Run, rule: MaskRule) -> list[tuple[Plane, int, int]]:
        """Rows of each plane that a run sees: history by the rule, own copies by the own table."""
        earlier = planes_read(rule, query.kind)
        stops = list(self.cache.lengths)
        for run, plane in zip(self.runs, self.planes, strict=True):
            stops[plane] += run.length * bool(rule.own[query.kind, run.kind])
        starts = [0 if plane in earlier else self.cache.lengths[plane] for plane in Plane]
        whole = zip(Plane, starts, stops, strict=True)
        return [(plane, start, stop) for plane, start, stop in whole if stop > start]

    def _bias(
        self, run: Run, ranges: Sequence[tuple[Plane, int, int]]
    ) -> Float[Tensor, "1 queries keys"] | None:
        """Hide later text from text; all other kinds see all that they may see at all."""
        if run.kind is not TokenKind.TEXT or run.length == 1:
            return None
        dtype, device = self.cache.dtype, run.positions.device
        parts = []
        for plane, start, stop in ranges:
            part = torch.zeros(run.length, stop - start, dtype=dtype, device=device)
            if plane is Plane.TEXT:
                later = torch.full((run.length, run.length), -torch.inf, dtype=dtype, device=device)
                part[:, part.shape[1] - run.length :] = later.triu(1)
            parts.append(part)
        return torch.cat(parts, dim=1)[None]


class DenoiseGroup:
    """The noisy tokens of one picture under several contexts, as one batch; nothing is committed.

    The contexts' keys are copied once into one padded buffer, own tokens first; each step
    overwrites only those. `num_tokens` are those of one context, boundary tokens included; the runs
    of one context follow each other.
    """

    def __init__(self, caches: Sequence[KVCache], num_tokens: int, rule: MaskRule) -> None:
        self.num_tokens = num_tokens
        self.runs: tuple[Run, ...] = ()
        self.joined: PicturePast | None = None
        planes = sorted(planes_read(rule, TokenKind.NOISY))
        lengths = [sum(cache.lengths[plane] for plane in planes) for cache in caches]
        histories = [torch.cat([cache.committed(p) for p in planes], dim=3) for cache in caches]
        layers, heads, head_dim = (histories[0].shape[i] for i in (1, 2, 4))
        size = (2, layers, len(caches), heads, num_tokens + max(lengths), head_dim)
        self.buffer = histories[0].new_zeros(size)
        for item, history in enumerate(histories):
            stop = num_tokens + lengths[item]
            self.buffer[:, :, item, :, num_tokens:stop] = history
        self.bias: Tensor | None = None
        if len(set(lengths)) > 1:
            used = torch.tensor(lengths, device=self.buffer.device)[:, None, None] + num_tokens
            hidden = torch.arange(size[4], device=self.buffer.device) >= used
            zeros = self.buffer.new_zeros(hidden.shape)
            self.bias = zeros.masked_fill_(hidden, -torch.inf)

    def attend(self, q: PerHead, k: PerHead, v: PerHead, *, layer: int) -> PerHead:
        """Return the attended values of the group's tokens; see `Group`."""
        items = (len(q) // self.num_tokens, self.num_tokens)
        keys_values = self.buffer[:, layer]
        for buffer, new in zip(keys_values, (k, v), strict=True):
            buffer[:, :, : self.num_tokens] = new.unflatten(0, items).transpose(1, 2)
        return attend_items(q.unflatten(0, items), keys_values, self.bias).flatten(0, 1)

    @property
    def is_plain(self) -> bool:
        """Whether its tokens are latents of one time alone."""
        first = self.runs[0]
        return all(run.source is TokenKind.NOISY and run.t == first.t for run in self.runs)


@dataclass(frozen=True, slots=True, eq=False)
class PicturePast:
    """What several pictures see besides themselves, as one batch.

    Attributes:
        keys_values: [2, layers, items, kv_heads, past, head_dim].
        bias: Added to the scores of own tokens, then of the past [items, 1, keys]; or None.
        members: The pictures, in order.
    """

    keys_values: Tensor
    bias: Tensor | None
    members: tuple[ref[DenoiseGroup], ...]

    @classmethod
    def of(cls, groups: Sequence[DenoiseGroup]) -> PicturePast:
        """Return the past of pictures of one size: a view of one, a padded copy of several.

        The copy is kept with the first and serves until others join.
        """
        own = groups[0].num_tokens
        if len(groups) == 1:
            return cls(groups[0].buffer[..., own:, :], groups[0].bias, ())
        kept = groups[0].joined
        if kept is not None and [member() for member in kept.members] == list(groups):
            return kept
        pasts = [group.buffer[..., own:, :] for group in groups]
        size, items = list(pasts[0].shape), [past.shape[2] for past in pasts]
        size[2], size[4] = sum(items), max(past.shape[4] for past in pasts)
        joined = pasts[0].new_zeros(size)
        bias = joined.new_full((size[2], 1, own + size[4]), -torch.inf)
        rows = zip(joined.split(items, dim=2), bias.split(items), pasts, groups, strict=True)
        for place, hidden, past, group in rows:
            place[..., : past.shape[4], :] = past
            hidden[..., : own + past.shape[4]] = 0.0 if group.bias is None else group.bias
        is_even = not bool(bias.any())
        result = cls(joined, None if is_even else bias, tuple(ref(group) for group in groups))
        groups[0].joined = result
        return result


def attend_items(
    queries: Float[Tensor, "items queries heads head_dim"],
    keys_values: Float[Tensor, "2 items kv_heads rows head_dim"],
    bias: Float[Tensor, "items #queries rows"] | None,
) -> Float[Tensor, "items queries heads head_dim"]:
    """Attend inside each item; the library's kernel is faster than ours where no gradient flows."""
    keys, values = keys_values
    attended = F.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys,
        values,
        attn_mask=None if bias is None else bias[:, None],
        enable_gqa=True,
    )
    return attended.transpose(1, 2)
