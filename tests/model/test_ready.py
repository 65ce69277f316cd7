"""What `runtime` asks for: compiled layers and 8-bit matrices compute what the model computes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mogao.config import RuntimeConfig
from mogao.errors import CheckpointError, ConfigError
from mogao.model import ready
from mogao.model.hardware import compiler_available
from mogao.model.ready import make_ready
from mogao.pipeline import Mogao
from tests.tiny import tiny_model

ROOT = Path(__file__).parents[2]

WIDE: dict[str, int] = {"hidden": 64, "ffn_hidden": 128}


@pytest.mark.skipif(not compiler_available(torch.device("cpu")), reason="no compiler")
def test_compiled_layers_compute_the_same_and_are_compiled_once() -> None:
    command = [sys.executable, "-m", "tests.compiled"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["texts_equal"]
    assert result["largest_difference"] <= 1
    assert result["compiled"] > 0
    assert result["compiled_later"] == 0  # other lengths need nothing new
    assert all(0 < error < 0.03 for error in result["errors_in_bfloat16"].values())
    assert result["error_of_bytes"] is None or result["error_of_bytes"] < 1e-5


def test_a_missing_compiler_is_named(monkeypatch) -> None:
    monkeypatch.setattr(ready, "compiler_available", lambda _: False)
    with pytest.raises(ConfigError, match="no compiler"):
        make_ready(tiny_model().parts.transformer, RuntimeConfig(compile="default"))


def logits_of(model: Mogao) -> torch.Tensor:
    session = model.session()
    session.extend("what is in the picture?", role="user")
    session.generate_text(max_tokens=1)
    (context,) = session.state.contexts.values()
    assert context.logits is not None
    return context.logits


def test_matrices_of_8_bits_are_close_and_are_never_saved(tmp_path) -> None:
    pytest.importorskip("torchao")
    plain, small = tiny_model(**WIDE), tiny_model(**WIDE)
    transformer = small.parts.transformer
    make_ready(transformer, RuntimeConfig(weights="int8"))
    assert type(transformer.layers[0].text.qkv.weight).__name__ == "Int8Tensor"
    expected, got = logits_of(plain), logits_of(small)
    error = float((got - expected).abs().max() / expected.abs().max())
    assert 0 < error < 0.05
    with pytest.raises(CheckpointError, match="8 bits"):
        small.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
