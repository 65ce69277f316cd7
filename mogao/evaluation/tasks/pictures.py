"""From the pictures of an item to its row: what benchmarks that judge one picture at a time share.

In: an item, its outputs, a rule for one picture. Out: a row whose values are means over the
outputs. An output without a picture, or with one that cannot be read, is wrong and is counted as a
failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mogao.data.images import read_image
from mogao.errors import RequestError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.judges.report import ShapeError
from mogao.sequence import Pixels

_Said = TypeVar("_Said")
NO_PICTURE = "no picture"


@dataclass(frozen=True, slots=True)
class Judged:
    """What a rule says of one picture.

    Attributes:
        values: Named numbers.
        facts: JSON values for the reader.
        failures: What could not be read of it.
    """

    values: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


def last_picture(output: Output) -> Path | None:
    """Return the picture that counts: the last one, for models that draft before they finish."""
    return output.pictures[-1] if output.pictures else None


def attempted(path: Path, rule: Callable[[Pixels], _Said]) -> tuple[_Said | None, tuple[str, ...]]:
    """Return what a rule says of the picture of a file, or None and what failed, with its name.

    Args:
        path: A file that may be no picture, or of a shape that no judge takes.
        rule: Judges one picture.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        pixels = read_image(path, where=name)
    except RequestError as error:
        return None, (str(error),)
    try:
        return rule(pixels), ()
    except ShapeError as error:
        return None, (f"{name}: {error}",)


def picture_row(
    item: Item,
    outputs: Sequence[Output],
    rule: Callable[[Pixels], Judged],
    *,
    names: Sequence[str],
    facts: Mapping[str, Any] | None = None,
) -> Row:
    """Return the row of an item whose outputs are one picture each.

    Args:
        item: What was asked for.
        outputs: At least one.
        rule: Judges one picture.
        names: Of all values that the rule gives; an output without a picture that can be read has
            0 in each.
        facts: More for the reader, beside those of each picture.
    """
    judged, failures = [], []
    for k, output in enumerate(outputs):
        path = last_picture(output)
        found, failed = (None, (NO_PICTURE,)) if path is None else attempted(path, rule)
        one = found or Judged(dict.fromkeys(names, 0.0))
        failures += [f"output {k}: {failure}" for failure in (*failed, *one.failures)]
        judged.append(one)
    means = {name: sum(one.values[name] for one in judged) / len(judged) for name in names}
    seen = {"pictures": [dict(one.facts) for one in judged]}
    return Row(item.id, item.group, means, tuple(failures), {**(facts or {}), **seen})
