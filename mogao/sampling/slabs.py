"""Memory for keys and values: slabs, and the pages on which slabs of one size lie side by side.

In: a shape, a number of rows. Out: slabs. What lies on one page can be attended to as one batch,
without a copy; a page lives as long as a slab on it.
"""

from __future__ import annotations

import threading

import torch
from jaxtyping import Float
from torch import Tensor

from mogao.config import TransformerConfig

BLOCK_TOKENS = 256
PAGE_ROWS = 8192
"""Most rows of a page with several slabs: a long text does not take room for seven others."""


def row_bytes(config: TransformerConfig, dtype: torch.dtype) -> int:
    """Return the bytes of the keys and values of one token."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * dtype.itemsize


def slab_rows(num_rows: int) -> int:
    """Return the rows of the slab that holds `num_rows`: slabs double in size."""
    capacity = BLOCK_TOKENS
    while capacity < num_rows:
        capacity *= 2
    return capacity


class Page:
    """Equal slabs in one piece of memory.

    Rows that were never written are zero: what a mask hides must still be finite.

    Attributes:
        rows: Keys and values [2, layers, slots, kv_heads, capacity, head_dim].
        free: Slots that no slab holds.
    """

    __slots__ = ("__weakref__", "free", "rows")

    def __init__(self, rows: Float[Tensor, "2 layers slots kv_heads rows head_dim"]) -> None:
        self.rows = rows
        self.free = set(range(rows.shape[2]))

    def take(self) -> int:
        """Return the first free slot, whatever the order in which slots became free."""
        slot = min(self.free)
        self.free.remove(slot)
        return slot

    @property
    def capacity(self) -> int:
        """Rows of each slab."""
        return int(self.rows.shape[4])


class Slab:
    """Rows of one plane in one piece of memory; one cache writes it, its forks read it.

    Attributes:
        page: Where it lies.
        slot: Its place there.
        rows: Keys and values [2, layers, kv_heads, capacity, head_dim], a view of the page.
        shared: Rows at the front that a fork may read: they never change again.
    """

    __slots__ = ("__weakref__", "_pool", "page", "rows", "shared", "slot")

    def __init__(self, pool: SlabPool, num_rows: int) -> None:
        self._pool = pool
        self.shared = 0
        self._settle(*pool.take(num_rows))

    def __del__(self) -> None:
        """Give the place back."""
        if hasattr(self, "slot"):
            self._pool.give_back(self.page, self.slot)

    @property
    def bytes(self) -> int:
        """Memory of its place on the page, free room included."""
        return self.rows.numel() * self.page.rows.element_size()

    def grow(self, needed: int, *, used: int) -> None:
        """Make room for `needed` rows; the first `used` keep what they hold."""
        if needed <= self.page.capacity:
            return
        page, slot = self._pool.take(needed)
        try:
            page.rows[:, :, slot, :, :used] = self.rows[:, :, :, :used]
        except BaseException:
            self._pool.give_back(page, slot)
            raise
        old = (self.page, self.slot)
        self._settle(page, slot)
        self._pool.give_back(*old)

    def _settle(self, page: Page, slot: int) -> None:
        self.page, self.slot, self.rows = page, slot, page.rows[:, :, slot]


class SlabPool:
    """Hands out places for slabs; sessions that share one can be decoded as one batch.

    Safe to use from several threads.
    """

    def __init__(
        self,
        config: TransformerConfig,
        *,
        dtype: torch.dtype,
        device: torch.device,
        num_slots: int = 1,
    ) -> None:
        """Make an empty pool.

        Args:
            config: Layers and heads of the model.
            dtype: Type of keys and values.
            device: Where they are kept.
            num_slots: Most slabs on a page; memory is taken page by page.
        """
        self._num_slots = num_slots
        self._shape = (config.num_layers, config.num_kv_heads, config.head_dim)
        self._lock = threading.RLock()  # a slab may end while a place is taken in the same thread
        self._pages: list[Page] = []
        self.empty = torch.empty(0, dtype=dtype, device=device)

    @property
    def bytes(self) -> int:
        """Memory of all pages, free places included."""
        with self._lock:
            return sum(page.rows.numel() * page.rows.element_size() for page in self._pages)

    def no_rows(self) -> Float[Tensor, "2 layers kv_heads 0 head_dim"]:
        """Return keys and values of nothing."""
        layers, heads, head_dim = self._shape
        return self.empty.new_empty((2, layers, heads, 0, head_dim))

    def take(self, num_rows: int) -> tuple[Page, int]:
        """Return a free place for at least `num_rows` rows."""
        capacity = slab_rows(num_rows)
        with self._lock:
            for page in tuple(self._pages):
                if page.free and page.capacity == capacity:
                    slot = page.take()
                    if page not in self._pages:  # a slab that ended just now was its last
                        self._pages.append(page)
                    page.rows[:, :, slot] = 0.0
                    return page, slot
            layers, heads, head_dim = self._shape
            num_slots = max(1, min(self._num_slots, PAGE_ROWS // capacity))
            size = (2, layers, num_slots, heads, capacity, head_dim)
            page = Page(self.empty.new_zeros(size))
            self._pages.append(page)
            return page, page.take()

    def give_back(self, page: Page, slot: int) -> None:
        """Take back the place of a slab; a page without slabs is forgotten."""
        with self._lock:
            page.free.add(slot)
            if len(page.free) == page.rows.shape[2]:
                self._pages.remove(page)
