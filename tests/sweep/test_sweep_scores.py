"""The comparison and its table, from results made up by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mogao.config import SweepConfig
from mogao.errors import DataError
from mogao.evaluation.scores import Score
from mogao.sweep.cost import Cost
from mogao.sweep.plan import Arm, Stage
from mogao.sweep.report import unequal, write_report
from mogao.sweep.scores import (
    FACTS,
    Line,
    Result,
    Results,
    Spread,
    compare,
    read_results,
    shared_facts,
)

FACTS_OF_WORLD = {
    "protocol": "World-1", "seed": 4, "tools": {"world": "correlation"}, "dtype": "float32",
    "options": {"pixels": "64"}, "files": {},
}  # fmt: skip
GAPS = {("shared", "world", "colours"): (-0.15, 0.02)}


def score(value: float, *, ceiling: float | None = 1.0) -> Score:
    return Score(value, value - 0.1, value + 0.1, 50, ceiling)


def result(value: float, folder: str = "x", **facts: object) -> Result:
    found = {"colours": score(value), "pictures": Score(3.0, 2.5, 3.5, 20)}
    return Result(Path(folder), FACTS_OF_WORLD | facts, found)


def results() -> dict[str, dict[int, Results]]:
    """Two arms, seeds 3, 5 and 9."""
    plain, shared = (0.50, 0.56, 0.62), (0.44, 0.53, 0.53)
    return {
        arm: {
            seed: {"world": result(value, f"{arm}/seed-{seed}")}
            for seed, value in zip((3, 5, 9), values, strict=True)
        }
        for arm, values in (("plain", plain), ("shared", shared))
    }


def test_a_spread_is_mean_ends_and_standard_error() -> None:
    spread = Spread({1: 1.0, 2: 2.0, 3: 6.0})
    assert (spread.mean, spread.least, spread.most) == (3.0, 1.0, 6.0)
    # Squares 4 + 1 + 9 = 14, over 2 degrees of freedom and 3 seeds.
    assert spread.standard_error == pytest.approx((14 / 2 / 3) ** 0.5)
    assert (Spread({1: 1.0}).standard_error, Spread({1: 1.0}).interval) == (None, None)


@pytest.mark.parametrize(
    ("num_seeds", "quantile"), [(2, 12.7062), (3, 4.3027), (11, 2.2281), (16, 2.1314), (61, 2.0003)]
)
def test_the_interval_over_seeds_is_that_of_student(num_seeds: int, quantile: float) -> None:
    spread = Spread({seed: float(seed % 2) for seed in range(num_seeds)})
    assert spread.interval is not None
    assert spread.standard_error is not None
    low, high = spread.interval
    assert (low + high) / 2 == pytest.approx(spread.mean)
    assert high - spread.mean == pytest.approx(quantile * spread.standard_error, rel=5e-4)


def test_differences_are_paired_by_seed() -> None:
    lines = compare(results())
    assert [(line.score, line.arm) for line in lines] == [
        ("colours", "plain"), ("colours", "shared"), ("pictures", "plain"), ("pictures", "shared"),
    ]  # fmt: skip
    plain, shared = lines[:2]
    assert plain.value.mean == pytest.approx(0.56)
    assert plain.difference is None
    assert shared.value.mean == pytest.approx(0.50)
    assert shared.difference is not None
    assert shared.difference.by_seed == pytest.approx({3: -0.06, 5: -0.03, 9: -0.09})
    assert shared.difference.mean == pytest.approx(-0.06)
    # Deviations 0, 0.03 and 0.03: far less than the spread of either arm.
    assert shared.difference.standard_error == pytest.approx((0.0018 / 2 / 3) ** 0.5)
    assert shared.prompts == pytest.approx((0.40, 0.60))
    assert (shared.num_prompts, shared.ceiling) == (50, 1.0)
    assert lines[2].ceiling is None


def test_a_score_that_one_run_lacks_is_named() -> None:
    found = results()
    found["shared"][5] = {"world": Result(Path("x"), FACTS_OF_WORLD, {})}
    with pytest.raises(DataError, match=r"world/colours is missing in arm 'shared', seeds \[5\]"):
        compare(found)
    found["shared"][5] = {}
    with pytest.raises(DataError, match=r"world/colours is missing in arm 'shared', seeds \[5\]"):
        compare(found)


@pytest.mark.parametrize(("key", "value"), [("protocol", "World-2"), ("dtype", "bfloat16")])
def test_runs_that_were_not_scored_alike_are_refused(key: str, value: str) -> None:
    found = results()
    assert shared_facts(found) == {"world": FACTS_OF_WORLD}
    found["shared"][5] = {"world": result(0.5, "shared/seed-5", **{key: value})}
    with pytest.raises(DataError) as caught:
        shared_facts(found)
    for part in (repr(FACTS_OF_WORLD[key]), repr(value), "plain/seed-3", "shared/seed-5"):
        assert part in str(caught.value)


def test_scores_are_read_from_one_benchmark_and_from_a_collection(tmp_path: Path) -> None:
    one = FACTS_OF_WORLD | {"suite": "world", "scores": {"colours": score(0.5).to_json()}}
    two = {"suite": "pope", "scores": {"f1": score(0.25, ceiling=None).to_json()}}
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(one))
    expected = Result(tmp_path, FACTS_OF_WORLD, {"colours": score(0.5)})
    assert read_results(tmp_path) == {"world": expected}
    path.write_text(json.dumps({"suite": "all", "suites": [one, two]}))
    found = read_results(tmp_path)
    assert found["world"] == Result(tmp_path / "world", FACTS_OF_WORLD, {"colours": score(0.5)})
    assert found["pope"].scores == {"f1": score(0.25, ceiling=None)}
    assert found["pope"].facts == dict.fromkeys(FACTS)
    for text in ("{}", "[1]", "{"):
        path.write_text(text)
        with pytest.raises(DataError, match="no summary"):
            read_results(tmp_path)
    with pytest.raises(DataError, match="no summary"):
        read_results(tmp_path / "none")


SWEEP = SweepConfig(
    name="claims", base="x.yaml", arms={"plain": (), "shared": ("a.b=[1, 2]",)}, seeds=(3, 5, 9)
)


def spent(shared_flops: int) -> dict[str, dict[int, dict[str, float]]]:
    return {
        name: {
            seed: {"steps": steps, "samples": 1, "tokens": 1000, "flops": flops, "seconds": 120.0}
            for seed in SWEEP.seeds
        }
        for name, steps, flops in (("plain", 100, 10**8), ("shared", 80, shared_flops))
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The files of the sweep above."""
    arms = [
        Arm(name, overrides, (Stage(Path("x.yaml"), steps, Cost(10.0, 1e6)),))
        for (name, overrides), steps in zip(SWEEP.arms.items(), (100, 80), strict=True)
    ]
    write_report(
        SWEEP,
        arms,
        tmp_path,
        spent=spent(99 * 10**6),
        suites=shared_facts(results()),
        lines=compare(results(), GAPS),
    )
    return tmp_path


def test_arms_that_did_not_spend_alike_are_warned_of() -> None:
    assert unequal(SWEEP, spent(99 * 10**6)) == []
    warnings = unequal(SWEEP, spent(97 * 10**6))
    assert len(warnings) == 3
    assert warnings[0].startswith("shared, seed 3, spent 0.970 of the flops of plain")
    assert unequal(SWEEP.model_copy(update={"equal": "tokens"}), spent(97 * 10**6)) == []
    assert unequal(SWEEP.model_copy(update={"equal": "steps"}), spent(97 * 10**6)) == []


def test_the_table_says_what_was_spent_and_what_came_of_it(written: Path) -> None:
    table = (written / "table.md").read_text()
    assert "| plain |  | 100 | 1000 | 1e+08 | 1.0000 | 2.0 |" in table
    assert "| shared | `a.b=[1, 2]` | 80 | 1000 | 9.9e+07 | 0.9900 | 2.0 |" in table
    values = "0.560 (0.500 to 0.620) | 0.500 (0.440 to 0.530)"
    # Over seeds: 4.3027 standard errors to each side.
    gap = "-0.060 +- 0.017 | -0.135 to +0.015 | -0.150 to +0.020"
    assert f"| colours | {values} | {gap} | 1.000 | 50 |" in table
    gap = "+0.000 +- 0.000 | +0.000 to +0.000 | "
    assert (
        f"| pictures | 3.000 (3.000 to 3.000) | 3.000 (3.000 to 3.000) | {gap} |  | 20 |" in table
    )
    heads = "shared - plain | over seeds | over prompts | ceiling | prompts"
    assert f"| score | plain | shared | {heads} |" in table
    scored = "Protocol World-1; evaluation seed 4; world judged by correlation; dtype float32"
    assert f"## world\n\n{scored}; pixels 64.\n" in table
    assert "Warning" not in table


def test_the_csv_has_a_row_for_each_score_of_each_arm(written: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((written / "table.csv").read_text())))
    assert [(row["score"], row["arm"]) for row in rows][:2] == [
        ("colours", "plain"), ("colours", "shared"),
    ]  # fmt: skip
    plain, shared = rows[:2]
    assert (plain["mean"], plain["difference"], plain["num_seeds"]) == ("0.56", "", "3")
    assert float(shared["difference"]) == pytest.approx(-0.06)
    assert float(shared["low"]) == pytest.approx(0.4)
    assert float(shared["difference_seeds_low"]) == pytest.approx(-0.1345, abs=1e-4)
    assert (shared["difference_prompts_low"], shared["difference_prompts_high"]) == (
        "-0.15",
        "0.02",
    )
    assert rows[3]["difference_prompts_low"] == ""
    assert rows[2]["ceiling"] == ""


def test_the_summary_holds_every_seed(written: Path) -> None:
    facts = json.loads((written / "summary.json").read_text())
    assert (facts["baseline"], facts["seeds"], facts["equal"]) == ("plain", [3, 5, 9], "flops")
    assert facts["arms"]["shared"]["steps"] == [80]
    assert facts["arms"]["shared"]["estimated_flops"] == 80e6
    assert facts["arms"]["plain"]["runs"]["9"]["flops"] == 10**8
    found = next(s for s in facts["scores"] if (s["score"], s["arm"]) == ("colours", "shared"))
    assert found["by_seed"] == {"3": 0.44, "5": 0.53, "9": 0.53}
    assert found["difference"]["by_seed"] == {"3": -0.06, "5": -0.03, "9": -0.09}
    assert found["difference"]["over_seeds"] == [-0.1345, 0.0145]
    assert found["difference"]["prompts"] == [-0.15, 0.02]
    assert facts["suites"] == {"world": FACTS_OF_WORLD}
    assert facts["warnings"] == []


def test_each_benchmark_has_a_plot_with_bars(written: Path) -> None:
    picture = (written / "plots" / "world.svg").read_text()
    assert picture.startswith("<svg ")
    assert picture.count("<circle") == 2 + 4 + 2  # arms, values, differences
    assert "0.560 (0.500 to 0.620)" in picture
    assert "-0.060 +- 0.017 (-0.150 to +0.020)" in picture
    # The interval over prompts ends where the axis does.
    assert 'd="M640.0 ' in picture
    assert "http" not in picture.replace('"http://www.w3.org/2000/svg"', "")


def test_a_line_of_one_seed_has_no_error_over_seeds_but_an_interval_over_prompts() -> None:
    one = {arm: {3: runs[3]} for arm, runs in results().items()}
    line = compare(one, GAPS)[1]
    assert isinstance(line, Line)
    assert line.to_json()["standard_error"] is None
    difference = line.to_json()["difference"]
    assert (difference["mean"], difference["over_seeds"]) == (-0.06, None)
    assert difference["prompts"] == [-0.15, 0.02]
