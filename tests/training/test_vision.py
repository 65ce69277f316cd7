"""The vision task: labels come from the words, training names them, the encoder is handed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mogao.config import (
    AutoencoderConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TransformerConfig,
    VisionConfig,
    VisionTask,
)
from mogao.errors import ConfigError, DataError
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from mogao.tokenizer import Tokenizer
from mogao.training import parts, vision
from mogao.training.loop import train
from mogao.training.parts import build_parts
from mogao.training.pictures import draw_captioned
from mogao.training.vision import VisionTraining
from tests.tiny import picture
from tests.training.conftest import run_and_resume

TINY = ModelConfig(
    autoencoder=AutoencoderConfig(block_channels=(16,), latent_channels=4, norm_groups=4),
    transformer=TransformerConfig(latent_dim=16, vision_dim=32, vocab_size=400),
    vision=VisionConfig(hidden=32, num_layers=2, num_heads=2, ffn_hidden=64),
)


@pytest.fixture(autouse=True)
def _few_documents(monkeypatch):
    """Hundreds of texts do for tests."""
    monkeypatch.setattr(vision, "FREQUENCY_DOCUMENTS", 100)
    monkeypatch.setattr(parts, "TOKENIZER_DOCUMENTS", 300)


def run_config(**changes):
    settings = {
        "task": VisionTask(model=TINY, batch_images=8),
        "data": {"kind": "world", "max_objects": 1, "recipes": {"draw": 1.0}},
        "optim": OptimConfig(kind="muon", learning_rate=3e-3, warmup_steps=1, ema_decay=0.8),
        "dtype": "float32",
        "max_steps": 40,
        "sample_minutes": 0,
        "log_every_steps": 5,
    }
    return RunConfig(**(settings | changes))


def make_task(config=None):
    return VisionTraining(config or run_config(), device=torch.device("cpu"), dtype=torch.float32)


class Listed:
    def __init__(self, *documents):
        self.documents, self.at = documents, 0

    def next(self):
        self.at += 1
        return InterleavedSequence(self.documents[(self.at - 1) % len(self.documents)])

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def test_only_single_pictures_with_text_are_drawn() -> None:
    first, second = (ImageSegment(picture(seed)) for seed in (1, 2))
    source = Listed(
        (TextSegment("one"), first), (TextSegment("two"), first, second), (second,),
        (TextSegment("bare"),), (second, TextSegment("last")),
    )  # fmt: skip
    found = draw_captioned(source, 3)
    assert found.texts == ["one", "last", "one"]
    assert [pixels is first.pixels for pixels in found.pictures] == [True, False, True]
    with pytest.raises(DataError, match="no single picture"):
        draw_captioned(Listed((TextSegment("bare"),)), 1)


def test_labels_are_the_rarities_of_the_words_scaled_to_one() -> None:
    task = make_task()
    texts = ["a red cat", "a cat a cat"]
    targets = task.targets(texts)
    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(2))
    for text, row in zip(texts, targets, strict=True):
        ids = sorted(set(task.tokenizer.encode(text)))
        rarity = task.rarity[ids]
        assert torch.equal(row.nonzero().flatten(), torch.tensor(ids)[rarity > 0])
        torch.testing.assert_close(row[ids], rarity / rarity.sum())


def test_a_word_of_every_text_says_nothing_and_a_rare_one_most() -> None:
    task = make_task()
    shown = ImageSegment(picture(0))
    source = Listed(*[(TextSegment(text), shown) for text in ("q y", "q y", "q y", "q z")])
    rarity = task._count(source)
    always, often, seldom = (rarity[task.tokenizer.encode(text)[-1]] for text in ("q", " y", " z"))
    assert always == 0
    torch.testing.assert_close(torch.stack([often, seldom]), torch.tensor([4 / 3, 4.0]).log())


def test_a_batch_in_two_parts_means_the_same() -> None:
    task = make_task()
    with torch.no_grad():
        task.module.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    batch = task.next_batch()
    halves = [type(batch)(batch.pictures[cut], batch.texts[cut]) for cut in (slice(3), slice(3, 8))]
    whole = task.weights(batch)
    generator = torch.Generator()
    losses = [task.losses(part, whole, generator)[0] for part in (batch, *halves)]
    torch.testing.assert_close(losses[0], losses[1] + losses[2])


def test_pictures_of_two_sizes_share_a_batch() -> None:
    task = make_task()
    small, large = picture(0), picture(1, height=48, width=64)
    batch = type(task.next_batch())([small, large, small], ["a cat", "a dog", "a cat"])
    with torch.no_grad():
        task.module.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        total, metrics = task.losses(batch, task.weights(batch), torch.Generator())
        alone = [
            task.losses(type(batch)([p], [t]), {"pictures": 3.0}, torch.Generator())[0]
            for p, t in zip(batch.pictures, batch.texts, strict=True)
        ]
    torch.testing.assert_close(total, torch.stack(alone).sum())
    assert task.tokens(batch) == {"tokens": 4 + 12 + 4, "padding": 0, "samples": 3}
    assert set(metrics) == {"words", "top"}


def test_a_run_learns_words_and_leaves_an_encoder_that_joint_training_takes(tmp_path: Path) -> None:
    report = train(run_config(sample_minutes=10), tmp_path)
    rows = (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split(",").index("words")
    losses = [float(row.split(",")[column]) for row in rows[1:]]
    assert losses[-1] < losses[0] - 0.5
    page = json.loads((tmp_path / "samples" / "step-00000040.json").read_text(encoding="utf-8"))
    assert 0 < page["recall"] <= 1
    assert sorted(path.name for path in report.model.iterdir()) == ["vision"]

    Autoencoder(TINY.autoencoder).save(tmp_path / "vae")
    joint = RunConfig.model_validate({
        "task": {"kind": "joint", "model": TINY, "autoencoder_from": str(tmp_path),
                 "vision_from": str(report.model), "freeze_vision": True},
    })  # fmt: skip
    built, _ = build_parts(joint, device=torch.device("cpu"), dtype=torch.float32)
    trained = VisionEncoder.load(report.model / "vision").state_dict()
    found = built.vision.state_dict()
    assert all(torch.equal(found[name], value) for name, value in trained.items())
    assert not any(p.requires_grad for p in built.vision.parameters())


def test_a_vision_encoder_of_another_shape_is_named(tmp_path: Path) -> None:
    VisionEncoder(VisionConfig(hidden=16, num_heads=1)).save(tmp_path / "vision")
    Autoencoder(TINY.autoencoder).save(tmp_path / "vae")
    joint = RunConfig.model_validate({
        "task": {"kind": "joint", "model": TINY, "autoencoder_from": str(tmp_path),
                 "vision_from": str(tmp_path)},
    })  # fmt: skip
    with pytest.raises(ConfigError, match="'hidden': 16"):
        build_parts(joint, device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("same_data", [True, False])
def test_a_resumed_task_keeps_the_words_that_its_head_has_learned(same_data) -> None:
    first, second = make_task(), make_task()
    first.next_batch()
    foreign = Tokenizer.train([], vocab_size=264)
    state = first.state_dict() | {"tokenizer": foreign.to_json(), "rarity": torch.ones(400)}
    second.load_state_dict(state, same_data=same_data)
    assert second.tokenizer.to_json() == foreign.to_json()
    assert torch.equal(second.rarity, torch.ones(400))
    behind = second.next_batch().texts
    assert (behind == first.next_batch().texts) == same_data


def test_a_resumed_run_continues_bit_for_bit(tmp_path: Path) -> None:
    config = run_config(max_steps=6)
    run_and_resume(lambda: make_task(config), config, tmp_path)


def test_the_report_names_only_tokens_that_exist(tmp_path: Path) -> None:
    """The head has room for more tokens than the texts gave."""
    task = make_task()
    task.tokenizer = Tokenizer.train([], vocab_size=264)
    with torch.no_grad():
        task.module.head.bias[264:] = 100.0
    task.write_samples(tmp_path, 1, torch.Generator())
    assert (tmp_path / "step-00000001.json").is_file()


def test_texts_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    rows = [{"id": str(i), "segments": [{"text": "same"}, {"image": "a.png"}]} for i in range(3)]
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match="same tokens"):
        make_task(run_config(data={"kind": "records", "path": str(tmp_path / "data.jsonl")}))
