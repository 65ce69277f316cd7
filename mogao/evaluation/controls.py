"""Players that need no model: what bounds a suite from above, and what it gives to chance.

In: items of the world. Out: outputs. `Perfect` answers with what is right; `Shuffled` answers with
what is right for another item of the same group, so a suite that scores it well asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mogao.errors import ConfigError
from mogao.evaluation.benchmark import Item
from mogao.evaluation.player import Job, Made, seed_of
from mogao.evaluation.tasks.world.base import RoundTrip, perfect
from mogao.sequence import Pixels


class Perfect:
    """Right answers and real renders; see `mogao.evaluation.player.Player`."""

    def __init__(self, *, round_trip: RoundTrip | None = None) -> None:
        """Make the player.

        Args:
            round_trip: An autoencoder that all pictures pass; None shows clean renders.
        """
        self._round_trip = round_trip

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """Return what a perfect model makes.

        Raises:
            ConfigError: An item is not of the world.
        """
        for item, _ in jobs:
            yield tuple(self._seen(part) for part in perfect(item))

    def _seen(self, part: str | Pixels) -> str | Pixels:
        if isinstance(part, str) or self._round_trip is None:
            return part
        return self._round_trip([part])[0]


class Shuffled:
    """Right answers to other items; see `mogao.evaluation.player.Player`."""

    def __init__(
        self, items: Sequence[Item], *, seed: int = 0, round_trip: RoundTrip | None = None
    ) -> None:
        """Make the player.

        Args:
            items: Whose answers are dealt out anew inside each group.
            seed: Of the dealing.
            round_trip: See `Perfect`.

        Raises:
            ConfigError: A group has one item alone, so that there is no other to be dealt.
        """
        self._player = Perfect(round_trip=round_trip)
        self._other = {
            item.id: other
            for name in dict.fromkeys(item.group for item in items)
            for item, other in _deal([item for item in items if item.group == name], seed)
        }

    def play(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """Return what would be right for other items."""
        yield from self._player.play([(self._other[item.id], k) for item, k in jobs])


def _deal(items: Sequence[Item], seed: int) -> list[tuple[Item, Item]]:
    """Pair each item with another one: every answer is dealt once, and none to its own item."""
    if len(items) < 2:
        raise ConfigError(
            f"group {items[0].group!r} has one item, {items[0].id}: there is no other to shuffle "
            "with; take more items (--n 2 or more)"
        )
    rng = np.random.default_rng(seed_of(items[0], 0, seed))
    order = [items[number] for number in rng.permutation(len(items))]
    return list(zip(order, [*order[1:], order[0]], strict=True))
