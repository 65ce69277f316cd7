"""Configs as values: what wrong keys, types, kinds and numbers are answered with."""

from __future__ import annotations

from typing import Any

import pytest

from mogao.config import (
    AutoencoderTask,
    Config,
    FlowConfig,
    ImageSamplingConfig,
    JointTask,
    MixtureConfig,
    ModelConfig,
    RunConfig,
    TextSamplingConfig,
    TransformerConfig,
    VisibilityConfig,
    VisionTask,
    WorldConfig,
    parse,
)
from mogao.errors import ConfigError


def refusal(cls: type[Config], data: Any) -> str:
    """The message with which a config refuses some data."""
    with pytest.raises(ConfigError) as caught:
        parse(cls, data, where="run.yaml")
    message = str(caught.value)
    assert message.startswith("run.yaml: ")
    return message.removeprefix("run.yaml: ")


@pytest.mark.parametrize(
    ("data", "path", "near"),
    [
        ({"tokn_budget": 8}, "tokn_budget", "token_budget"),
        ({"optim": {"learning_rat": 1}}, "optim.learning_rat", "learning_rate"),
        ({"task": {"kind": "joint", "los": {}}}, "task.los", "loss"),
        ({"task": {"kind": "vision", "batch_image": 3}}, "task.batch_image", "batch_images"),
        ({"data": {"kind": "records", "path": "x", "shufle": True}}, "data.shufle", "shuffle"),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest(
    data: dict[str, Any], path: str, near: str
) -> None:
    assert refusal(RunConfig, data) == f"unknown key {path!r} (did you mean {near!r}?)"


@pytest.mark.parametrize(
    "data",
    [{"max_steps": True}, {"max_minutes": False}, {"optim": {"learning_rate": True}}],
)
def test_a_boolean_is_no_number(data: dict[str, Any]) -> None:
    assert "takes numbers, neither true nor false" in refusal(RunConfig, data)


def test_a_known_key_in_a_wrong_place_is_told_its_place() -> None:
    assert refusal(RunConfig, {"head_dim": 8}) == (
        "unknown key 'head_dim' (it belongs at 'task.model.transformer.head_dim')"
    )


def test_an_unknown_key_that_is_near_to_none_gets_them_all() -> None:
    assert refusal(FlowConfig, {"zzzzz": 1}) == "unknown key 'zzzzz' (known: mean, shift, std)"


@pytest.mark.parametrize(
    ("data", "path", "got"),
    [
        ({"seed": "x"}, "seed", "'x'"),
        ({"max_steps": 1.5}, "max_steps", "1.5"),
        ({"optim": 3}, "optim", "3"),
        ({"optim": {"learning_rate": "fast"}}, "optim.learning_rate", "'fast'"),
        ({"optim": {"betas": [0.9, "x"]}}, "optim.betas.1", "'x'"),
        ({"task": {"kind": "joint", "loss": {"text_weight": "x"}}}, "task.loss.text_weight", "'x'"),
        ({"data": {"kind": "world", "seed": "x"}}, "data.seed", "'x'"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_path(
    data: dict[str, Any], path: str, got: str
) -> None:
    message = refusal(RunConfig, data)
    assert message.startswith(f"{path}: Input should be a valid ")
    assert message.endswith(f"(got {got})")


def test_every_mistake_is_named_at_once() -> None:
    message = refusal(RunConfig, {"sed": 1, "max_steps": 0, "optim": {"kind": "adam"}})
    assert "unknown key 'sed'" in message
    assert "max_steps: Input should be greater than or equal to 1 (got 0)" in message
    assert "optim.kind: Input should be 'adamw' or 'muon' (got 'adam')" in message


@pytest.mark.parametrize(
    ("kind", "cls"),
    [("joint", JointTask), ("autoencoder", AutoencoderTask), ("vision", VisionTask)],
)
def test_the_kind_chooses_the_variant(kind: str, cls: type[Config]) -> None:
    task = parse(RunConfig, {"task": {"kind": kind}}, where="x").task
    assert type(task) is cls
    assert task.kind == kind


def test_a_variant_takes_the_keys_of_no_other() -> None:
    assert "unknown key" in refusal(RunConfig, {"task": {"kind": "vision", "reuse": 3}})
    assert "unknown key" in refusal(
        TransformerConfig, {"positions": {"kind": "one_d", "text_axes": "same"}}
    )


@pytest.mark.parametrize("wrong", [{"kind": "jont"}, {}])
def test_a_missing_or_unknown_kind_names_the_place_and_what_was_got(wrong: dict[str, str]) -> None:
    message = refusal(RunConfig, {"task": wrong})
    assert message.startswith("task: ")
    assert "'kind'" in message
    assert message.endswith(f"(got {wrong})")


def test_a_mixture_names_mistakes_of_the_chosen_variant_alone() -> None:
    sources = [{"kind": "world"}, {"kind": "world", "sed": 1}]
    message = refusal(MixtureConfig, {"sources": sources, "weights": [1, 1]})
    assert message == "unknown key 'sources.1.sed' (did you mean 'seed'?)"


@pytest.mark.parametrize(
    ("cls", "key", "good", "bad"),
    [
        (RunConfig, "token_budget", [1, 10**9], [0, -1]),
        (RunConfig, "max_minutes", [None, 0.1], [0, -1]),
        (RunConfig, "spike_factor", [1.01], [1, 0]),
        (FlowConfig, "std", [0.1], [0, -1]),
        (FlowConfig, "shift", [0.1, 9], [0, -1]),
        (TransformerConfig, "head_dim", [8, 64], [4, 12]),
        (TransformerConfig, "num_kv_heads", [1, 2, 3, 6], [0, 4]),
        (TextSamplingConfig, "temperature", [0, 2], [-0.1]),
        (TextSamplingConfig, "top_p", [0.1, 1], [0, 1.1]),
        (TextSamplingConfig, "min_p", [0, 0.9], [-0.1, 1]),
        (ImageSamplingConfig, "num_steps", [1, 1000], [0, 1001]),
        (ImageSamplingConfig, "schedule", [(1, 0), (1, 0.5, 0)], [(1,), (0.9, 0), (1, 1, 0)]),
        (ImageSamplingConfig, "guidance_interval", [(0, 1)], [(0.5, 0.5), (0, 2)]),
    ],
)
def test_bounds_hold(cls: type[Config], key: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(parse(cls, {key: value}, where="x"), key) == value
    for value in bad:
        assert refusal(cls, {key: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_families_are_finite(value: float) -> None:
    assert "families.colors" in refusal(WorldConfig, {"families": {"colors": value}})


@pytest.mark.parametrize(
    ("cls", "key"),
    [
        (FlowConfig, "mean"),
        (FlowConfig, "shift"),
        (ImageSamplingConfig, "shift"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_flow_time_is_never_made_of_numbers_that_are_not_finite(
    cls: type[Config], key: str, value: float
) -> None:
    # Either makes NaN of times, and so of every latent.
    assert key in refusal(cls, {key: value})


@pytest.mark.parametrize(
    ("cls", "data", "said"),
    [
        (ModelConfig, {"latent_patch": 4}, "latent_channels x latent_patch^2 = 256"),
        (ModelConfig, {"vision": {"hidden": 96}}, "vision_dim must equal vision.hidden"),
        (ModelConfig, {"vision": {"patch_pixels": 8}}, "vision.patch_pixels must equal"),
        (VisibilityConfig, {"own": {"text": ["text"]}}, "own needs a row for each of"),
        (JointTask, {"freeze_vision": True}, "freeze_vision needs a trained encoder"),
        (JointTask, {"alignment": {}}, "alignment needs freeze_vision"),
        (MixtureConfig, {"sources": [{"kind": "world"}], "weights": [1, 2]}, "the same length"),
        (ImageSamplingConfig, {"guidance": "table"}, "branches and guidance: table come together"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(
    cls: type[Config], data: dict[str, Any], said: str
) -> None:
    assert said in refusal(cls, data)


@pytest.mark.parametrize("order", [("vit", "clean"), ("vit", "clean", "clean"), ("vit", "text")])
def test_a_part_order_names_every_copy_once(order: tuple[str, ...]) -> None:
    message = refusal(TransformerConfig, {"layout": {"part_order": order}})
    assert message.startswith("layout: ")
    assert "part_order must name vit, clean and noisy once each" in message


def test_a_config_does_not_change() -> None:
    config: Any = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
