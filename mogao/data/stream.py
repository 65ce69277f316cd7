"""An endless, exactly resumable stream of sequences from a table of records.

In: a `RecordsConfig`. Out: `InterleavedSequence`s for one rank. A broken record is counted, named
in the log and skipped, up to a set share. The order of an epoch is a pure function of seed and
epoch, so a few integers are the whole state.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from jaxtyping import Int64

from mogao.config import RecordsConfig
from mogao.data.records import PictureOptions, Record, parse_record, to_sequence
from mogao.data.tables import open_table
from mogao.errors import CheckpointError, DataError
from mogao.sequence import InterleavedSequence

LEAST_READ = 100
"""Records that the share of broken ones is counted on at least, so that one is never too many."""

log = logging.getLogger(__name__)


class Records:
    """The records of one rank, epoch after epoch.

    Attributes:
        num_read: Records read so far, broken ones included.
        num_bad: Broken records skipped so far.
        num_cut: Records cut at `max_images`.
    """

    def __init__(self, config: RecordsConfig, *, rank: int = 0, num_ranks: int = 1) -> None:
        """Open the table.

        Raises:
            DataError: There is no such table, or it has fewer records than there are ranks.
        """
        self.config, self.rank, self.num_ranks = config, rank, num_ranks
        self.num_read = self.num_bad = self.num_cut = 0
        self._table = open_table(config.path)
        if len(self._table) < num_ranks:
            raise DataError(
                f"{config.path} has {len(self._table)} records; at least {num_ranks} (one a rank) "
                "are needed"
            )
        self._options = PictureOptions(config.max_pixels, config.pixel_budget, config.token_pixels)
        self._epoch = self._position = 0
        self._order = self._epoch_order()

    def next(self) -> InterleavedSequence:
        """Return the next good record that `keep` selects.

        Raises:
            DataError: More than `max_bad_share` of the records read are broken, or a whole epoch
                holds nothing to return.
        """
        for _ in range(2 * len(self._order)):  # from anywhere, this covers one whole epoch
            sequence = self._read(int(self._advance()))
            if sequence is not None:
                return sequence
        raise DataError(
            f"{self.config.path}: no usable record for rank {self.rank}; keep is "
            f"{self.config.keep or 'empty'}, {self.num_bad} of {self.num_read} read are broken; "
            "run `mogao data check` on it"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        return {
            "epoch": self._epoch,
            "position": self._position,
            "num_records": len(self._table),
            "num_ranks": self.num_ranks,
            "num_read": self.num_read,
            "num_bad": self.num_bad,
            "num_cut": self.num_cut,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where the state was taken.

        Raises:
            CheckpointError: The data or the number of ranks is another than when it was saved.
        """
        for key, now in (("num_records", len(self._table)), ("num_ranks", self.num_ranks)):
            if state.get(key) != now:
                raise CheckpointError(
                    f"{self.config.path}: {key} was {state.get(key)} in the checkpoint and is "
                    f"{now}; resume with the same data and ranks, or start a new run from the model"
                )
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self.num_read, self.num_bad = int(state["num_read"]), int(state["num_bad"])
        self.num_cut = int(state["num_cut"])
        self._order = self._epoch_order()

    def _advance(self) -> np.int64:
        if self._position == len(self._order):
            self._epoch, self._position = self._epoch + 1, 0
            self._order = self._epoch_order()
        index: np.int64 = self._order[self._position]
        self._position += 1
        return index

    def _epoch_order(self) -> Int64[np.ndarray, " records"]:
        order = np.arange(len(self._table), dtype=np.int64)
        if self.config.shuffle:
            np.random.default_rng([self.config.seed, self._epoch]).shuffle(order)
        return order[self.rank :: self.num_ranks]

    def _read(self, index: int) -> InterleavedSequence | None:
        self.num_read += 1
        try:
            row = self._table.row(index)
            record = parse_record(row.data, where=row.where)
            if not self._keeps(record):
                return None
            record = self._cut(record)
            return to_sequence(record, read=row.read, where=row.where, options=self._options)
        except DataError as error:
            self._count_bad(error)
            return None

    def _keeps(self, record: Record) -> bool:
        return all(record.meta.get(key) == value for key, value in self.config.keep.items())

    def _cut(self, record: Record) -> Record:
        """Cut behind the last allowed picture and the text that follows it."""
        images = [i for i, item in enumerate(record.segments) if item.image is not None]
        if len(images) <= self.config.max_images:
            return record
        self.num_cut += 1
        return record.model_copy(
            update={"segments": record.segments[: images[self.config.max_images]]}
        )

    def _count_bad(self, error: DataError) -> None:
        self.num_bad += 1
        log.warning("record skipped: %s", error)
        limit = self.config.max_bad_share * max(self.num_read, LEAST_READ)
        if self.num_bad > limit:
            raise DataError(
                f"{self.num_bad} of {self.num_read} records read from {self.config.path} are "
                f"broken, more than the share of {self.config.max_bad_share} allowed; the last: "
                f"{error}; run `mogao data check` on it"
            ) from None
