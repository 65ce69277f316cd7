"""Where and how a record breaks the schema, as a value and as an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mogao.errors import DataError


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where data does not follow the schema.

    Attributes:
        where: File and line, row or member.
        field: Path of the key, such as `segments[3].image`; empty for the whole record.
        message: What is wrong.
    """

    where: str
    field: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.field, self.message) if part)


class RecordError(DataError):
    """A record breaks the schema; the message joins all its violations."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = list(violations)
