"""A run that recomputes its layers learns what one that keeps them learns."""

import torch

from tests.tolerances import FLOAT32_GRADIENT
from tests.training.joint import make_config, make_task


def gradient_of(task):
    batch = task.next_batch()
    loss, _ = task.losses(batch, task.weights(batch), torch.Generator().manual_seed(0))
    loss.backward()
    grads = [p.grad.flatten() for p in task.module.parameters() if p.grad is not None]
    return torch.cat(grads)


def test_a_run_that_recomputes_layers_has_equal_gradients(setting):
    plain, again = (
        make_task(make_config(setting, task={"recompute_layers": recompute}))
        for recompute in (False, True)
    )
    assert again.parts.transformer.recomputes_layers
    assert not plain.parts.transformer.recomputes_layers
    first, second = gradient_of(plain), gradient_of(again)
    assert (second - first).abs().max() <= FLOAT32_GRADIENT * first.abs().max()
