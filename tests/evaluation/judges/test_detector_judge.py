"""The detector that ships reads real pictures of the world, also behind an autoencoder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mogao.data.world.sampling import sample_scene
from mogao.data.world.scene import Scene, SceneObject, render
from mogao.errors import CheckpointError, RequestError
from mogao.evaluation.judges.detector import DetectorJudge, vocabulary
from mogao.evaluation.player import round_trip
from mogao.evaluation.rules.agreement import agrees
from mogao.model.detector import Detector
from mogao.pipeline import Mogao


@pytest.fixture(scope="module")
def judge() -> DetectorJudge:
    return DetectorJudge.load()


def test_it_reads_nearly_all_scenes_of_up_to_six_things_without_a_mistake(judge: DetectorJudge):
    rng = np.random.default_rng(20_261_123)  # no seed of its training
    scenes = [sample_scene(rng, max_objects=6) for _ in range(60)]
    clean = [render(scene) for scene in scenes]
    behind = round_trip(Mogao.from_pretrained("nano").parts.autoencoder, clean)
    for pictures in (clean, behind):
        pairs = zip(pictures, scenes, strict=True)
        assert np.mean([agrees(judge.read(picture), scene) for picture, scene in pairs]) >= 0.93


def test_it_says_concept_style_colour_size_and_place(judge: DetectorJudge):
    item = SceneObject("bicycle", "red", "large", 60, 70)
    report = judge.read(render(Scene("beach", "fluent", (item,))))
    (found,) = report.findings
    assert report.background == "beach"
    assert (found.concept, found.style, found.colour) == ("bicycle", "fluent", "red")
    assert abs(found.x - 60) <= 3
    assert abs(found.y - 70) <= 3
    assert abs(found.size - 64) <= 6
    assert found.score > 0.9


def test_an_empty_picture_has_no_findings(judge: DetectorJudge):
    assert judge.read(render(Scene("snow", "noto"))).findings == ()


def test_a_picture_of_another_size_is_refused(judge: DetectorJudge):
    with pytest.raises(RequestError, match=r"\(64, 64, 3\).*128"):
        judge.read(np.zeros((64, 64, 3), np.uint8))


def test_its_name_tells_its_weights(judge: DetectorJudge, tmp_path: Path):
    kind, _, version = judge.name.partition("/")
    assert (kind, len(version)) == ("detector", 8)
    assert DetectorJudge.load().name == judge.name
    network = Detector(vocabulary(widths=(8, 16), depths=(1, 1)), seed=3)
    network.save(tmp_path, dtype=torch.float32)
    other = DetectorJudge.load(tmp_path)
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert other.name == f"detector/{digest[:8]}" != judge.name
    assert DetectorJudge(network).name == "detector/unsaved"


def test_a_detector_is_saved_and_opened_whole(tmp_path: Path):
    detector = Detector(vocabulary(widths=(8, 16), depths=(1, 1)), seed=3)
    detector.save(tmp_path, dtype=torch.float32)
    again = Detector.load(tmp_path)
    assert again.config == detector.config
    for name, value in detector.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        Detector.load(tmp_path)
    with pytest.raises(CheckpointError, match="missing"):
        Detector.load(tmp_path / "nothing")


def test_a_detector_of_another_atlas_is_refused():
    config = vocabulary(widths=(8, 16), depths=(1, 1))
    other = config.model_copy(update={"concepts": (*config.concepts[1:], config.concepts[0])})
    with pytest.raises(CheckpointError, match="atlas"):
        DetectorJudge(Detector(other))
