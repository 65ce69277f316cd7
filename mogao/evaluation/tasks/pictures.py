"""From the pictures of an item to its row: what benchmarks that judge one picture at a time share.

In: an item, its outputs, a rule for one picture. Out: a row whose values are means over the
outputs. An output without a picture is wrong and is counted as a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao.data.images import read_image
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.sequence import Pixels

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
        names: Of all values that the rule gives; an output without a picture has 0 in each.
        facts: More for the reader, beside those of each picture.

    Raises:
        RequestError: A picture cannot be read.
    """
    missing = Judged(dict.fromkeys(names, 0.0), failures=(NO_PICTURE,))
    paths = [last_picture(output) for output in outputs]
    judged = [missing if path is None else rule(read_image(path)) for path in paths]
    failures = [f"output {k}: {text}" for k, one in enumerate(judged) for text in one.failures]
    means = {name: sum(one.values[name] for one in judged) / len(judged) for name in names}
    seen = {"pictures": [dict(one.facts) for one in judged]}
    return Row(item.id, item.group, means, tuple(failures), {**(facts or {}), **seen})
