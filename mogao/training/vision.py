"""Training of the understanding encoder: which words stand beside this picture?

In: a `RunConfig` with a vision task. Out: a `Task` whose model folder holds `vision/` alone. Joint
training from nothing hardly moves a vision encoder, since only answers reach it; here every
picture teaches it. Source: arXiv 2411.03313, section 3 (SuperClass): the text's tokens as classes,
one linear layer on mean features, softmax against labels weighted by rarity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor, nn

from mogao.config import RunConfig, VisionTask, reseeded
from mogao.data.mixture import Source, build_source
from mogao.errors import DataError
from mogao.files import atomic_write
from mogao.model.vae import pixels_to_tensor
from mogao.model.vision import VisionEncoder
from mogao.tokenizer import Tokenizer
from mogao.training.checkpoint import checkpoint_name
from mogao.training.parts import document_texts
from mogao.training.pictures import (
    UNSEEN_SEED,
    CaptionedPictures,
    draw_captioned,
    own_source,
    places_by_size,
)
from mogao.training.task import Metrics

FREQUENCY_DOCUMENTS = 2000
"""Documents from which the rarity of a token is counted."""

REPORT_PICTURES = 64


class WordReader(nn.Module):
    """Vision encoder and, on its mean feature, one linear layer that scores every token."""

    def __init__(self, encoder: VisionEncoder, vocab_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden, vocab_size)

    def forward(
        self, pixels: Float32[Tensor, "images 3 height width"]
    ) -> Float32[Tensor, "images vocab"]:
        """Return the scores of all tokens for pictures of one size in [-1, 1]."""
        features = rearrange(self.encoder(pixels), "(n t) d -> n t d", n=len(pixels))
        scores: Tensor = self.head(features.float().mean(dim=1))
        return scores


class VisionTraining:
    """The vision task; see `mogao.training.task.Task`.

    Of the data, documents with exactly one picture and some text are used.
    """

    def __init__(self, config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        """Build the network, learn the tokens and open the data.

        Raises:
            ConfigError: The data config asks for something unknown.
            DataError: The data cannot be read, or no document has one picture and text.
        """
        assert isinstance(config.task, VisionTask)
        self.task, self.device = config.task, device
        vocab_size = config.task.model.transformer.vocab_size
        self.tokenizer = Tokenizer.train(document_texts(config.data), vocab_size=vocab_size)
        encoder = VisionEncoder(config.task.model.vision, compute_dtype=dtype, seed=config.seed)
        self.module = WordReader(encoder, vocab_size).to(device)
        for parameter in self.module.head.parameters():
            nn.init.zeros_(parameter)  # every token is as likely at first
        self._source = own_source(config.data)
        self._unseen = reseeded(config.data, by=UNSEEN_SEED)
        self.rarity = self._count(build_source(self._unseen)).to(device)

    def matrices(self) -> dict[str, tuple[int, ...]]:
        """Return the matrices of all layers."""
        return {
            name: ()
            for name, parameter in self.module.named_parameters()
            if parameter.ndim == 2 and ".layers." in name
        }

    def next_batch(self) -> CaptionedPictures:
        """Draw the next pictures and texts."""
        return draw_captioned(self._source, self.task.batch_images)

    def weights(self, batch: CaptionedPictures) -> dict[str, float]:
        """Return the number of pictures."""
        return {"pictures": float(len(batch.pictures))}

    def losses(
        self,
        batch: CaptionedPictures,
        normalisers: Mapping[str, float],
        generator: torch.Generator,  # noqa: ARG002 - part of the Task protocol
    ) -> tuple[Float32[Tensor, ""], Metrics]:
        """Return the cross-entropy against the texts' tokens, and the share of top tokens found."""
        targets = self.targets(batch.texts)
        loss, found = targets.new_zeros(()), targets.new_zeros(())
        for indices in places_by_size(batch.pictures):
            pixels = pixels_to_tensor([batch.pictures[index] for index in indices])
            scores = self.module(pixels.to(self.device))
            loss = loss + F.cross_entropy(scores, targets[indices], reduction="sum")
            best = scores.detach().argmax(dim=-1, keepdim=True)
            found += (targets[indices].gather(1, best) > 0).sum()
        count = normalisers["pictures"]
        return loss / count, {"words": loss.detach() / count, "top": found / count}

    def tokens(self, batch: CaptionedPictures) -> dict[str, int]:
        """Return counts; a token is a patch here."""
        side = self.module.encoder.config.patch_pixels
        patches = sum(p.shape[0] * p.shape[1] // side**2 for p in batch.pictures)
        return {"tokens": patches, "padding": 0, "samples": len(batch.pictures)}

    def state_dict(self) -> dict[str, Any]:
        """Return the data position, and the tokens and rarities that the head has learned with."""
        return {
            "source": self._source.state_dict(),
            "tokenizer": self.tokenizer.to_json(),
            "rarity": self.rarity.cpu(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, same_data: bool) -> None:
        """Continue behind the last batch; other data begins anew, with the same tokens.

        Raises:
            CheckpointError: The data is another than when the state was saved.
        """
        self.tokenizer = Tokenizer.from_json(state["tokenizer"])
        self.rarity = state["rarity"].to(self.device)
        if same_data:
            self._source.load_state_dict(state["source"])

    def write_samples(
        self,
        folder: Path,
        step: int,
        generator: torch.Generator,  # noqa: ARG002 - part of the Task protocol
    ) -> None:
        """Write `step-N.json`: recall of unseen texts' tokens, and the best tokens of a few."""
        batch = draw_captioned(build_source(self._unseen), REPORT_PICTURES)
        targets = self.targets(batch.texts)
        recall, rows = 0.0, []
        with torch.no_grad():
            for text, picture, target in zip(batch.texts, batch.pictures, targets, strict=True):
                scores = self.module(pixels_to_tensor([picture]).to(self.device))[0]
                scores = scores[: self.tokenizer.vocab_size]  # the head has room for more
                best = scores.topk(int((target > 0).sum())).indices
                recall += float(target[best].sum()) / len(batch.texts)
                words = [self.tokenizer.decode([int(index)]) for index in best]
                rows.append({"text": text, "best": words})
        report = {"step": step, "recall": recall, "pictures": rows[:8]}
        atomic_write(folder / f"{checkpoint_name(step)}.json", json.dumps(report, indent=1) + "\n")

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write `vision/`; the averaged weights are in the network already."""
        del weights
        self.module.encoder.save(folder / "vision")

    def targets(self, texts: list[str]) -> Float32[Tensor, "texts vocab"]:
        """Return the labels: the rarities of a text's tokens, scaled to a sum of 1."""
        found = torch.zeros(len(texts), len(self.rarity), device=self.device)
        for row, text in zip(found, texts, strict=True):
            row[self.tokenizer.encode(text)] = 1.0
        found *= self.rarity
        return found / found.sum(dim=-1, keepdim=True).clamp(min=1e-6)

    def _count(self, source: Source) -> Float[Tensor, " vocab"]:
        """Return log(documents / documents with the token) of every token: common words say less.

        A token that no counted document has is as rare as one that a single document has.
        """
        texts = draw_captioned(source, FREQUENCY_DOCUMENTS).texts
        counts = torch.zeros(self.task.model.transformer.vocab_size)
        for text in texts:
            counts[sorted(set(self.tokenizer.encode(text)))] += 1
        if not bool(((counts > 0) & (counts < len(texts))).any()):
            raise DataError(
                "all texts beside pictures have the same tokens: nothing can be learned"
            )
        return (math.log(len(texts)) - counts.clamp(min=1).log()).clamp(min=0)
