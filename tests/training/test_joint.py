"""Joint training at tiny size: it learns, resumes exactly, adds up, and leaves what is frozen."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest
import torch

from mogao.config import Drop, DropoutConfig
from mogao.errors import ConfigError
from mogao.model.hardware import compiler_available
from mogao.model.vae import Autoencoder
from mogao.pipeline import Mogao, load_tokenizer
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from mogao.tokenizer import Tokenizer
from mogao.training.checkpoint import load_checkpoint
from mogao.training.joint import draw_drop, should_compile
from mogao.training.latents import ENCODE_BATCH, LatentCache
from mogao.training.loop import global_weights, train, train_step
from mogao.training.samples import choose_requests, draw_sheet
from mogao.training.state import RunState
from tests.training.conftest import run_and_resume
from tests.training.joint import (
    MODEL,
    make_config,
    make_task,
    weights_of,
)


def test_both_losses_fall(setting):
    config = make_config(setting, max_steps=60)
    state = RunState(make_task(config), config)
    results = [train_step(state, config) for _ in range(60)]
    early, late = results[:5], results[-5:]
    for name in ("text", "flow"):
        first = sum(float(r.metrics[name]) for r in early)
        last = sum(float(r.metrics[name]) for r in late)
        assert last < (0.5 if name == "text" else 0.9) * first


def test_a_resumed_task_continues_bit_for_bit(setting, tmp_path):
    config = make_config(setting)
    whole, second = run_and_resume(lambda: make_task(config), config, tmp_path)
    assert whole.task.state_dict() == second.task.state_dict()
    assert torch.equal(whole.generator.get_state(), second.generator.get_state())


@pytest.mark.parametrize("same_data", [True, False])
def test_a_resumed_task_keeps_the_tokenizer_of_its_weights(setting, same_data):
    task = make_task(make_config(setting))
    bytes_only = Tokenizer.train([], vocab_size=264)
    assert task.parts.tokenizer.vocab_size > bytes_only.vocab_size
    state = task.state_dict() | {"tokenizer": bytes_only.to_json()}
    task.load_state_dict(state, same_data=same_data)
    assert task.state_dict()["tokenizer"] == bytes_only.to_json()
    assert int(task.next_batch().pack.text_ids.max()) < bytes_only.vocab_size


def test_a_pack_is_divided_by_the_weights_of_the_whole_step(setting):
    task = make_task(make_config(setting))
    batches = [task.next_batch() for _ in range(2)]
    own = task.weights(batches[0])
    total = global_weights([task.weights(batch) for batch in batches])
    with torch.no_grad():
        results = [
            task.losses(batches[0], normalisers, torch.Generator().manual_seed(0))
            for normalisers in (own, total)
        ]
    (alone, parts), (joined, shares) = results
    for name in ("text", "flow"):
        share = own[name] / total[name]
        assert float(shares[name]) == pytest.approx(float(parts[name]) * share, rel=1e-5)
    expected = 0.25 * shares["text"] + shares["flow"]
    assert float(joined) == pytest.approx(float(expected), rel=1e-5)
    assert float(joined) < float(alone)


def test_every_trainable_weight_moves_and_the_autoencoder_does_not(setting):
    config = make_config(setting)
    task = make_task(config)
    state = RunState(task, config)
    before, vae = weights_of(task), task.parts.autoencoder.state_dict()
    vae = {name: value.clone() for name, value in vae.items()}
    for _ in range(5):
        train_step(state, config)
    still = [name for name, value in weights_of(task).items() if torch.equal(value, before[name])]
    assert still == []
    after = task.parts.autoencoder.state_dict()
    assert all(torch.equal(after[name], vae[name]) for name in vae)


def test_muon_gets_fused_projections_by_their_parts(setting):
    matrices = make_task(make_config(setting)).matrices()
    assert matrices["transformer.blocks.0.visual.qkv.weight"] == (32, 16, 16)
    assert not any("embedding" in name or "norm" in name for name in matrices)


def test_a_joint_run_needs_a_place_to_start(setting):
    config = make_config(setting, task={"autoencoder_from": None})
    with pytest.raises(ConfigError, match=r"task\.init_from or task\.autoencoder_from"):
        make_task(config)


def test_an_autoencoder_that_does_not_fit_is_refused(setting):
    model = {**MODEL, "transformer": {**MODEL["transformer"], "latent_dim": 64},
             "autoencoder": {}}  # fmt: skip
    config = make_config(setting, task={"model": model})
    with pytest.raises(ConfigError, match="latent_channels"):
        make_task(config)


def test_dropout_follows_its_rates_and_spares_answers():
    pixels = np.zeros((16, 16, 3), np.uint8)
    drawing = InterleavedSequence((TextSegment("x"), ImageSegment(pixels)))
    answer = InterleavedSequence((ImageSegment(pixels, role="user"), TextSegment("x")))
    config = DropoutConfig(branches={"pictures": 0.2, "none": 0.3}, vit=0.5, clean=0.0)
    rng = np.random.default_rng(0)
    drops = [draw_drop(config, drawing, rng=rng) for _ in range(4000)]
    share = {drop: drops.count(drop) / len(drops) for drop in set(drops)}
    assert share == pytest.approx(
        {
            Drop(text=True): 0.2,
            Drop(text=True, images=True): 0.3,
            Drop(vit=True): 0.25,
            Drop(): 0.25,
        },
        abs=0.03,
    )
    assert {draw_drop(config, answer, rng=rng) for _ in range(100)} == {Drop()}


def make_images(count):
    rng = np.random.default_rng(0)
    shape = (32, 32, 3)
    return [ImageSegment(rng.integers(0, 256, shape, np.uint8)) for _ in range(count)]


def test_latents_do_not_depend_on_their_company(setting):
    autoencoder = Autoencoder.load(setting / "vae")

    def encode(pixels):
        with torch.no_grad():
            return autoencoder.encode(pixels.float() / 127.5 - 1).flatten(2).mT

    images = make_images(ENCODE_BATCH + 3)
    together = LatentCache(encode, max_bytes=0)(images)
    cache = LatentCache(encode, max_bytes=10**6)
    for index in (2, ENCODE_BATCH + 2, 0):
        assert torch.equal(cache([images[index]])[0], together[index])
    again = cache(images)
    assert all(torch.equal(a, b) for a, b in zip(again, together, strict=True))
    assert (cache.num_hits, cache.num_misses) == (3, len(images))


def test_the_cache_forgets_the_least_recently_used():
    def encode(pixels):
        return pixels.float().flatten(1)[:, None, :4].clone()

    first, second, third = make_images(3)
    cache = LatentCache(encode, max_bytes=2 * 16)
    cache([first, second])
    cache([first])
    cache([third])  # second goes
    cache([first, third])
    assert cache.num_misses == 3
    cache([second])
    assert cache.num_misses == 4


def test_a_run_ends_with_a_model_that_loads_and_trains_on(setting, tmp_path):
    report = train(make_config(setting, max_steps=2, sample_minutes=1.0), tmp_path / "first")
    exported = Mogao.from_pretrained(report.model, dtype="float32")
    average = load_checkpoint(report.checkpoint)["average"]["weights"]
    for name, weight in exported.parts.transformer.state_dict().items():
        stored = average[f"transformer.{name}"].to(torch.bfloat16).float()
        assert torch.equal(weight, stored), name
    assert len(list((tmp_path / "first/samples").glob("step-00000002.*"))) == 2

    task: dict[str, Any] = {"init_from": str(report.model), "autoencoder_from": None, "model": {}}
    further = train(make_config(setting, task=task, max_steps=2), tmp_path / "second")
    assert further.step == 2
    before = load_tokenizer(report.model).encode("a red square")
    assert load_tokenizer(further.model).encode("a red square") == before


def test_auto_compiles_long_runs_only(setting):
    device = torch.device("cpu")
    assert not should_compile(make_config(setting, compile="auto", max_steps=20), device)
    assert not should_compile(make_config(setting, compile="off", max_steps=10**6), device)
    long_run = make_config(setting, compile="auto", max_steps=10**6)
    assert should_compile(long_run, device) == compiler_available(device)


def test_requests_end_with_what_the_model_must_make(setting):
    config = make_config(setting)
    for request in choose_requests(config.data):
        assert request.segments[-1].has_loss
        assert len(request.segments) >= 2


def test_a_document_that_cannot_be_served_does_not_end_a_run(setting, tmp_path):
    generation = {"limits": {"max_context_tokens": 8}}
    config = make_config(setting, task={"generation": generation})
    task = make_task(config)
    task.module.eval()
    task.write_samples(tmp_path, 3, torch.Generator().manual_seed(0))
    assert "not tried: " in (tmp_path / "step-00000003.txt").read_text()


def test_sampling_defaults_of_the_config_go_into_the_model(setting, tmp_path):
    generation = {"image": {"shift": 3.0, "num_steps": 5}}
    task = make_task(make_config(setting, task={"generation": generation}))
    task.export(tmp_path / "model", {})
    assert Mogao.from_pretrained(tmp_path / "model").generation == task.generation
    assert (task.generation.image.shift, task.generation.image.num_steps) == (3.0, 5)


def test_a_sheet_shows_truth_above_drawn():
    red = np.full((16, 32, 3), (255, 0, 0), np.uint8)
    blue = np.full((16, 32, 3), (0, 0, 255), np.uint8)
    sheet = np.asarray(draw_sheet([(red, blue, "a"), (blue, red, "a long prompt " * 9)]))
    columns = [sheet[:, 20], sheet[:, 60]]
    assert (columns[0][8].tolist(), columns[0][30].tolist()) == ([255, 0, 0], [0, 0, 255])
    assert (columns[1][8].tolist(), columns[1][30].tolist()) == ([0, 0, 255], [255, 0, 0])


def test_metrics_name_both_losses(setting, tmp_path):
    from mogao.training.log import MetricTable, Window

    config = make_config(setting)
    state = RunState(make_task(config), config)
    window = Window()
    window.add(train_step(state, config))
    MetricTable(tmp_path / "metrics.csv", after_step=0).add(1, window.row())
    with (tmp_path / "metrics.csv").open() as stream:
        row = next(csv.DictReader(stream))
    assert float(row["loss"]) == pytest.approx(
        0.25 * float(row["text"]) + float(row["flow"]), rel=1e-3
    )
    assert 0 <= float(row["padding_share"]) < 1
