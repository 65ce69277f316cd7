"""The loop: exact resume, accumulation, guard, interruption, limits, frozen weights."""

from __future__ import annotations

import csv
import os
import signal
import threading

import pytest
import torch
from safetensors.torch import load_file

from mogao import config as configs
from mogao.errors import ConfigError, MogaoError
from mogao.training.checkpoint import latest_checkpoint, load_checkpoint
from mogao.training.loop import Timer, global_weights, train_step
from mogao.training.state import RunState


def weights_of(task):
    return {name: p.detach().clone() for name, p in task.module.named_parameters()}


def newest_state(folder):
    path = latest_checkpoint(folder / "checkpoints")
    assert path is not None
    return load_checkpoint(path)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_six_steps_equal_three_resumed_by_three(toy, tmp_path, kind):
    optim = {"kind": kind}
    whole, first, second = toy.task(), toy.task(), toy.task()
    toy.train(whole, toy.config(optim=optim), tmp_path / "whole")
    # The curve depends on max_steps, so the first half is the same run cut short.
    state = RunState(first, toy.config(optim=optim))
    for _ in range(3):
        train_step(state, toy.config(optim=optim))
    (tmp_path / "parts").mkdir()
    state.save(tmp_path / "parts/checkpoints")
    configs.save(toy.config(optim=optim), tmp_path / "parts/config.yaml")
    report = toy.train(second, toy.config(optim=optim), tmp_path / "parts", resume=True)

    assert report.step == 6
    assert_equal(weights_of(whole), weights_of(second))
    states = [newest_state(tmp_path / name) for name in ("whole", "parts")]
    (own,), (resumed,) = (state["ranks"] for state in states)
    assert torch.equal(own["generator"], resumed["generator"])
    assert torch.equal(own["task"]["data"], resumed["task"]["data"])
    assert_equal(states[0]["average"]["weights"], states[1]["average"]["weights"])
    for name, values in states[0]["optimiser"]["adamw"].items():
        assert_equal(values, states[1]["optimiser"]["adamw"][name])
    assert_equal(states[0]["optimiser"]["muon"], states[1]["optimiser"]["muon"])
    assert states[0]["guard"] == states[1]["guard"]


def test_resuming_a_finished_run_changes_nothing(toy, tmp_path):
    task, again = toy.task(), toy.task()
    toy.train(task, toy.config(), tmp_path)
    report = toy.train(again, toy.config(), tmp_path, resume=True)
    assert (report.step, report.stopped, report.exit_code) == (6, "steps", 0)
    assert_equal(weights_of(task), weights_of(again))


def test_accumulation_equals_one_big_batch(toy):
    small, big = toy.task(points=4), toy.task(points=12)
    small.noise = big.noise = 0.0
    draws = torch.randn(12, 4, generator=torch.Generator().manual_seed(7))
    parts = iter([(1, draws[:2]), (2, draws[2:9]), (3, draws[9:])])
    small.next_batch = lambda: next(parts)
    big.next_batch = lambda: (1, draws)
    for task, accumulation in ((small, 3), (big, 1)):
        config = toy.config(accumulation=accumulation)
        result = train_step(RunState(task, config), config)
        assert result.accepted
    for name, weight in weights_of(small).items():
        torch.testing.assert_close(weight, weights_of(big)[name], rtol=0, atol=1e-6)


def test_global_weights_add_up_by_name():
    parts = [{"text": 2.0}, {"text": 1.0, "flow": 64.0}]
    assert global_weights(parts) == {"flow": 64.0, "text": 3.0}


def test_the_toy_learns(toy, tmp_path):
    config = toy.config(max_steps=200, log_every_steps=20, optim={"kind": "muon"})
    toy.train(toy.task(points=64), config, tmp_path)
    with (tmp_path / "metrics.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e4])
def test_the_guard_skips_a_bad_step_and_counts_it(toy, factor):
    task, config = toy.task(), toy.config(max_steps=40)
    state = RunState(task, config)
    for _ in range(25):
        assert train_step(state, config).accepted
    before = weights_of(task)
    task.broken = {26: factor}
    assert not train_step(state, config).accepted
    assert_equal(before, weights_of(task))
    assert train_step(state, config).accepted
    assert state.guard.num_refused == 1


def test_bad_steps_in_a_row_stop_the_run(toy, tmp_path):
    task = toy.task()
    task.broken = {number: float("nan") for number in range(2, 30)}
    config = toy.config(max_steps=40, max_bad_steps=5)
    with pytest.raises(MogaoError, match=r"5 steps in a row .* loss is nan.*--resume"):
        toy.train(task, config, tmp_path)
    assert all(bool(torch.isfinite(p).all()) for p in task.module.parameters())


def test_a_step_without_loss_tokens_is_skipped(toy):
    task, config = toy.task(weight=0.0), toy.config()
    result = train_step(RunState(task, config), config)
    assert not result.accepted


def test_frozen_weights_stay_bit_stable(toy, tmp_path):
    task = toy.task()
    task.module[0].requires_grad_(False)
    before = weights_of(task)
    toy.train(task, toy.config(optim={"kind": "muon", "weight_decay": 0.1}), tmp_path)
    after = weights_of(task)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert torch.equal(before["0.bias"], after["0.bias"])
    assert not torch.equal(before["2.weight"], after["2.weight"])
    exported = load_file(tmp_path / "model/model.safetensors")
    assert torch.equal(exported["0.weight"], before["0.weight"])


def test_ctrl_c_finishes_the_step_and_leaves_a_resumable_folder(toy, tmp_path):
    task = toy.task()
    draw = task.next_batch

    def interrupted_draw():
        if task.drawn == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return draw()

    task.next_batch = interrupted_draw
    handler = signal.getsignal(signal.SIGINT)
    report = toy.train(task, toy.config(), tmp_path)
    assert (report.stopped, report.exit_code, report.step) == ("interrupt", 130, 3)
    assert signal.getsignal(signal.SIGINT) is handler

    whole, second = toy.task(), toy.task()
    toy.train(whole, toy.config(), tmp_path / "whole")
    assert toy.train(second, toy.config(), tmp_path, resume=True).step == 6
    assert_equal(weights_of(whole), weights_of(second))


def test_training_works_outside_the_main_thread(toy, tmp_path):
    reports = []
    worker = threading.Thread(
        target=lambda: reports.append(toy.train(toy.task(), toy.config(), tmp_path))
    )
    worker.start()
    worker.join()
    assert reports[0].step == 6


def test_the_time_limit_stops_with_a_checkpoint(toy, tmp_path):
    report = toy.train(toy.task(), toy.config(max_minutes=1e-9), tmp_path)
    assert (report.stopped, report.exit_code) == ("time", 0)
    assert report.checkpoint.is_dir()


def test_a_folder_with_a_run_needs_resume(toy, tmp_path):
    toy.train(toy.task(), toy.config(), tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        toy.train(toy.task(), toy.config(), tmp_path)


def test_a_changed_model_is_refused(toy, tmp_path):
    toy.train(toy.task(), toy.config(), tmp_path)
    task = {"kind": "joint", "model": {"transformer": {"num_layers": 7}}}
    with pytest.raises(ConfigError, match=r"task\.model\.transformer\.num_layers"):
        toy.train(toy.task(), toy.config(task=task), tmp_path, resume=True)
    with pytest.raises(ConfigError, match=r"optim\.kind"):
        toy.train(toy.task(), toy.config(optim={"kind": "muon"}), tmp_path, resume=True)


def test_another_encoder_is_refused(toy, tmp_path):
    first, second = ({"kind": "autoencoder", "decoder_of": name} for name in ("one", "other"))
    toy.train(toy.task(), toy.config(task=first), tmp_path)
    with pytest.raises(ConfigError, match=r"task\.decoder_of"):
        toy.train(toy.task(), toy.config(task=second), tmp_path, resume=True)


def test_changed_data_starts_anew_and_is_said(toy, tmp_path, capsys):
    toy.train(toy.task(), toy.config(), tmp_path)
    task = toy.task()
    data = {"kind": "world", "seed": 1}
    toy.train(task, toy.config(max_steps=7, data=data), tmp_path, resume=True)
    assert task.drawn == 1
    error = capsys.readouterr().err
    assert "changed since the last checkpoint: data.seed" in error
    assert "max_steps" in error
    assert "seed: 1" in (tmp_path / "config.yaml").read_text()


def test_samples_use_averaged_weights_and_do_not_disturb_training(toy, tmp_path):
    plain, sampled = toy.task(), toy.task()
    toy.train(plain, toy.config(), tmp_path / "plain")
    toy.train(sampled, toy.config(sample_minutes=1e-9), tmp_path / "sampled")
    assert_equal(weights_of(plain), weights_of(sampled))
    assert len(list((tmp_path / "sampled/samples").iterdir())) == 6
    average = newest_state(tmp_path / "sampled")["average"]
    exported = load_file(tmp_path / "sampled/model/model.safetensors")
    assert_equal(exported, average["weights"])


def test_the_table_drops_rows_behind_the_checkpoint(toy, tmp_path):
    toy.train(toy.task(), toy.config(max_steps=4), tmp_path)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("6" + ",0" * 10 + "\n")
    toy.train(toy.task(), toy.config(max_steps=8), tmp_path, resume=True)
    with (tmp_path / "metrics.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["2", "4", "6", "8"]


def test_a_timer_of_zero_never_rings():
    assert not Timer(0.0).rings()
    assert Timer(1e-12).rings()
