"""A sweep file: what it may say, and what is said of one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mogao.config import EvaluationConfig, SweepConfig, parse
from mogao.errors import ConfigError

SWEEP: dict[str, Any] = {"base": "base.yaml", "arms": {"plain": [], "wide": ["seed=3"]}}


def test_the_first_arm_is_the_baseline_and_most_has_a_default() -> None:
    sweep = parse(SweepConfig, SWEEP, where="test")
    assert sweep.baseline == "plain"
    assert list(sweep.arms) == ["plain", "wide"]
    assert (sweep.equal, sweep.seeds, sweep.processes) == ("flops", (0,), 1)
    assert sweep.evaluate == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": {}}, "arms"),
        ({"arms": {}}, "at least 1 item"),
        ({"arms": {"Plain": []}}, "small letters"),
        ({"arms": {"../up": []}}, "small letters"),
        ({"arms": {"a": ["x"], "b": "y=1"}}, "arms.b"),
        ({"seeds": []}, "at least 1 item"),
        ({"seeds": [1, 1]}, "seeds: [1, 1] names one twice"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"equal": "minutes"}, "equal"),
        ({"processes": 0}, "processes"),
        ({"evaluate": [{"suite": "nano"}, {"suite": "nano"}]}, "evaluate: ['nano', 'nano']"),
        ({"evaluate": [{"suit": "nano"}]}, "suite"),
        ({"evaluate": [{"suite": "nano", "num_per_group": 0}]}, "num_per_group"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SweepConfig, SWEEP | change, where="sweep.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("sweep.yaml: ")


def test_options_may_be_numbers() -> None:
    one = parse(EvaluationConfig, {"suite": "x", "options": {"pixels": 64, "a": "b"}}, where="x")
    assert one.options == {"pixels": 64, "a": "b"}
