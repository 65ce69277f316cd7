"""Endless sources of sequences and their mixture; what training reads from.

In: a data config. Out: a `Source` for one rank. Every choice is a pure function of a seed and a
counter, so the state of a source is a few integers and resuming is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from mogao.config import DataConfig, MixtureConfig, RecordsConfig, WorldConfig
from mogao.errors import CheckpointError, ConfigError
from mogao.sequence import InterleavedSequence

if TYPE_CHECKING:
    from mogao.data.world.source import World


@runtime_checkable
class Source(Protocol):
    """An endless stream of sequences that can be saved and continued exactly."""

    def next(self) -> InterleavedSequence:
        """Return the next sequence."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where the state was taken; CheckpointError if that cannot be."""
        ...


class WorldSource:
    """The scene world: rank r of n reads items r, r + n, r + 2 n, ..."""

    def __init__(self, world: World, *, rank: int = 0, num_ranks: int = 1) -> None:
        self.world, self.rank, self.num_ranks = world, rank, num_ranks
        self._step = 0

    def next(self) -> InterleavedSequence:
        """Return the next scene document of this rank."""
        index = self._step * self.num_ranks + self.rank
        self._step += 1
        return self.world.item(index)

    def state_dict(self) -> dict[str, Any]:
        """Return the next index of rank 0."""
        return {"next_index": self._step * self.num_ranks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the saved index.

        Raises:
            CheckpointError: The number of ranks does not divide the index.
        """
        self._step, rest = divmod(int(state["next_index"]), self.num_ranks)
        if rest:
            raise CheckpointError(
                f"the world stands at item {state['next_index']}, which {self.num_ranks} ranks do "
                "not divide; resume with the number of ranks of the checkpoint"
            )


class Mixture:
    """Draws each sequence from one of several sources by weight."""

    def __init__(
        self, sources: Sequence[Source], weights: Sequence[float], seed: Sequence[int]
    ) -> None:
        """Join sources.

        Args:
            sources: The sources, at least one.
            weights: Their positive weights; they need not sum to one.
            seed: Non-negative integers; ranks must differ in one of them.

        Raises:
            ConfigError: There are no sources, or not one positive weight for each.
        """
        if not sources or len(sources) != len(weights) or min(weights) <= 0:
            raise ConfigError(f"{len(sources)} sources need a positive weight each, got {weights}")
        self.sources = list(sources)
        self._shares = np.cumsum(weights) / np.sum(weights)
        self._seed = list(seed)
        self._count = 0

    def next(self) -> InterleavedSequence:
        """Return the next sequence of a source drawn by weight."""
        draw = np.random.default_rng([*self._seed, self._count]).random()
        self._count += 1
        return self.sources[int(np.searchsorted(self._shares[:-1], draw, side="right"))].next()

    def state_dict(self) -> dict[str, Any]:
        """Return the counter and the states of all sources."""
        return {"count": self._count, "sources": [s.state_dict() for s in self.sources]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly.

        Raises:
            CheckpointError: The state has another number of sources, or one refuses its own.
        """
        if len(state["sources"]) != len(self.sources):
            raise CheckpointError(
                f"the checkpoint mixes {len(state['sources'])} sources, the config "
                f"{len(self.sources)}; resume with the config of the checkpoint"
            )
        self._count = int(state["count"])
        for source, saved in zip(self.sources, state["sources"], strict=True):
            source.load_state_dict(saved)


def build_source(config: DataConfig, *, rank: int = 0, num_ranks: int = 1) -> Source:
    """Build the source that a data config describes, for one rank.

    Raises:
        DataError: A file of records is missing or in no known form.
    """
    if isinstance(config, WorldConfig):
        from mogao.data.world.source import World

        return WorldSource(World(config), rank=rank, num_ranks=num_ranks)
    if isinstance(config, RecordsConfig):
        from mogao.data.stream import Records

        return Records(config, rank=rank, num_ranks=num_ranks)
    assert isinstance(config, MixtureConfig)
    parts = [build_source(part, rank=rank, num_ranks=num_ranks) for part in config.sources]
    return Mixture(parts, config.weights, seed=(config.seed, rank))
