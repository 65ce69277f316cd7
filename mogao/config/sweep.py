"""One sweep: runs that differ in a few settings, trained at equal compute and evaluated alike."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mogao.config.base import Config, Count

_FOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class EvaluationConfig(Config):
    """What is asked of every trained model; the same items with the same seeds for all."""

    suite: str
    """A benchmark, or a collection such as `world`."""
    num_per_group: Count | None = None
    """Most items of a group; None takes all."""
    groups: tuple[str, ...] = ()
    """Only these groups; empty takes all."""
    options: dict[str, str | int | float] = {}
    """Of the benchmark: `pixels: 64`, `styles: noto`, `data: records.jsonl`; paths are relative to
    the working folder."""
    settings: tuple[str, ...] = ()
    """Changes of the generation settings, such as `image.num_steps=12`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of items and draws."""
    tools: tuple[str, ...] = ()
    """Who judges, `KIND=SPEC` each as after `mogao eval --tool`."""
    protocol: str | None = None
    """How to score; None takes the usual way."""
    record: str | None = None
    """File that keeps what the tools said, for all models."""


class SweepConfig(Config):
    """What `mogao sweep FILE.yaml` reads."""

    name: str = "sweep"
    base: str
    """Run config that all arms start from; a path beside this file."""
    stages: tuple[str, ...] = ()
    """Run configs that follow the base, each from the model of the one before; overrides hold for
    all of them."""
    overrides: tuple[str, ...] = ()
    """Changes of every arm, `key.path=value` each, applied before its own."""
    arms: Annotated[dict[str, tuple[str, ...]], Field(min_length=1)]
    """Name to overrides, applied to the base and to all stages; the first arm is the baseline."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """Each is a run of every arm; 0 is the config as written, others move all its seeds."""
    equal: Literal["steps", "tokens", "flops"] = "flops"
    """What every arm spends as much of as the baseline, stage by stage; see docs/sweeps.md."""
    num_packs: Count = 64
    """Packs from which the cost of a step is estimated."""
    evaluate: tuple[EvaluationConfig, ...] = ()
    processes: Count = 1
    """Processes that train one model together."""

    @field_validator("arms")
    @classmethod
    def _folders(cls, arms: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in arms:
            if not _FOLDER_NAME.fullmatch(name):
                raise ValueError(
                    f"arm {name!r}: a name is of small letters, digits, '-' and '_', for it names "
                    "a folder"
                )
        return arms

    @model_validator(mode="after")
    def _once(self) -> SweepConfig:
        names = [one.suite for one in self.evaluate]
        for key, values in (("seeds", self.seeds), ("evaluate", names)):
            if len(set(values)) != len(values):
                raise ValueError(f"{key}: {list(values)} names one twice")
        return self

    @property
    def baseline(self) -> str:
        """Name of the arm that all others are compared with."""
        return next(iter(self.arms))
