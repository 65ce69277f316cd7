"""Alignment of noisy tokens with the vision encoder, and documents shared out among ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mogao.config import VisionConfig
from mogao.errors import ConfigError
from mogao.flow import corrupt
from mogao.model.transformer import pack_inputs
from mogao.model.vision import VisionEncoder
from mogao.training import parallel
from mogao.training.loop import train_step
from mogao.training.state import RunState
from tests.training.joint import (
    MODEL,
    make_config,
    make_task,
    weights_of,
)


def aligned(setting, **alignment) -> dict[str, Any]:
    """A task that is aligned with a fixed vision encoder."""
    if not (setting / "vision").exists():
        shape = VisionConfig(num_positions=64, **MODEL["vision"])
        VisionEncoder(shape, seed=3).save(setting / "vision", dtype=torch.float32)
    settings = {"layer": 1, "hidden": 8} | alignment
    return {"freeze_vision": True, "vision_from": str(setting), "alignment": settings}


def test_alignment_needs_a_target_that_stays(setting):
    with pytest.raises(ConfigError, match="freeze_vision"):
        make_config(setting, task={"alignment": {}})
    with pytest.raises(ConfigError, match="needs a trained encoder"):
        make_config(setting, task={"freeze_vision": True})
    with pytest.raises(ConfigError, match=r"alignment\.layer is 3"):
        make_task(make_config(setting, task=aligned(setting, layer=3)))


def test_the_centre_stays_when_a_run_goes_on_with_other_data(setting):
    config = make_config(setting, task=aligned(setting))
    first, second = make_task(config), make_task(config)
    second.module.alignment.centre.add_(1.0)
    second.load_state_dict(first.state_dict(), same_data=False)
    assert torch.equal(second.module.alignment.centre, first.module.alignment.centre)


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_ranks_share_out_the_documents(setting, monkeypatch, num_ranks):
    config = make_config(setting, data={"kind": "world", "recipes": {"question": 1.0}})
    seen = []
    for rank in range(num_ranks):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(parallel, "num_ranks", lambda: num_ranks)
        task = make_task(config)
        source = task._feed._source
        seen.append([source.next().id for _ in range(12 // num_ranks)])
    numbers = sorted(int(name.rsplit("-", 1)[1]) for ids in seen for name in ids)
    assert numbers == list(range(12))


def test_noisy_pictures_come_in_the_order_of_their_latents(setting):
    task = make_task(make_config(setting, task=aligned(setting)))
    packed = task.next_batch().pack
    assert len(packed.noisy_pixels) == len(packed.noisy_lengths) > 1
    latents = torch.cat([task._encode(pixels[None])[0] for pixels in packed.noisy_pixels])
    torch.testing.assert_close(latents, packed.noisy_clean)
    features = task.module.features(packed.noisy_pixels)
    assert len(features) == len(packed.noisy_clean)


def test_the_alignment_loss_is_one_minus_the_cosine(setting):
    alignment = make_task(make_config(setting, task=aligned(setting))).module.alignment
    generator = torch.Generator().manual_seed(0)
    states, weights = torch.randn(5, 32, generator=generator), torch.arange(5.0)
    with torch.no_grad():
        projected = alignment.narrow(torch.nn.functional.silu(alignment.widen(states)))
        features = alignment.centre + 3 * projected
        assert abs(float(alignment.loss_sum(states, features, weights))) < 1e-5
        features[3] = alignment.centre - projected[3]
        assert float(alignment.loss_sum(states, features, weights)) == pytest.approx(2 * 3.0)


def test_the_tap_of_the_last_layer_is_what_velocities_are_read_from(setting):
    task = make_task(make_config(setting))
    with torch.no_grad():
        task.module.transformer.velocity_head.projection.weight.normal_()
    packed = task.next_batch().pack
    flow = corrupt(packed.noisy_clean, packed.noisy_lengths, task.task.flow,
                   generator=torch.Generator().manual_seed(0))  # fmt: skip
    features = task.module.features(packed.vit_pixels)
    transformer = task.module.transformer
    last = transformer(packed, flow, vit_features=features, tap=2)
    first = transformer(packed, flow, vit_features=features, tap=1)
    inputs = pack_inputs(packed, flow, vit_features=features)
    torch.testing.assert_close(transformer.velocity(last.tapped, inputs), last.velocity)
    assert not torch.allclose(first.tapped, last.tapped)
    assert torch.equal(first.velocity, last.velocity)
    assert transformer(packed, flow, vit_features=features).tapped is None


def test_alignment_joins_the_loss_and_stays_behind(setting, tmp_path):
    config = make_config(setting, task=aligned(setting), max_steps=60)
    state = RunState(make_task(config), config)
    before = weights_of(state.task)
    results = [train_step(state, config) for _ in range(60)]
    metrics = results[0].metrics
    expected = 0.25 * metrics["text"] + metrics["flow"] + 0.5 * metrics["alignment"]
    assert results[0].loss == pytest.approx(float(expected), rel=1e-5)
    first, last = (
        sum(float(r.metrics["alignment"]) for r in part) for part in (results[:5], results[-5:])
    )
    assert last < 0.8 * first
    after = weights_of(state.task)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"transformer", "alignment"}
    state.task.export(tmp_path / "model", {})
    files = list((tmp_path / "model").rglob("*.safetensors"))
    assert not any("alignment" in name for path in files for name in load_file(path))
