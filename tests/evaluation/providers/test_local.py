"""Local models answer as providers; tiny ones with first weights stand for the real ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mogao.errors import ConfigError
from mogao.evaluation.providers import local
from mogao.evaluation.providers.base import (
    ChatJudge,
    ColourReader,
    Detection,
    Detector,
    Embedder,
    VisualQuestions,
)
from mogao.evaluation.providers.masks import MaskedDetection
from mogao.model.storage import fingerprint

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
WORDS = "picture thing whose colour that cat yes no user what there of with a an is the in"
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endfor %}"
)


@pytest.fixture(scope="module", autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "<image>", "</s>", *WORDS.split(), *local.COLOURS]
    made = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", words.index("</s>"))]
    )
    special = dict(
        zip(("pad_token", "unk_token", "eos_token"), words[:2] + words[3:4], strict=True)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, additional_special_tokens=["<image>"], **special
    )


def pictures_of(side):
    from transformers import CLIPImageProcessorPil

    size = {"height": side, "width": side}
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size)


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
EYES = SMALL | {"intermediate_size": 16, "image_size": 28, "patch_size": 14}


@pytest.fixture(scope="module")
def detector_folder(tmp_path_factory):
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    folder = tmp_path_factory.mktemp("yolos")
    config = YolosConfig(
        **SMALL | {"intermediate_size": 16, "image_size": [32, 32], "num_detection_tokens": 4},
        id2label={0: "sofa", 1: "sofa"},
    )
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    folder = tmp_path_factory.mktemp("clip")
    words = SMALL | dict.fromkeys(("bos_token_id", "eos_token_id"), 3)
    words |= {"intermediate_size": 16, "vocab_size": 40}
    config = CLIPConfig(text_config=words, vision_config=EYES, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(image_processor=pictures_of(28), tokenizer=tokenizer()).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory):
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("llava")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**EYES),
        text_config=LlamaConfig(**SMALL, intermediate_size=16, vocab_size=40),
        image_token_index=2,
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        image_processor=pictures_of(28), tokenizer=tokenizer(), patch_size=14,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


def test_a_detector_gives_boxes_in_pixels_with_the_names_of_coco(detector_folder):
    found = local.LocalDetector(detector_folder)
    assert isinstance(found, Detector)
    digest = fingerprint(Path(detector_folder))
    assert found.name == f"local:{detector_folder}@{digest[:12]} float32"
    detections = found.detect(PICTURE)
    assert detections
    for one in detections:
        left, top, right, bottom = one.box
        assert (one.name, 0.05 <= one.score <= 1) == ("couch", True)
        assert -48 < left < right < 96
        assert -40 < top < bottom < 80


def test_an_instance_has_the_box_of_its_mask():
    mask = torch.zeros(1, 6, 8)
    mask[0, 2:4, 3:7] = 1
    facts = [{"label_id": 1, "score": 0.9}]
    (found,) = local.instances(mask, facts, names={1: "motorbike"})
    assert (found.name, found.box, found.score) == ("motorcycle", (3.0, 2.0, 7.0, 4.0), 0.9)
    assert isinstance(found, MaskedDetection)
    assert found.mask.sum() == 8
    assert local.instances(None, [], names={}) == []


def test_the_colour_is_that_of_the_nearest_caption(clip_folder):
    from transformers import AutoModel, AutoProcessor

    reader = local.LocalColours(clip_folder)
    assert isinstance(reader, ColourReader)
    assert reader.name.endswith(" float32, own captions")
    model, processor = (kind.from_pretrained(clip_folder) for kind in (AutoModel, AutoProcessor))
    with torch.inference_mode():
        crop = processor(images=Image.fromarray(PICTURE[4:30, 6:40]), return_tensors="pt")
        picture = model.get_image_features(**crop).pooler_output[0]
        scores = {}
        for colour in local.COLOURS:
            total = torch.zeros(8)
            for text in (
                f"a picture of a {colour} cat",
                f"a cat whose colour is {colour}",
                f"a thing that is {colour}",
            ):
                vector = model.get_text_features(**processor(text=text, return_tensors="pt"))
                total += vector.pooler_output[0] / vector.pooler_output[0].norm()
            scores[colour] = float(total @ picture / total.norm())
    detection = Detection("cat", (6.0, 4.0, 40.0, 30.0))
    assert len(set(scores.values())) == 10
    assert reader.colour(PICTURE, detection) == max(scores, key=scores.__getitem__)


def test_an_embedding_does_not_depend_on_the_batch(clip_folder):
    embedder = local.LocalEmbedder(clip_folder)
    assert isinstance(embedder, Embedder)
    both = embedder.embed([PICTURE, PICTURE[::-1]])
    assert both.shape == (2, 8)
    assert np.allclose(embedder.embed([PICTURE]), both[:1], atol=1e-5)
    assert not np.allclose(both[0], both[1], atol=1e-3)


def test_a_model_without_captions_embeds_by_its_first_token(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    Dinov2Model(Dinov2Config(**SMALL, image_size=28, patch_size=14)).save_pretrained(tmp_path)
    pictures_of(28).save_pretrained(tmp_path)
    assert local.LocalEmbedder(str(tmp_path)).embed([PICTURE]).shape == (1, 16)
    with pytest.raises(ConfigError, match=r"cannot open .*AutoProcessor|does not read captions"):
        local.LocalColours(str(tmp_path))


def test_a_chat_model_answers(chat_folder):
    chat = local.LocalChat(chat_folder, max_reply_tokens=3)
    assert isinstance(chat, ChatJudge)
    assert isinstance(chat, VisualQuestions)
    reply = chat.ask("what is there in the picture", pictures=[PICTURE, PICTURE])
    assert len(reply.split()) <= 3
    assert reply == chat.ask("what is there in the picture", pictures=[PICTURE, PICTURE])
    assert isinstance(chat.answer(PICTURE, "is there a cat"), str)
    assert isinstance(chat.ask("is there a cat"), str)


def test_yes_has_its_probability_over_the_whole_vocabulary(chat_folder):
    chat = local.LocalChat(chat_folder)
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(chat_folder)
    model = AutoModelForImageTextToText.from_pretrained(chat_folder)
    question = "is there a cat yes or no"
    text = processor(
        text=f"user <image> {question}", images=Image.fromarray(PICTURE), return_tensors="pt"
    )
    with torch.inference_mode():
        whole = model(**text).logits[0, -1].softmax(-1)
    places = [processor.tokenizer.get_vocab()[word] for word in ("yes", "no")]
    found = chat.yes_no_probabilities(PICTURE, question)
    assert [found.yes, found.no] == pytest.approx([float(whole[place]) for place in places])
    assert found.yes + found.no < 0.5  # of forty words
    changed = chat.yes_no_probabilities(PICTURE, "is there a cat")
    assert changed != found  # the request is read too


def test_a_vocabulary_without_the_words_is_named(chat_folder, tmp_path):
    shutil.copytree(chat_folder, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(path.read_text().replace('"yes"', '"yea"'))
    chat = local.LocalChat(str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="no token for 'yes' or none for 'no'"):
        chat.yes_no_probabilities(PICTURE, "is there a cat")


def test_versions_of_a_folder_have_different_names(detector_folder, tmp_path):
    shutil.copytree(detector_folder, tmp_path / "copy")
    folder, names = tmp_path / "copy", [fingerprint(Path(detector_folder))]
    assert fingerprint(folder) == names[0]
    (folder / "README.md").write_text("words")
    assert fingerprint(folder) == names[0]
    weights = folder / "model.safetensors"
    for place in (-1, weights.stat().st_size // 2):  # the header stays as it is
        data = bytearray(weights.read_bytes())
        data[place] ^= 1
        weights.write_bytes(bytes(data))
        names.append(fingerprint(folder))
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    names.append(fingerprint(folder))
    assert len(set(names)) == 4


def test_a_model_made_for_another_task_is_refused(clip_folder, tmp_path):
    with pytest.raises(ConfigError, match="no-such-folder"):
        local.LocalDetector(str(tmp_path / "no-such-folder"))
    with pytest.raises(ConfigError, match="AutoModelForObjectDetection"):
        local.LocalDetector(clip_folder)
    with pytest.raises(ConfigError, match="has no chat template"):
        local.LocalChat(clip_folder)


def test_weights_that_a_file_lacks_are_not_made_up(detector_folder, tmp_path):
    from transformers import YolosConfig, YolosImageProcessorPil, YolosModel

    config = YolosConfig.from_pretrained(detector_folder)
    YolosModel(config).save_pretrained(tmp_path)
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="does not hold all weights of YolosForObjectDetection"):
        local.LocalDetector(str(tmp_path))


def test_pickled_weights_are_not_opened(detector_folder, tmp_path):
    from transformers import YolosConfig, YolosImageProcessorPil

    YolosConfig.from_pretrained(detector_folder).save_pretrained(tmp_path)
    YolosImageProcessorPil().save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        local.LocalDetector(str(tmp_path))
