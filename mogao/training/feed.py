"""Documents to packs, resumable although the packer looks ahead.

In: a data source and a function that lays out document number n. Out: lists of layouts, each one
pack, and a state of a few integers: where the oldest waiting document begins in the source, and
which of the documents since then still wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mogao.data.mixture import Source
from mogao.errors import DataError
from mogao.packing.layout import Layout
from mogao.packing.pack import Packer, num_tokens
from mogao.sequence import InterleavedSequence

LayOut = Callable[[int, InterleavedSequence], list[Layout]]

MAX_LONG_SHARE = 0.01
"""Training stops when a larger share of the documents (at least 100) exceeds the token budget."""

log = logging.getLogger(__name__)


class PackFeed:
    """Packs of a source, one after another.

    Whatever is random about laying out a document must depend on its number alone; then drawing
    the waiting documents again gives the same layouts.

    Attributes:
        num_documents: Documents of the last pack.
        num_long: Documents skipped so far because one alone exceeds the token budget.
    """

    def __init__(self, source: Source, packer: Packer, lay_out: LayOut) -> None:
        self.num_documents = self.num_long = 0
        self._source = source
        self._packer = packer
        self._lay_out = lay_out
        self._restart(drawn=0, used=set())

    def next(self) -> list[Layout]:
        """Return the layouts of the next pack.

        Raises:
            DataError: The source gives up, or too many documents exceed the token budget.
        """
        chosen = next(self._packs)
        taken = {id(layout) for layout in chosen}
        gone = [n for n, (_, unit) in self._waiting.items() if id(unit[0]) in taken]
        for number in gone:
            del self._waiting[number]
        self.num_documents = len(gone)
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue behind the last pack, as JSON values."""
        waiting = sorted(self._waiting)
        anchor = waiting[0] if waiting else self._drawn
        source = self._waiting[anchor][0] if waiting else self._source.state_dict()
        return {
            "anchor": anchor,
            "source": source,
            "drawn": self._drawn,
            "waiting": waiting,
            "num_long": self.num_long,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly: go back to the oldest waiting document and skip those already used.

        Raises:
            CheckpointError: The source refuses its state.
        """
        self._source.load_state_dict(state["source"])
        since = set(range(state["anchor"], state["drawn"]))
        self._restart(drawn=int(state["anchor"]), used=since - set(state["waiting"]))
        self.num_long = int(state["num_long"])

    def _restart(self, *, drawn: int, used: set[int]) -> None:
        self._drawn = drawn
        self._used = used
        self._waiting: dict[int, tuple[dict[str, Any], list[Layout]]] = {}
        self._packs = self._packer.packs(self._units())

    def _units(self) -> Iterator[list[Layout]]:
        while True:
            number, before = self._drawn, self._source.state_dict()
            sequence = self._source.next()
            self._drawn += 1
            if number in self._used:
                self._used.remove(number)
                continue
            unit = self._lay_out(number, sequence)
            if num_tokens(unit) > self._packer.token_budget:
                self._count_long(sequence, num_tokens(unit))
            elif unit:
                self._waiting[number] = (before, unit)
                yield unit

    def _count_long(self, sequence: InterleavedSequence, size: int) -> None:
        self.num_long += 1
        name, budget = sequence.id or f"number {self._drawn}", self._packer.token_budget
        message = f"document {name} takes {size} tokens, more than token_budget = {budget}"
        log.warning("skipped: %s", message)
        if self.num_long > MAX_LONG_SHARE * max(self._drawn, 100):
            raise DataError(
                f"{self.num_long} of {self._drawn} documents exceed the token budget; the last: "
                f"{message}; raise the budget or lower max_images of the data"
            )
