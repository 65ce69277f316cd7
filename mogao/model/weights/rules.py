"""Foreign weights as rules: which of theirs make one of ours, and back, bit for bit.

In: tensors under foreign names. Out: tensors under the names of our modules, or the other way. A
rule is data, so that a converter can stream shard by shard: it knows beforehand which foreign
tensors a weight needs, and of which shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from einops import rearrange
from torch import Tensor

from mogao.config.base import Config
from mogao.errors import CheckpointError

Part = Literal["transformer", "vision", "vae"]
Settings = Mapping[str, Mapping[str, Any]]
"""JSON files of a foreign folder by name, such as {"config.json": {...}}."""
C = TypeVar("C", bound=Config)
NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Foreign:
    """A tensor of the other side."""

    name: str
    shape: tuple[int, ...]


@runtime_checkable
class Form(Protocol):
    """How foreign tensors become one of ours; exact both ways, in any dtype."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """Return our weight."""
        ...

    def split(self, ours: Tensor, theirs: Sequence[Foreign]) -> list[Tensor]:
        """Return theirs, each of its shape."""
        ...


@dataclass(frozen=True, slots=True)
class Stacked:
    """Theirs one below the other, along the first axis; of one tensor, the tensor itself."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """Return our weight."""
        return theirs[0] if len(theirs) == 1 else torch.cat(list(theirs))

    def split(self, ours: Tensor, theirs: Sequence[Foreign]) -> list[Tensor]:
        """Return theirs, each of its shape."""
        return list(ours.split([one.shape[0] for one in theirs]))


@dataclass(frozen=True, slots=True)
class Rearranged:
    """One tensor with its axes in another order; patterns and sizes of einops.

    Attributes:
        theirs: Pattern of the foreign tensor, such as "o c h w".
        ours: Pattern of our weight, such as "o (h w c)".
        sizes: Lengths of axes that either pattern hides in a group.
    """

    theirs: str
    ours: str
    sizes: tuple[tuple[str, int], ...] = ()

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """Return our weight."""
        return rearrange(theirs[0], f"{self.theirs} -> {self.ours}", **dict(self.sizes))

    def split(self, ours: Tensor, theirs: Sequence[Foreign]) -> list[Tensor]:
        """Return theirs, each of its shape."""
        back = rearrange(ours, f"{self.ours} -> {self.theirs}", **dict(self.sizes))
        return [back.reshape(theirs[0].shape)]


STACKED = Stacked()


@dataclass(frozen=True, slots=True)
class Rule:
    """One of our weights from foreign ones.

    Attributes:
        ours: Name in the state dict of the part.
        theirs: What it is made of, in this order.
        form: How.
        is_copy: The foreign tensors also make another weight, from which they are written back; of
            several rules over the same foreign tensors all but one are copies.
    """

    ours: str
    theirs: tuple[Foreign, ...]
    form: Form = STACKED
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class Family(Generic[C]):
    """The adapter of one family for one part of a model.

    Attributes:
        name: Such as "qwen2".
        part: Which part of a model folder it makes.
        config: From the JSON files of a foreign folder to our config of the part. Raises
            `CheckpointError` for anything that the core cannot express, by name.
        settings: The way back: JSON files whose `config` is the same config.
        rules: All rules of a config.
        ignored: Patterns (`re.fullmatch`) of foreign tensors that carry nothing to keep.
    """

    name: str
    part: Part
    config: Callable[[Settings], C]
    settings: Callable[[C], dict[str, dict[str, Any]]]
    rules: Callable[[C], tuple[Rule, ...]]
    ignored: tuple[str, ...] = ()

    def is_ignored(self, name: str) -> bool:
        """Whether a foreign tensor is left behind on purpose."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)


@dataclass(frozen=True, slots=True)
class Report:
    """How foreign tensors fit the rules of a family; empty fields mean that they do.

    Attributes:
        missing: Foreign names that a rule wants and that are not there.
        unexpected: Foreign names that no rule wants and that are not ignored.
        misshaped: "name [shape] instead of [shape]".
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every name and shape matches."""
        return not (self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        """Return one line with at most ten names of each kind."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "misshaped": self.misshaped,
        }
        return "; ".join(f"{len(names)} {kind}: {some(names)}" for kind, names in kinds.items()
                         if names) or "every name and shape fits"  # fmt: skip


def check(
    rules: Iterable[Rule], shapes: Mapping[str, tuple[int, ...]], *, family: Family[Any]
) -> Report:
    """Compare foreign tensors with what the rules of a family want."""
    wanted = {one.name: one.shape for rule in rules for one in rule.theirs}
    extra = [name for name in sorted(shapes.keys() - wanted.keys()) if not family.is_ignored(name)]
    misshaped = tuple(
        f"{name} {list(shapes[name])} instead of {list(wanted[name])}"
        for name in sorted(shapes.keys() & wanted.keys())
        if shapes[name] != wanted[name]
    )
    return Report(tuple(sorted(wanted.keys() - shapes.keys())), tuple(extra), misshaped)


def to_ours(
    theirs: Mapping[str, Tensor], config: C, *, family: Family[C], where: str
) -> dict[str, Tensor]:
    """Return our weights from foreign ones that are in memory.

    Raises:
        CheckpointError: A name is missing or unexpected or a shape differs; ten of each are named.
    """
    rules = family.rules(config)
    report = check(rules, {name: tuple(t.shape) for name, t in theirs.items()}, family=family)
    if not report.fits:
        raise CheckpointError(f"{where} is no {family.name} model of this config; {report}")
    return {rule.ours: rule.form.join([theirs[one.name] for one in rule.theirs]) for rule in rules}


def to_theirs(ours: Mapping[str, Tensor], config: C, *, family: Family[C]) -> dict[str, Tensor]:
    """Return foreign weights from ours; weights that no rule names are left behind.

    Raises:
        CheckpointError: A weight that a rule names is not there.
    """
    theirs: dict[str, Tensor] = {}
    for rule in family.rules(config):
        if rule.is_copy:
            continue
        if rule.ours not in ours:
            raise CheckpointError(f"the model has no weight {rule.ours}, which {family.name} needs")
        tensors = rule.form.split(ours[rule.ours], rule.theirs)
        theirs |= {one.name: tensor for one, tensor in zip(rule.theirs, tensors, strict=True)}
    return theirs


def some(names: Sequence[str]) -> str:
    """Return the first ten names, and how many there are besides."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
