"""What a sweep trains: for every arm the steps that spend what the baseline spends, and all runs.

In: a `SweepConfig`. Out: `Arm`s with their cost, and for each arm and seed complete run configs.

Equal compute is a number of steps, worked out beforehand, and no rule that stops a run when a
budget is spent: warm-up and decay of the learning rate are shares of `max_steps`, so a run has to
know its length when it begins, and a run of a sweep stays an ordinary run that `mogao train` can
repeat. What was spent is counted during training all the same and stands in the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mogao import config as configs
from mogao.config import JointTask, ModelConfig, RunConfig, SweepConfig, reseeded
from mogao.errors import CheckpointError, ConfigError
from mogao.sweep.cost import Cost, start_of, step_cost
from mogao.tokenizer import Tokenizer

SEED_STEP = 10_007
"""How far seed n + 1 of a sweep lies from seed n: runs and their data are told apart by it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One training of an arm.

    Attributes:
        path: Its run config.
        steps: How long it trains.
        cost: Of a step; None where it is not counted, as for an autoencoder.
    """

    path: Path
    steps: int
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: Of the arm and its folder.
        overrides: All changes of the base, those that every arm has included.
        stages: Trainings, one after another.
    """

    name: str
    overrides: tuple[str, ...]
    stages: tuple[Stage, ...]

    def flops(self, *, processes: int) -> float:
        """Counted FLOPs of one run of all stages; 0 for a stage that is not counted."""
        costs = [(stage.steps, stage.cost) for stage in self.stages if stage.cost is not None]
        return processes * sum((steps * cost.flops for steps, cost in costs), 0.0)


@dataclass(frozen=True, slots=True)
class Run:
    """One training of one arm with one seed.

    Attributes:
        config: Complete; `mogao train` with it does the same.
        folder: Where it goes.
    """

    config: RunConfig
    folder: Path


def plan_arms(sweep: SweepConfig, folder: Path) -> list[Arm]:
    """Return the arms with their steps and costs, the baseline first.

    Args:
        sweep: The sweep.
        folder: Where its run configs lie.

    Raises:
        ConfigError: A config or an override is not valid, an arm sets its own number of steps, or
            compute is to be equal in something that a stage does not count.
        CheckpointError: A model or an encoder that a run starts from is missing.
    """
    arms: list[Arm] = []
    for name, own in sweep.arms.items():
        overrides = (*sweep.overrides, *own)
        stages: list[Stage] = []
        for number, (path, run, cost) in enumerate(_counted(sweep, folder, overrides)):
            first = arms[0].stages[number] if arms else Stage(path, run.max_steps, cost)
            if run.max_steps != first.steps:
                raise ConfigError(
                    f"arm {name!r} sets max_steps, but equal: {sweep.equal} decides how long it "
                    "trains; change it for all arms, under overrides"
                )
            stages.append(Stage(path, _equal_steps(sweep, first, cost), cost))
        arms.append(Arm(name, overrides, tuple(stages)))
    return arms


def runs_of(arm: Arm, *, seed: int, out: Path) -> Iterator[Run]:
    """Yield the trainings of an arm with a seed, in order.

    Raises:
        ConfigError: A config is not valid any more.
    """
    folder = out / arm.name / f"seed-{seed}"
    previous: Path | None = None
    for number, stage in enumerate(arm.stages, 1):
        own = folder / f"stage-{number}" if len(arm.stages) > 1 else folder
        # A time limit would end the arms at unequal compute.
        changes = [*arm.overrides, f"max_steps={stage.steps}", "max_minutes=null"]
        if previous is not None:
            changes.append(_start(previous / "model"))
        run = configs.load(RunConfig, stage.path, overrides=changes)
        moved = {
            "seed": run.seed + SEED_STEP * seed,
            "data": reseeded(run.data, by=SEED_STEP * seed, endless=False),
        }
        yield Run(run.model_copy(update=moved), own)
        previous = own


def _counted(
    sweep: SweepConfig, folder: Path, overrides: Sequence[str]
) -> Iterator[tuple[Path, RunConfig, Cost | None]]:
    """Yield the stages of an arm, each with the cost of a step where that is counted."""
    paths = [folder / path for path in (sweep.base, *sweep.stages)]
    start: tuple[ModelConfig, Tokenizer] | None = None
    for number, path in enumerate(paths):
        # The model before does not exist yet; that there will be one is all that is checked.
        changes = [*overrides, *([_start(path)] if number else [])]
        run = configs.load(RunConfig, path, overrides=changes)
        if isinstance(run.task, JointTask):
            _check_encoders(run.task, path)
            start = start or start_of(run)
            yield path, run, step_cost(run, *start, num_packs=sweep.num_packs)
        elif len(paths) > 1 or sweep.equal != "steps":
            raise ConfigError(
                f"{path} is a run of kind {run.task.kind}: only joint runs have stages and are "
                "counted in tokens and FLOPs; alone and with equal: steps it may be swept"
            )
        else:
            yield path, run, None


def _check_encoders(task: JointTask, path: Path) -> None:
    """Find a missing encoder now, and the config that makes it where its name tells."""
    needed = {"autoencoder_from": "vae"} if task.init_from is None else {}
    for key, part in {**needed, "vision_from": "vision"}.items():
        name = getattr(task, key)
        if name is None or (Path(name) / part).is_dir():
            continue
        folder = Path(name).parent
        maker = path.parent / f"{folder.name}.yaml"
        hint = f"mogao train {maker} --out {folder} makes it" if maker.is_file() else "train it"
        raise CheckpointError(f"{path}: task.{key} is {name}, which holds no {part}/; {hint} first")


def _start(model: Path) -> str:
    return f"task.init_from={json.dumps(str(model))}"


def _equal_steps(sweep: SweepConfig, baseline: Stage, cost: Cost | None) -> int:
    if sweep.equal == "steps" or cost is None or baseline.cost is None:
        return baseline.steps
    spent, own = (getattr(one, sweep.equal) for one in (baseline.cost, cost))
    return max(1, round(baseline.steps * spent / own))
