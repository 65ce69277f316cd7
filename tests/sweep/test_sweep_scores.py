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
from mogao.sweep.report import write_report
from mogao.sweep.scores import Line, Scores, Spread, compare, read_scores

NAME = ("world", "colours")
OTHER = ("world", "pictures")


def score(value: float, *, ceiling: float | None = 1.0) -> Score:
    return Score(value, value - 0.1, value + 0.1, 50, ceiling)


def results() -> dict[str, dict[int, Scores]]:
    """Two arms, seeds 3, 5 and 9."""
    plain, shared = (0.50, 0.56, 0.62), (0.44, 0.53, 0.53)
    return {
        arm: {
            seed: {NAME: score(value), OTHER: Score(3.0, 2.5, 3.5, 20)}
            for seed, value in zip((3, 5, 9), values, strict=True)
        }
        for arm, values in (("plain", plain), ("shared", shared))
    }


def test_a_spread_is_mean_ends_and_standard_error() -> None:
    spread = Spread({1: 1.0, 2: 2.0, 3: 6.0})
    assert (spread.mean, spread.least, spread.most) == (3.0, 1.0, 6.0)
    # Squares 4 + 1 + 9 = 14, over 2 degrees of freedom and 3 seeds.
    assert spread.standard_error == pytest.approx((14 / 2 / 3) ** 0.5)
    assert Spread({1: 1.0}).standard_error is None


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
    del found["shared"][5][NAME]
    with pytest.raises(DataError, match=r"world/colours is missing in arm 'shared', seeds \[5\]"):
        compare(found)


def test_scores_are_read_from_one_benchmark_and_from_a_collection(tmp_path: Path) -> None:
    one = {"suite": "world", "scores": {"colours": score(0.5).to_json()}}
    two = {"suite": "pope", "scores": {"f1": score(0.25, ceiling=None).to_json()}}
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(one))
    assert read_scores(path) == {NAME: score(0.5)}
    path.write_text(json.dumps({"suite": "all", "suites": [one, two]}))
    assert read_scores(path) == {NAME: score(0.5), ("pope", "f1"): score(0.25, ceiling=None)}
    for text in ("{}", "[1]", "{"):
        path.write_text(text)
        with pytest.raises(DataError, match="no summary"):
            read_scores(path)
    with pytest.raises(DataError, match="no summary"):
        read_scores(tmp_path / "none.json")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The files of the sweep above."""
    sweep = SweepConfig(
        name="claims", base="x.yaml", arms={"plain": (), "shared": ("a.b=[1, 2]",)}, seeds=(3, 5, 9)
    )
    arms = [
        Arm(name, overrides, (Stage(Path("x.yaml"), steps, Cost(10.0, 1e6)),))
        for (name, overrides), steps in zip(sweep.arms.items(), (100, 80), strict=True)
    ]
    spent = {
        name: {
            seed: {"steps": steps, "samples": 1, "tokens": 1000, "flops": flops, "seconds": 120.0}
            for seed in sweep.seeds
        }
        for name, steps, flops in (("plain", 100, 10**8), ("shared", 80, 99 * 10**6))
    }
    write_report(sweep, arms, tmp_path, spent=spent, lines=compare(results()))
    return tmp_path


def test_the_table_says_what_was_spent_and_what_came_of_it(written: Path) -> None:
    table = (written / "table.md").read_text()
    assert "| plain |  | 100 | 1000 | 1e+08 | 1.0000 | 2.0 |" in table
    assert "| shared | `a.b=[1, 2]` | 80 | 1000 | 9.9e+07 | 0.9900 | 2.0 |" in table
    values = "0.560 (0.500 to 0.620) | 0.500 (0.440 to 0.530)"
    assert f"| colours | {values} | -0.060 +- 0.017 | 1.000 | 50 |" in table
    assert "| score | plain | shared | shared - plain | ceiling | prompts |" in table
    assert table.count("## world") == 1


def test_the_csv_has_a_row_for_each_score_of_each_arm(written: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((written / "table.csv").read_text())))
    assert [(row["score"], row["arm"]) for row in rows][:2] == [
        ("colours", "plain"), ("colours", "shared"),
    ]  # fmt: skip
    plain, shared = rows[:2]
    assert (plain["mean"], plain["difference"], plain["num_seeds"]) == ("0.56", "", "3")
    assert float(shared["difference"]) == pytest.approx(-0.06)
    assert float(shared["low"]) == pytest.approx(0.4)
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


def test_each_benchmark_has_a_plot_with_bars(written: Path) -> None:
    picture = (written / "plots" / "world.svg").read_text()
    assert picture.startswith("<svg ")
    assert picture.count("<circle") == 2 + 4 + 2  # arms, values, differences
    assert "0.560 (0.500 to 0.620)" in picture
    assert "-0.060 +- 0.017" in picture
    assert "http" not in picture.replace('"http://www.w3.org/2000/svg"', "")


def test_a_line_of_one_seed_has_no_standard_error() -> None:
    one = {arm: {3: runs[3]} for arm, runs in results().items()}
    line = compare(one)[1]
    assert isinstance(line, Line)
    assert line.to_json()["standard_error"] is None
    assert line.to_json()["difference"]["mean"] == -0.06
