"""The plan of a sweep: every arm spends what the baseline spends, counted as training counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mogao import config as configs
from mogao.config import JointTask, RunConfig, SweepConfig, parse
from mogao.errors import CheckpointError, ConfigError
from mogao.sweep.cost import start_of, step_cost
from mogao.sweep.plan import SEED_STEP, plan_arms, runs_of
from tests.branches import VARIANTS
from tests.training import joint

setting = joint.setting
WIDE = "task.model.transformer.ffn_hidden=256"
EARLIER = "{text: [text, vit], vit: [text, vit], clean: [], noisy: [text, vit, noisy]}"
NOISED = (
    "task.model.transformer.layout.part_order=[vit, noisy]",
    f"task.model.transformer.visibility.earlier={EARLIER}",
)


@pytest.fixture
def base(setting: Path, tmp_path: Path) -> Path:
    """A run config in a folder of its own."""
    configs.save(joint.make_config(setting, max_steps=400, max_minutes=3), tmp_path / "base.yaml")
    return tmp_path


def sweep(**values: Any) -> SweepConfig:
    data = {"base": "base.yaml", "arms": {"plain": []}, "num_packs": 6} | values
    return parse(SweepConfig, data, where="test")


def test_a_costlier_arm_trains_fewer_steps_for_the_same_flops(base: Path) -> None:
    plain, wide = plan_arms(sweep(arms={"plain": [], "wide": [WIDE]}), base)
    assert plain.stages[0].steps == 400
    assert wide.stages[0].steps < 300
    cost = wide.stages[0].cost
    assert cost is not None
    spent = [arm.flops(processes=2) for arm in (plain, wide)]
    assert abs(spent[0] - spent[1]) <= 2 * cost.flops / 2
    assert spent[0] == 2 * plain.flops(processes=1)


def test_what_is_equal_is_chosen(base: Path) -> None:
    arms: dict[str, Any] = {"plain": [], "noised": list(NOISED), "wide": [WIDE]}
    steps = {
        equal: [arm.stages[0].steps for arm in plan_arms(sweep(arms=arms, equal=equal), base)]
        for equal in ("steps", "tokens", "flops")
    }
    assert steps["steps"] == [400, 400, 400]
    assert steps["tokens"][0] == steps["tokens"][2] == 400
    assert steps["flops"][2] < steps["tokens"][2]


@pytest.mark.parametrize("changes", [(), NOISED], ids=["ectf", "noised"])
def test_the_estimate_counts_what_training_counts(setting: Path, changes: tuple[str, ...]) -> None:
    data = joint.make_config(setting, accumulation=2).model_dump(mode="json")
    run = parse(RunConfig, configs.override(data, changes), where="test")
    task = joint.make_task(run)
    counted = [task.tokens(task.next_batch()) for _ in range(4)]
    cost = step_cost(run, *start_of(run), num_packs=4)
    assert cost.tokens == sum(one["tokens"] for one in counted) / 2
    assert abs(cost.flops - sum(one["flops"] for one in counted) / 2) < 4
    assert isinstance(run.task, JointTask)
    assert run.task.model.transformer.history == ("noisy" if changes else "clean")


def test_the_noised_arm_of_the_tests_is_that_of_the_invariants() -> None:
    data = configs.override({}, list(NOISED))["task"]["model"]["transformer"]
    expected = VARIANTS["noised history"]
    assert tuple(data["layout"]["part_order"]) == expected["layout"]["part_order"]
    earlier = {query: tuple(keys) for query, keys in data["visibility"]["earlier"].items()}
    assert earlier == expected["visibility"]["earlier"]


def test_seed_0_is_the_config_as_written_and_others_move_run_and_data(base: Path) -> None:
    (arm,) = plan_arms(sweep(overrides=["seed=5"]), base)
    (zero,) = runs_of(arm, seed=0, out=Path("out"))
    (two,) = runs_of(arm, seed=2, out=Path("out"))
    written = configs.load(RunConfig, base / "base.yaml", overrides=["seed=5", "max_minutes=null"])
    assert zero.config == written
    assert (zero.config.seed, two.config.seed) == (5, 5 + 2 * SEED_STEP)
    assert two.config.data.seed == zero.config.data.seed + 2 * SEED_STEP
    assert [run.folder for run in (zero, two)] == [
        Path("out/plain/seed-0"), Path("out/plain/seed-2"),
    ]  # fmt: skip


def test_a_world_that_repeats_still_repeats_under_another_seed() -> None:
    world = configs.WorldConfig(cycle=7, seed=1)
    moved = configs.reseeded(world, by=SEED_STEP, endless=False)
    assert moved == configs.WorldConfig(cycle=7, seed=1 + SEED_STEP)
    assert configs.reseeded(world, by=0) == configs.WorldConfig(seed=1)


def test_stages_follow_one_another_and_each_is_equal(base: Path) -> None:
    first = configs.load(RunConfig, base / "base.yaml")
    configs.save(first.model_copy(update={"max_steps": 100}), base / "second.yaml")
    plain, wide = plan_arms(sweep(stages=["second.yaml"], arms={"plain": [], "wide": [WIDE]}), base)
    assert [stage.steps for stage in plain.stages] == [400, 100]
    ratios = [b.steps / a.steps for a, b in zip(plain.stages, wide.stages, strict=True)]
    assert abs(ratios[0] - ratios[1]) < 0.02
    one, two = runs_of(wide, seed=0, out=Path("out"))
    assert (one.folder, two.folder) == (
        Path("out/wide/seed-0/stage-1"), Path("out/wide/seed-0/stage-2"),
    )  # fmt: skip
    assert isinstance(two.config.task, JointTask)
    assert two.config.task.init_from == "out/wide/seed-0/stage-1/model"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"arms": {"plain": [], "long": ["max_steps=500"]}}, "arm 'long' sets max_steps"),
        ({"arms": {"plain": [], "odd": ["task.modle.name=x"]}}, "task.modle"),
        ({"base": "other.yaml"}, "other.yaml"),
        ({"overrides": ["task={kind: vision}"]}, "a run of kind vision"),
    ],
)
def test_plans_that_cannot_be_are_refused(base: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_arms(sweep(**values), base)
    assert said in str(caught.value)


def test_a_run_of_another_kind_may_be_swept_at_equal_steps(base: Path) -> None:
    arms = plan_arms(sweep(overrides=["task={kind: vision}"], equal="steps"), base)
    assert [(stage.steps, stage.cost) for stage in arms[0].stages] == [(400, None)]
    assert arms[0].flops(processes=1) == 0


@pytest.mark.parametrize("key", ["autoencoder_from", "vision_from"])
def test_a_missing_encoder_is_named_with_the_config_that_makes_it(base: Path, key: str) -> None:
    missing = sweep(overrides=[f"task.{key}=runs/seeing/model"])
    with pytest.raises(CheckpointError) as caught:
        plan_arms(missing, base)
    assert f"task.{key} is runs/seeing/model" in str(caught.value)
    assert "mogao train" not in str(caught.value)
    maker = base / "seeing.yaml"
    maker.write_text("")
    with pytest.raises(CheckpointError) as caught:
        plan_arms(missing, base)
    assert f"mogao train {maker} --out runs/seeing makes it first" in str(caught.value)


def test_a_run_that_starts_from_a_model_needs_no_autoencoder(base: Path) -> None:
    second = configs.load(RunConfig, base / "base.yaml", overrides=["task.autoencoder_from=gone"])
    configs.save(second, base / "second.yaml")
    (arm,) = plan_arms(sweep(stages=["second.yaml"]), base)
    assert len(arm.stages) == 2
