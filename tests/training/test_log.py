"""What a run tells: table, TensorBoard, terminal."""

from __future__ import annotations

import csv
import sys
from collections import Counter

import pytest
import torch

from mogao.errors import MogaoError
from mogao.training.log import MetricTable, RunLog, StepResult, Window


def read(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_the_table_grows_columns_and_keeps_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    table = MetricTable(path, after_step=0)
    table.add(1, {"loss": 2.0})
    table.add(2, {"loss": 1.0, "flow": 0.5})
    assert read(path) == [
        {"step": "1", "loss": "2", "flow": ""},
        {"step": "2", "loss": "1", "flow": "0.5"},
    ]
    MetricTable(path, after_step=1).add(2, {"loss": 3.0})
    assert [row["loss"] for row in read(path)] == ["2", "3"]


def test_a_table_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MogaoError, match=r"cannot write .*metrics\.csv"):
        MetricTable(tmp_path / "file" / "metrics.csv", after_step=0)


def test_a_window_averages_accepted_steps_only():
    window = Window()
    for loss, accepted in ((1.0, True), (float("nan"), False), (3.0, True)):
        window.add(
            StepResult(
                loss=loss,
                norm=loss,
                accepted=accepted,
                metrics={"text": torch.tensor(loss)},
                counts=Counter(tokens=30, padding=10, samples=2),
                wait_seconds=0.5,
                seconds=2.0,
            )
        )
    row = window.row()
    assert (row["loss"], row["text"], row["gradient_norm"]) == (2.0, 2.0, 2.0)
    assert row["tokens_per_second"] == pytest.approx(15.0)
    assert row["samples_per_second"] == pytest.approx(1.0)
    assert (row["data_wait_share"], row["padding_share"]) == (0.25, 0.25)


def test_without_a_terminal_each_row_is_one_plain_line(tmp_path, capsys):
    with RunLog(tmp_path, first_step=0, max_steps=10) as log:
        log.write(5, {"loss": 0.123456, "words": 2.0, "gradient_norm": 1.0}, seconds_left=None)
        log.write(10, {"loss": 0.1}, seconds_left=0.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("step 5/10  loss 0.1235  words 2  left ")
    assert lines[-1] == "step 10/10  loss 0.1  left 0:00"
    assert list((tmp_path / "tensorboard").iterdir())


def test_without_tensorboard_there_is_one_notice_and_the_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path, first_step=0, max_steps=2) as log:
        log.write(1, {"loss": 1.0}, seconds_left=None)
        log.write(2, {"loss": 1.0}, seconds_left=None)
    assert capsys.readouterr().err.count("TensorBoard is not installed") == 1
    assert len(read(tmp_path / "metrics.csv")) == 2
    assert not (tmp_path / "tensorboard").exists()
