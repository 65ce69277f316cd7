"""Providers that run on this machine: models of `transformers` from a folder or a hub id.

In: pixels and words. Out: replies, boxes with or without masks, colours, vectors. Weights come
from safetensors files only and no code of a model repository runs. Work is done in float32 on a
CPU and on a GPU too, but for chat models, which take bfloat16 there; the name says which, and which
version of the model it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from mogao.errors import ConfigError
from mogao.evaluation.providers import yes_no
from mogao.evaluation.providers.base import Detection, YesNoProbabilities
from mogao.evaluation.providers.masks import MaskedDetection, cut_out
from mogao.model.storage import fingerprint
from mogao.sequence import Pixels

COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
"""The colours that GenEval tells apart."""

_MAX_REPLY_TOKENS = 1024
_DIGITS = 12  # of a revision or a digest in a name
_LEAST_SCORE = 0.05  # rules set their own, higher thresholds
_COLOUR_PROMPTS = (
    "a picture of a {colour} {name}",
    "a {name} whose colour is {colour}",
    "a thing that is {colour}",
)
_COCO_NAMES = {  # spellings of Pascal VOC that detectors use, and what GenEval calls three classes
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
}


class LocalChat:
    """An image-text-to-text model as a judge and for questions; it always says the likeliest.

    Args:
        source: Folder or hub id of a model with a chat template.
        max_reply_tokens: Where a reply is cut; a cut reply is handed on as it is.

    Raises:
        ConfigError: There is no such model, or it has no chat template.
    """

    def __init__(self, source: str, *, max_reply_tokens: int = _MAX_REPLY_TOKENS) -> None:
        self._processor = _open("AutoProcessor", source)
        if not getattr(self._processor, "chat_template", None):
            raise ConfigError(f"the model {source!r} has no chat template; take a chat model")
        self._model = _open_model("AutoModelForImageTextToText", source, is_chat=True)
        self._max_reply_tokens = max_reply_tokens
        self._words = _words(self._processor.tokenizer.get_vocab())
        self.name = _name(source, self._model)

    def ask(self, text: str, *, pictures: Sequence[Pixels] = ()) -> str:
        """Return the reply to one message: the pictures, then the text."""
        import torch

        inputs = self._inputs(text, pictures)
        with torch.inference_mode():
            tokens = self._model.generate(
                **inputs, do_sample=False, max_new_tokens=self._max_reply_tokens
            )
        new = tokens[0, inputs["input_ids"].shape[1] :]
        return self._processor.tokenizer.decode(new, skip_special_tokens=True).strip()

    def answer(self, pixels: Pixels, question: str) -> str:
        """Return the reply to a yes/no question about a picture, which asks for one word."""
        return self.ask(yes_no.message(question), pictures=[pixels])

    def yes_no_probabilities(self, pixels: Pixels, question: str) -> YesNoProbabilities:
        """Return how probable "yes" and "no" are as the first token of the reply.

        Probabilities are over the whole vocabulary.

        Raises:
            ConfigError: The vocabulary has no token for one of the words.
        """
        import torch

        if {yes_no.word_of(token) for token in self._words} != {"yes", "no"}:
            raise ConfigError(
                f"{self.name}: the vocabulary has no token for 'yes' or none for 'no', so neither "
                "has a probability; take another model"
            )
        with torch.inference_mode():
            inputs = self._inputs(yes_no.message(question), [pixels])
            logits = self._model(**inputs).logits[0, -1]
        found = logits.float().softmax(-1).cpu()
        return yes_no.summed((token, float(found[place])) for token, place in self._words.items())

    def _inputs(self, text: str, pictures: Sequence[Pixels]) -> Any:
        """What the model reads: the message in its chat template."""
        content: list[dict[str, Any]] = [
            {"type": "image", "image": Image.fromarray(pixels)} for pixels in pictures
        ]
        content.append({"type": "text", "text": text})
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return inputs.to(self._model.device, dtype=self._model.dtype)


class LocalDetector:
    """A detector of known classes; one that cuts out instances gives masks too.

    Args:
        source: Folder or hub id of an object detection or universal segmentation model. GenEval's
            own is a Mask2Former of COCO instances; it needs scipy.

    Raises:
        ConfigError: There is no such model.
    """

    def __init__(self, source: str) -> None:
        import transformers

        kind = type(_open("AutoConfig", source))
        self._has_masks = kind in transformers.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
        auto = "AutoModelForUniversalSegmentation" if self._has_masks else None
        self._processor = _open("AutoImageProcessor", source)
        self._model = _open_model(auto or "AutoModelForObjectDetection", source)
        self.name = _name(source, self._model)

    def detect(self, pixels: Pixels) -> list[Detection]:
        """Return what a picture shows; classes have the names of COCO where the model knows it."""
        import torch

        size = (pixels.shape[0], pixels.shape[1])
        inputs = self._processor(images=Image.fromarray(pixels), return_tensors="pt")
        with torch.inference_mode():
            outputs = self._model(**inputs.to(self._model.device))
        names = self._model.config.id2label
        if self._has_masks:
            (found,) = self._processor.post_process_instance_segmentation(
                outputs, threshold=_LEAST_SCORE, target_sizes=[size], return_binary_maps=True
            )
            return instances(found["segmentation"], found["segments_info"], names=names)
        (found,) = self._processor.post_process_object_detection(
            outputs, threshold=_LEAST_SCORE, target_sizes=[size]
        )
        rows = zip(found["labels"], found["boxes"].tolist(), found["scores"], strict=True)
        return [
            Detection(class_name(names[int(label)]), (box[0], box[1], box[2], box[3]), float(score))
            for label, box, score in rows
        ]


class LocalColours:
    """Names the colour of a thing by the caption that a CLIP model finds nearest.

    The thing is cut out of the picture; where its outline is known, all else becomes grey first.
    Source: arXiv 2310.11513; djghosh13/geneval, evaluation/evaluate_images.py. The captions are
    not the original ones, and the name says so.

    Args:
        source: Folder or hub id of a model of pictures and captions; GenEval takes CLIP ViT-L/14.

    Raises:
        ConfigError: There is no such model, or it reads no captions.
    """

    def __init__(self, source: str) -> None:
        self._processor = _open("AutoProcessor", source)
        self._model = _open_model("AutoModel", source)
        if not hasattr(self._model, "get_text_features"):
            raise ConfigError(f"the model {source!r} does not read captions; take a CLIP model")
        self._captions: dict[str, Any] = {}
        self.name = f"{_name(source, self._model)}, own captions"

    def colour(self, pixels: Pixels, detection: Detection) -> str:
        """Return one of GenEval's ten colour names."""
        import torch

        crop = Image.fromarray(cut_out(pixels, detection))
        inputs = self._processor(images=crop, return_tensors="pt").to(self._model.device)
        if detection.name not in self._captions:
            self._captions[detection.name] = self._directions(detection.name)
        with torch.inference_mode():
            picture = self._model.get_image_features(**inputs).pooler_output[0]
            best = (self._captions[detection.name] @ picture).argmax()
        return COLOURS[int(best)]

    def _directions(self, name: str) -> Any:
        """One unit vector per colour [colours, features]: the mean over its captions."""
        import torch

        texts = [
            prompt.format(colour=colour, name=name)
            for colour in COLOURS
            for prompt in _COLOUR_PROMPTS
        ]
        inputs = self._processor(text=texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            features = self._model.get_text_features(**inputs.to(self._model.device)).pooler_output
            unit = torch.nn.functional.normalize(features, dim=-1)
            means = unit.unflatten(0, (len(COLOURS), len(_COLOUR_PROMPTS))).mean(1)
            return torch.nn.functional.normalize(means, dim=-1)


class LocalEmbedder:
    """Vectors of pictures: a CLIP model's image features, else the first token (DINO).

    Args:
        source: Folder or hub id.

    Raises:
        ConfigError: There is no such model.
    """

    def __init__(self, source: str) -> None:
        self._processor = _open("AutoImageProcessor", source)
        self._model = _open_model("AutoModel", source)
        self.name = _name(source, self._model)

    def embed(self, pictures: Sequence[Pixels]) -> Float32[np.ndarray, "pictures features"]:
        """Return one vector a picture, of any length."""
        import torch

        images = [Image.fromarray(pixels) for pixels in pictures]
        inputs = self._processor(images=images, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            if hasattr(self._model, "get_image_features"):
                features = self._model.get_image_features(**inputs).pooler_output
            else:
                features = self._model(**inputs).last_hidden_state[:, 0]
        return np.asarray(features.float().cpu())


def instances(
    masks: Any, facts: Sequence[Mapping[str, Any]], *, names: Mapping[int, str]
) -> list[Detection]:
    """Turn instance masks [instances, height, width] with their facts into detections."""
    found: list[Detection] = []
    for mask, fact in zip([] if masks is None else masks, facts, strict=True):
        inside = np.asarray(mask) > 0
        rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        box = (float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1))
        name = class_name(names[int(fact["label_id"])])
        found.append(MaskedDetection(name, box, float(fact["score"]), mask=inside))
    return found


def class_name(label: str) -> str:
    """Return the name that COCO gives a class."""
    return _COCO_NAMES.get(label, label)


def _open(auto: str, source: str, **options: Any) -> Any:
    """Open one part of a model with an `Auto` class of transformers."""
    import transformers

    try:
        part = getattr(transformers, auto).from_pretrained(
            source, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"cannot open {source!r} with {auto}: {reason}") from None
    return part


def _open_model(auto: str, source: str, *, is_chat: bool = False) -> Any:
    """Open the weights, on a GPU where there is one."""
    import torch

    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu and is_chat else torch.float32
    model, facts = _open(auto, source, use_safetensors=True, dtype=dtype, output_loading_info=True)
    # transformers fills what a file lacks with random numbers; poolers are not used here
    missing = sorted(name for name in facts["missing_keys"] if "pooler." not in name)
    if missing:
        raise ConfigError(
            f"{source!r} does not hold all weights of {type(model).__name__}: "
            f"{len(missing)} are missing, such as {missing[0]}; take a model made for the task"
        )
    return model.to("cuda" if on_gpu else "cpu").eval()


def _words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The tokens that spell "yes" or "no", with their places."""
    return {token: place for token, place in vocabulary.items() if yes_no.word_of(token)}


def _name(source: str, model: Any) -> str:
    """Source, version and dtype; a version is the revision of the hub or a fingerprint."""
    folder = Path(source)
    revision = getattr(model.config, "_commit_hash", None)
    version = fingerprint(folder) if folder.is_dir() else revision
    dtype = str(model.dtype).removeprefix("torch.")
    return f"local:{source}{f'@{version[:_DIGITS]}' if version else ''} {dtype}"
