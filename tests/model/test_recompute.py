"""Layers that are computed again for the backward pass learn the same."""

from __future__ import annotations

import pytest
import torch

from tests.packs import config, flow_of, forward, gradients, network, packed, relative, story
from tests.tolerances import FLOAT32_GRADIENT


@pytest.mark.parametrize("time", ["shared", "low_rank", "input_add"])
def test_recomputed_layers_give_the_same_output_and_gradients(time: str) -> None:
    settings = config(time={"kind": time})
    transformer = network(settings)
    batch = packed(settings, story())
    flow = flow_of(batch)
    found = []
    for recompute in (False, True):
        transformer.recomputes_layers = recompute
        output = forward(transformer, batch, flow, tap=1)
        assert output.tapped is not None
        loss = output.logits.square().mean() + output.velocity.square().mean()
        found.append((output, gradients(transformer, loss + output.tapped.square().mean())))
    (plain, plain_gradient), (again, again_gradient) = found
    assert torch.equal(plain.logits, again.logits)
    assert torch.equal(plain.velocity, again.velocity)
    assert relative(again_gradient, plain_gradient) < FLOAT32_GRADIENT


def test_without_gradients_nothing_is_recomputed() -> None:
    settings = config()
    transformer = network(settings)
    transformer.recomputes_layers = True
    batch = packed(settings, story())
    with torch.no_grad():
        assert not forward(transformer, batch, flow_of(batch)).logits.requires_grad
