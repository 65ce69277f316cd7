"""Check records without training: every violation with file, line and field, to the end.

In: a path as in `RecordsConfig.path`. Out: a `CheckReport`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mogao.data.records import PictureOptions, parse_record, to_sequence
from mogao.data.tables import Row, open_table
from mogao.data.violations import RecordError, Violation
from mogao.errors import DataError
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment


@dataclass(slots=True)
class CheckReport:
    """What `check_file` found.

    Attributes:
        num_records: Records in the file, broken ones included.
        num_bad: Records with at least one violation.
        num_segments: Segments of the good records.
        num_images: Pictures of the good records.
        num_words: Words of the good records' texts, split at white space.
        num_fitted: Pictures that training will scale to its pixel budget or token grid.
        num_learned: Good records in which something carries loss.
        violations: The violations, in file order.
    """

    num_records: int = 0
    num_bad: int = 0
    num_segments: int = 0
    num_images: int = 0
    num_words: int = 0
    num_fitted: int = 0
    num_learned: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there are records and none has a violation."""
        return self.num_records > 0 and not self.violations

    def add(self, sequence: InterleavedSequence) -> None:
        """Count a good record."""
        self.num_segments += len(sequence)
        self.num_learned += any(segment.has_loss for segment in sequence)
        self.num_fitted += len(sequence.meta.get("fitted", {}))
        for segment in sequence:
            if isinstance(segment, TextSegment):
                self.num_words += len(segment.text.split())
            elif isinstance(segment, ImageSegment):
                self.num_images += 1


def check_file(
    path: str,
    *,
    options: PictureOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read every record and decode every picture.

    Args:
        path: A file, a folder, a pattern with `*`, or `hub:NAME`.
        options: Limits and sizes of pictures, as in training.
        progress: Called with (records done, records in all).

    Raises:
        DataError: There is nothing to read at `path`.
    """
    table = open_table(path)
    report = CheckReport(num_records=len(table))
    for index in range(len(table)):
        try:
            report.add(_sequence(table.row(index), options=options))
        except DataError as error:
            plain = [Violation(f"{path}:record {index + 1}", "", str(error))]
            report.num_bad += 1
            report.violations += error.violations if isinstance(error, RecordError) else plain
        if progress:
            progress(index + 1, len(table))
    if not len(table):
        report.violations.append(Violation(path, "", "there are no records"))
    return report


def read_first(path: str, *, count: int = 1, start: int = 0) -> list[InterleavedSequence]:
    """Return some records as sequences in file order, for looking at them.

    Raises:
        DataError: There is no such file, or one of these records is broken.
    """
    table = open_table(path)
    return [_sequence(table.row(i)) for i in range(start, min(start + count, len(table)))]


def _sequence(row: Row, *, options: PictureOptions | None = None) -> InterleavedSequence:
    record = parse_record(row.data, where=row.where)
    return to_sequence(record, read=row.read, where=row.where, options=options)
