"""A tiny joint run on a few squares, for tests."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
import torch
from PIL import Image

from mogao import config as configs
from mogao.config import AutoencoderConfig, RunConfig
from mogao.model.vae import Autoencoder
from mogao.training.joint import JointTraining

MODEL: dict[str, Any] = {
    "transformer": {
        "vocab_size": 320, "hidden": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
        "head_dim": 8, "ffn_hidden": 64, "latent_dim": 16, "vision_dim": 16,
    },
    "vision": {"hidden": 16, "num_layers": 1, "num_heads": 2, "ffn_hidden": 32},
    "autoencoder": {"block_channels": [16], "latent_channels": 4, "norm_groups": 4},
}  # fmt: skip


def picture(colour):
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(stream, "PNG")
    return {"base64": base64.b64encode(stream.getvalue()).decode()}


def records():
    for name in ("red", "green", "blue", "black", "white", "yellow"):
        yield [{"text": f"a {name} square"}, {"image": picture(name)}]
        yield [
            {"image": picture(name), "from": "user"},
            {"text": "Which colour?", "from": "user"},
            {"text": name},
        ]
        yield [
            {"text": "first white"}, {"image": picture("white")},
            {"text": f"then {name}"}, {"image": picture(name)},
        ]  # fmt: skip


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A data file and an untrained autoencoder in a folder."""
    folder = tmp_path_factory.mktemp("joint")
    lines = [json.dumps({"id": str(i), "segments": s}) for i, s in enumerate(records())]
    (folder / "data.jsonl").write_text("\n".join(lines))
    Autoencoder(AutoencoderConfig(**MODEL["autoencoder"])).save(folder / "vae")
    return folder


def make_config(setting, *, task=None, **values):
    data = {
        "task": {"kind": "joint", "model": MODEL, "autoencoder_from": str(setting)} | (task or {}),
        "data": {"kind": "records", "path": str(setting / "data.jsonl")},
        "optim": {"kind": "muon", "learning_rate": 1e-2, "warmup_steps": 2, "ema_decay": 0.9},
        "token_budget": 192, "max_steps": 6, "dtype": "float32", "compile": "off",
        "sample_minutes": 0, "log_every_steps": 1,
    }  # fmt: skip
    return configs.parse(RunConfig, data | values, where="test")


def make_task(config):
    return JointTraining(config, device=torch.device("cpu"), dtype=torch.float32)


def weights_of(task):
    return {name: p.detach().clone() for name, p in task.module.named_parameters()}
