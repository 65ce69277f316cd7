"""From layouts to packs: fill a token budget and build the tensors of one forward pass.

In: `Layout`s and a function that gives latents. Out: `PackedBatch`, in branch order: all tokens
of the text branch first, then all of the visual branch, so a branch is a slice. Inside a branch
the order is (plane, document, run), which keeps the history of every run in few contiguous parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from mogao.config import LayoutConfig, TransformerConfig
from mogao.errors import DataError
from mogao.packing.layout import Layout, SegmentTable, TokenKind
from mogao.packing.mask import TokenMeta
from mogao.packing.spans import vit_pixels
from mogao.sequence import ImageSegment, Pixels

LatentSource = Callable[[Sequence[ImageSegment]], Sequence[Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """One pack: every field that a forward pass and the losses need.

    Attributes:
        table: The runs in packed order; `start` counts packed tokens.
        num_text_branch: Tokens routed to the text branch; they come first.
        meta: Kind, document, ordinal and index of every token.
        positions: (time, row, column) of every token.
        gather: For each packed token its row in the concatenation [TEXT, VIT, CLEAN, NOISY].
        text_ids: Ids of the TEXT tokens.
        predict_index: Packed places whose output predicts a token with loss.
        targets: The ids to predict there.
        target_weights: Their loss weights.
        vit_pixels: One RGB picture [3, height, width] for each VIT run.
        clean_latents: Latent patches of the CLEAN tokens.
        noisy_clean: Clean latent patches of the NOISY tokens: what the flow must reach.
        noisy_weights: Loss weights of the NOISY tokens.
        noisy_lengths: Tokens of each NOISY run; one flow time is drawn per run.
        noisy_pixels: The RGB picture [3, height, width] of each NOISY run.
        noisy_index: Packed places of the NOISY tokens.
    """

    table: SegmentTable
    num_text_branch: int
    meta: TokenMeta
    positions: Float32[Tensor, "tokens 3"]
    gather: Int64[Tensor, " tokens"]
    text_ids: Int64[Tensor, " text"]
    predict_index: Int64[Tensor, " predictions"]
    targets: Int64[Tensor, " predictions"]
    target_weights: Float32[Tensor, " predictions"]
    vit_pixels: tuple[UInt8[Tensor, "3 _ _"], ...]
    clean_latents: Float[Tensor, "clean latent_dim"]
    noisy_clean: Float[Tensor, "noisy latent_dim"]
    noisy_weights: Float32[Tensor, " noisy"]
    noisy_lengths: tuple[int, ...]
    noisy_pixels: tuple[UInt8[Tensor, "3 _ _"], ...]
    noisy_index: Int64[Tensor, " noisy"]

    @property
    def num_tokens(self) -> int:
        """Tokens of the pack."""
        return int(self.positions.shape[0])

    def to(self, device: torch.device | str) -> PackedBatch:
        """Return the pack with all tensors on `device`."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        meta = TokenMeta(*(getattr(self.meta, f.name).to(device) for f in fields(self.meta)))
        vit, noisy = (
            tuple(picture.to(device) for picture in pictures)
            for pictures in (self.vit_pixels, self.noisy_pixels)
        )
        return replace(self, meta=meta, vit_pixels=vit, noisy_pixels=noisy, **moved)


def pack(
    layouts: Sequence[Layout], config: TransformerConfig, *, latents: LatentSource
) -> PackedBatch:
    """Join layouts into one pack.

    Args:
        layouts: Documents; at least one.
        config: Routing decides the packed order.
        latents: Gives the latent patches [tokens, latent_dim] of each picture asked for; asked
            once per picture that has a CLEAN or NOISY run.
    """
    if not layouts:
        raise DataError("cannot pack an empty list of documents")
    table, images, sort = _sorted_runs(layouts, config)
    sources = table.per_token(table.source)
    order = np.concatenate([np.flatnonzero(sources == kind) for kind in TokenKind])
    positions = np.concatenate([layout.positions for layout in layouts])[sort]
    text_places = np.flatnonzero(sources == TokenKind.TEXT)
    text = _text_order(layouts, sort[text_places])
    weights = np.concatenate([layout.target_weights for layout in layouts])[text]
    predicted = np.flatnonzero(weights)
    by_kind = {
        kind: [
            image
            for image, k in zip(images, table.source, strict=True)
            if k == kind and image is not None
        ]
        for kind in (TokenKind.VIT, TokenKind.CLEAN, TokenKind.NOISY)
    }
    patches = _latents(by_kind, latents, config.latent_dim)
    return PackedBatch(
        table=table,
        num_text_branch=_num_text_branch(table, config),
        meta=_meta(layouts, table, sort),
        positions=torch.from_numpy(positions),
        gather=torch.from_numpy(np.argsort(order)),
        text_ids=_joined(layouts, "ids", np.int64)[text],
        predict_index=torch.from_numpy(text_places[predicted]),
        targets=_joined(layouts, "targets", np.int64)[text[predicted]],
        target_weights=torch.from_numpy(weights[predicted]),
        vit_pixels=tuple(_vit_pixels(image, config.layout) for image in by_kind[TokenKind.VIT]),
        clean_latents=patches[TokenKind.CLEAN],
        noisy_clean=patches[TokenKind.NOISY],
        noisy_weights=_joined(layouts, "noisy_weights", np.float32),
        noisy_lengths=tuple(int(n) for n in table.length[table.source == TokenKind.NOISY]),
        noisy_pixels=tuple(_pixels(image.pixels) for image in by_kind[TokenKind.NOISY]),
        noisy_index=torch.from_numpy(np.flatnonzero(sources == TokenKind.NOISY)),
    )


def num_tokens(layouts: Iterable[Layout]) -> int:
    """Return the tokens that a list of layouts takes in a pack."""
    return sum(layout.table.num_tokens for layout in layouts)


class Packer:
    """Fills packs to a token budget: best fit from a small look-ahead buffer.

    Each unit (all layouts of one document) goes into one pack. A pack closes when nothing in the
    buffer fits any more; what is left over opens the next. The buffer is part of the state.
    """

    def __init__(self, token_budget: int, *, lookahead: int = 64) -> None:
        self.token_budget = token_budget
        self.lookahead = lookahead

    def packs(self, units: Iterator[list[Layout]]) -> Iterator[list[Layout]]:
        """Yield lists of layouts, each within the budget, for ever.

        Raises:
            DataError: One document alone exceeds the budget.
        """
        waiting: list[tuple[int, list[Layout]]] = []
        while True:
            room = self.token_budget
            chosen: list[Layout] = []
            while True:
                self._refill(waiting, units)
                fitting = [i for i, (size, _) in enumerate(waiting) if size <= room]
                if not fitting:
                    break
                # The oldest goes first while there is plenty of room, the best fit at the end.
                plenty = room > 4 * max(size for size, _ in waiting)
                index = fitting[0] if plenty else max(fitting, key=lambda i: waiting[i][0])
                size, unit = waiting.pop(index)
                chosen.extend(unit)
                room -= size
            if not chosen:
                return
            yield chosen

    def _refill(
        self, waiting: list[tuple[int, list[Layout]]], units: Iterator[list[Layout]]
    ) -> None:
        while len(waiting) < self.lookahead:
            unit = next(units, None)
            if unit is None:
                return
            size = num_tokens(unit)
            if size > self.token_budget:
                raise DataError(
                    f"a document takes {size} tokens, more than token_budget = "
                    f"{self.token_budget}; raise the budget or cut the document"
                )
            if size:
                waiting.append((size, unit))


def _sorted_runs(
    layouts: Sequence[Layout], config: TransformerConfig
) -> tuple[SegmentTable, list[ImageSegment | None], Int64[np.ndarray, " tokens"]]:
    """Return the runs of all documents in packed order, and where each packed token came from."""
    columns = {
        name: np.concatenate([getattr(layout.table, name) for layout in layouts])
        for name in ("kind", "source", "length", "ordinal")
    }
    counts = [len(layout.table.kind) for layout in layouts]
    document = np.repeat(np.arange(len(layouts)), counts)
    start = np.cumsum(columns["length"]) - columns["length"]
    plane = np.array([0, 0, 1, 2])[columns["kind"]]
    row_order = np.lexsort((start, plane, _branch(columns["source"], config)))
    length = columns["length"][row_order]
    table = SegmentTable(
        kind=columns["kind"][row_order],
        source=columns["source"][row_order],
        start=np.cumsum(length) - length,
        length=length,
        document=document[row_order],
        ordinal=columns["ordinal"][row_order],
    )
    sort = np.concatenate([np.arange(start[r], start[r] + columns["length"][r])
                           for r in row_order])  # fmt: skip
    images = [image for layout in layouts for image in layout.images]
    return table, [images[r] for r in row_order], sort


def _text_order(
    layouts: Sequence[Layout], places: Int64[np.ndarray, " text"]
) -> Int64[np.ndarray, " text"]:
    """Return which text token of the layouts, counted in their order, is the n-th of the pack.

    Args:
        layouts: The documents.
        places: Where each text token of the pack stands among all tokens of the layouts.
    """
    sources = np.concatenate([layout.table.per_token(layout.table.source) for layout in layouts])
    ranks = np.cumsum(sources == TokenKind.TEXT) - 1
    return ranks[places]


def _branch(
    source: Int64[np.ndarray, " runs"], config: TransformerConfig
) -> Int64[np.ndarray, " runs"]:
    routing = config.routing
    branches = (routing.text, routing.vit, routing.clean, routing.noisy)
    return np.array([branch == "visual" for branch in branches], np.int64)[source]


def _num_text_branch(table: SegmentTable, config: TransformerConfig) -> int:
    return int(table.length[_branch(table.source, config) == 0].sum())


def _meta(
    layouts: Sequence[Layout], table: SegmentTable, sort: Int64[np.ndarray, " tokens"]
) -> TokenMeta:
    index = np.concatenate([np.arange(layout.table.num_tokens) for layout in layouts])[sort]
    columns = (table.kind, table.document, table.ordinal)
    kind, document, ordinal = (torch.from_numpy(table.per_token(column)) for column in columns)
    return TokenMeta(kind, document, ordinal, torch.from_numpy(index))


def _latents(
    by_kind: dict[TokenKind, list[ImageSegment]], latents: LatentSource, latent_dim: int
) -> dict[TokenKind, Float[Tensor, "tokens latent_dim"]]:
    """Ask for each distinct picture once and join the patches of both kinds of token."""
    wanted = by_kind[TokenKind.CLEAN] + by_kind[TokenKind.NOISY]
    distinct = list({id(image): image for image in wanted}.values())
    known = dict(zip(map(id, distinct), latents(distinct), strict=True)) if distinct else {}
    empty = torch.zeros(0, latent_dim)
    return {
        kind: torch.cat([empty, *(known[id(image)] for image in by_kind[kind])])
        for kind in (TokenKind.CLEAN, TokenKind.NOISY)
    }


def _joined(layouts: Sequence[Layout], name: str, dtype: type[np.generic]) -> Tensor:
    return torch.from_numpy(
        np.concatenate([getattr(layout, name) for layout in layouts]).astype(dtype)
    )


def _vit_pixels(image: ImageSegment, config: LayoutConfig) -> UInt8[Tensor, "3 _ _"]:
    return _pixels(vit_pixels(image.pixels, config))


def _pixels(pixels: Pixels) -> UInt8[Tensor, "3 _ _"]:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
