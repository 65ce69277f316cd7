"""The plan of a run, without training it."""

from __future__ import annotations

import json

import pytest
import torch

from mogao.config import (
    AlignmentConfig,
    AutoencoderTask,
    JointTask,
    ModelConfig,
    RunConfig,
    VisionTask,
)
from mogao.errors import ConfigError
from mogao.model.count import TRANSFORMER_PARTS, build_on_meta, count_parameters
from mogao.model.hardware import pick_dtype
from mogao.model.transformer import MogaoTransformer
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder
from mogao.plan.dry_run import dry_run
from mogao.training.alignment import Alignment
from mogao.training.vision import WordReader


def test_counts_are_those_of_the_real_network():
    model = ModelConfig()
    counts = count_parameters(*build_on_meta(model))
    real = sum(p.numel() for p in MogaoTransformer(model.transformer).parameters())
    assert sum(counts[part] for part in TRANSFORMER_PARTS) == real


def test_a_joint_plan_names_tokens_and_memory():
    plan = dry_run(RunConfig(token_budget=4096, accumulation=2))
    assert plan["tokens_per_step"] == 8192
    assert plan["memory_bytes"] > 4 * sum(plan["parameters"].values())
    assert json.loads(json.dumps(plan)) == plan


def test_an_autoencoder_plan_trains_the_autoencoder_only():
    plan = dry_run(RunConfig(task=AutoencoderTask(batch_images=16)))
    assert plan["images_per_step"] == 16
    assert plan["trained_parameters"] == plan["parameters"]["vae"]


def test_a_decoder_plan_trains_the_decoder_only(tmp_path):
    autoencoder = Autoencoder(AutoencoderTask().model.autoencoder)
    autoencoder.save(tmp_path / "vae")
    plan = dry_run(RunConfig(task=AutoencoderTask(decoder_of=str(tmp_path))))
    decoder = sum(p.numel() for p in autoencoder.kl.decoder.parameters())
    assert plan["trained_parameters"] == decoder < plan["parameters"]["vae"]


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ConfigError, match="float16"):
        pick_dtype("float16", torch.device("cpu"))


def test_auto_is_a_supported_type():
    assert pick_dtype("auto", torch.device("cpu")) in (torch.bfloat16, torch.float32)
    assert pick_dtype("float32", torch.device("cpu")) is torch.float32


def test_a_vision_run_moves_the_encoder_and_its_head() -> None:
    plan = dry_run(RunConfig(task=VisionTask(batch_images=16), accumulation=2))
    model = ModelConfig()
    reader = WordReader(VisionEncoder(model.vision), model.transformer.vocab_size)
    assert plan["trained_parameters"] == sum(p.numel() for p in reader.parameters())
    assert plan["images_per_step"] == 32
    assert not plan["compile"]


def test_a_frozen_vision_encoder_is_not_trained_and_the_projection_is() -> None:
    plain = dry_run(RunConfig())["trained_parameters"]
    frozen = dry_run(RunConfig(task=JointTask(freeze_vision=True, vision_from="x")))
    vision = frozen["parameters"]["vision"]
    assert frozen["trained_parameters"] == plain - vision
    alignment = AlignmentConfig(hidden=10)
    task = JointTask(freeze_vision=True, vision_from="x", alignment=alignment)
    centre = torch.zeros(task.model.vision.hidden)
    projection = Alignment(alignment, task.model, centre=centre)
    got = dry_run(RunConfig(task=task))["trained_parameters"]
    extra = sum(p.numel() for p in projection.parameters())
    assert got == frozen["trained_parameters"] + extra
