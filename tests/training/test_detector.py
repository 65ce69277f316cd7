"""The detector learns from scenes of its own; batches depend on seeds and step alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mogao import config as configs
from mogao.config import RunConfig
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.errors import ConfigError
from mogao.evaluation.judges.detector import vocabulary
from mogao.model.detector import Detections
from mogao.model.vae import pixels_to_tensor
from mogao.training.detector import DetectorTraining, loss_sums, targets

NAMES = vocabulary(widths=(8, 16), depths=(1, 1))
SCENE = Scene(
    "beach",
    "noto",
    (SceneObject("apple", "green", "medium", 24, 40), SceneObject("cat", None, "small", 96, 80)),
)


def make(**changes: Any) -> DetectorTraining:
    data = {
        "task": {"kind": "detector", "widths": [8, 16], "depths": [1, 1], "batch_images": 4},
        "data": {"kind": "world", "seed": 3, "max_objects": 6},
    } | changes
    config = configs.parse(RunConfig, data, where="test")
    return DetectorTraining(config, device=torch.device("cpu"), dtype=torch.float32)


def batch_of(scene: Scene, move: tuple[int, int]):
    pixels = pixels_to_tensor([render(scene)])
    return targets([scene], np.array([move]), pixels=pixels, vocabulary=NAMES)


def test_targets_are_the_nearest_cells_of_the_moved_centres():
    batch = batch_of(SCENE, (3, -2))
    assert batch.cells.tolist() == [[0, 5, 3], [0, 10, 12]]
    assert batch.place[0].tolist() == pytest.approx([0.375, -0.25, 0.0])
    assert batch.place[1].tolist() == pytest.approx([0.375, -0.25, math.log2(32 / 48)])
    assert [NAMES.concepts[index] for index in batch.concepts] == ["apple", "cat"]
    assert NAMES.colours[int(batch.colours[0])] == "green"
    assert NAMES.backgrounds[int(batch.backgrounds[0])] == "beach"
    assert batch.heat[0, 5, 3] == batch.heat[0, 10, 12] == 1
    assert batch.heat[0, 4, 3] == batch.heat[0, 6, 4] == -1
    assert int((batch.heat == -1).sum()) == 16


def perfect(batch) -> Detections:
    """What a network says that is sure and right."""

    def sure(indices, count):
        return 50.0 * torch.nn.functional.one_hot(indices.clamp(min=0), count).float()

    shape = tuple(batch.heat.shape)
    cells = tuple(batch.cells.T)
    fields = {"place": torch.zeros(*shape, 3)}
    fields["place"][cells] = batch.place
    for name in ("concepts", "styles", "colours"):
        logits = sure(getattr(batch, name), len(getattr(NAMES, name)))
        fields[name] = torch.zeros(*shape, logits.shape[1])
        fields[name][cells] = logits
    grounds = sure(batch.backgrounds, len(NAMES.backgrounds))
    return Detections(centre=100 * batch.heat - 50, backgrounds=grounds, **fields)


@pytest.mark.parametrize("name", ["centre", "place", "concepts", "styles", "colours"])
def test_only_what_is_wrong_costs(name: str):
    batch = batch_of(SCENE, (0, 0))
    right = perfect(batch)
    assert all(float(loss) < 1e-6 for loss in loss_sums(right, batch).values())
    worse = loss_sums(replace(right, **{name: -getattr(right, name) - 1}), batch)
    assert [part for part, loss in worse.items() if loss > 0.1] == [name]


def test_batches_depend_on_seeds_and_step_alone_and_resume_exactly():
    first, second = make(), make()
    first.next_batch()
    state = first.state_dict()
    after = first.next_batch()
    second.load_state_dict(state, same_data=True)
    again = second.next_batch()
    assert torch.equal(after.pixels, again.pixels)
    assert torch.equal(after.cells, again.cells)
    assert not torch.equal(make(seed=1).next_batch().pixels, make().next_batch().pixels)


def test_a_few_steps_on_one_batch_lower_every_loss():
    task = make()
    batch = task.next_batch()
    optimiser = torch.optim.Adam(task.module.parameters(), lr=3e-3)
    seen = []
    for _ in range(40):
        loss, metrics = task.losses(batch, task.weights(batch), torch.Generator())
        seen.append({name: float(value) for name, value in metrics.items()})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name in ("centre", "concepts", "styles", "colours", "backgrounds"):
        assert seen[-1][name] < seen[0][name], name


def test_other_data_than_the_world_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="world"):
        make(data={"kind": "records", "path": str(tmp_path)})
