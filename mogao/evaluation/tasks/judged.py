"""What benchmarks with a chat judge share: texts for the judge, opinions and the rows they make.

In: records, templates, the outputs of an item, a rule that asks the judge about one output. Out:
rows. A reply that could not be read leaves its values out of the row and is counted as a failure;
it is never a zero. What a model left undone has the least values instead, but for those rules whose
public scripts pass it over; then `scored` says how many items the means rest on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mogao.data.images import read_image
from mogao.errors import ConfigError, DataError, nearest
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.tasks import records
from mogao.evaluation.tasks.pictures import NO_PICTURE, last_picture
from mogao.sequence import Pixels

OWN, GIVEN = "own-template", "given-template"

_PLACE = re.compile(r"\{([a-z_]+)\}")


def numbered_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the records of a file, each after its place for messages.

    Args:
        path: JSON Lines where it ends in ".jsonl", else a JSON list, or an object whose keys
            become the field "key" of its records.

    Raises:
        DataError: It cannot be read, or a record is not an object.
    """
    rows = records.read_records(path, key="key")
    return [(f"{path}: record {number}", row) for number, row in enumerate(rows, 1)]


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse an option of a benchmark that is not one of a few words.

    Raises:
        ConfigError: It is not.
    """
    if value not in known:
        raise ConfigError(f"{name} {value!r}: expected one of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Templates:
    """Texts for a judge by name, with places such as "{instruction}" for the values.

    Attributes:
        texts: By name.
        is_given: Whether the user gave them; it becomes part of each protocol's name, because
            scores under different words cannot be compared.
    """

    texts: Mapping[str, str]
    is_given: bool = False

    def fill(self, name: str, values: Mapping[str, str]) -> str:
        """Return a text with its places filled; braces that name no value stay as they are."""
        return _PLACE.sub(lambda place: values.get(place[1], place[0]), self.texts[name])

    def protocols(self, rules: Sequence[str]) -> tuple[str, ...]:
        """Return the full names of rules."""
        return tuple(f"{rule}/{GIVEN if self.is_given else OWN}" for rule in rules)

    def rule(self, protocol: str, rules: Sequence[str]) -> str:
        """Return the rule that a protocol's full name stands for.

        Raises:
            ConfigError: No rule has this name under these templates.
        """
        names = dict(zip(self.protocols(rules), rules, strict=True))
        if protocol not in names:
            raise ConfigError(f"no protocol {protocol!r}: {nearest(protocol, names)}")
        return names[protocol]


def load_templates(path: Path | None, own: Mapping[str, str]) -> Templates:
    """Return the own templates, or those of a JSON object name -> text.

    Raises:
        DataError: The file cannot be read, lacks a template, has one that is not known, uses a
            place that has no value, or uses none of those that have one.
    """
    if path is None:
        return Templates(own)
    given = records.read_json(path)
    texts = {name: records.field(given, name, str, where=str(path)) for name in own}
    for name in given:
        if name not in own:
            raise DataError(f"{path}: no template {name!r} is asked for; {nearest(name, own)}")
    for name, text in texts.items():
        known, used = set(_PLACE.findall(own[name])), set(_PLACE.findall(text))
        if used - known or (known and not used):
            got = ", ".join(sorted(used)) or "none"
            expected = f"some of {', '.join(sorted(known))}" if known else "no place at all"
            raise DataError(f"{path}: template {name!r} has the places {got}; expected {expected}")
    return Templates(texts, is_given=True)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What came out for one output of an item; the fields are those of `Row`."""

    values: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def opinion_row(item: Item, outputs: Sequence[Output], judge: Callable[[Output], Opinion]) -> Row:
    """Judge each output; a value is the mean over those outputs that have it."""
    found = [judge(output) for output in outputs]
    values = {}
    for name in dict.fromkeys(name for one in found for name in one.values):
        numbers = [one.values[name] for one in found if name in one.values]
        values[name] = sum(numbers) / len(numbers)
    failures = [f"output {k}: {text}" for k, one in enumerate(found) for text in one.failures]
    facts = {"judged": [dict(one.facts) for one in found]}
    return Row(item.id, item.group, values, tuple(failures), facts)


def picture_opinions(
    item: Item,
    outputs: Sequence[Output],
    judge: Callable[[Pixels], Opinion],
    *,
    missing: Mapping[str, float],
) -> Row:
    """Judge the picture of each output; one without a picture is a failure.

    Args:
        item: What was asked for.
        outputs: At least one.
        judge: Judges one picture.
        missing: Values of an output without a picture; empty leaves it out of the means.

    Raises:
        RequestError: A picture cannot be read.
    """

    def judge_picture(output: Output) -> Opinion:
        path = last_picture(output)
        return Opinion(missing, (NO_PICTURE,)) if path is None else judge(read_image(path))

    return opinion_row(item, outputs, judge_picture)
