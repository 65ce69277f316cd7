"""Pictures as the transformer reads them: understanding features and latent patches, made once.

In: pictures of the document. Out: features and latents by segment number; a picture that the model
drew keeps its own final latents, without a round trip through the autoencoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mogao.config import ModelConfig
from mogao.model.transformer import MogaoTransformer
from mogao.model.vae import (
    Autoencoder,
    patchify,
    pixels_to_tensor,
    tensor_to_pixels,
    unpatchify,
)
from mogao.model.vision import VisionEncoder
from mogao.packing.spans import Span
from mogao.sequence import ImageSegment, Pixels
from mogao.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The networks of a model and what they need to work together."""

    config: ModelConfig
    transformer: MogaoTransformer
    autoencoder: Autoencoder
    vision: VisionEncoder
    tokenizer: Tokenizer

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.embedding.tokens.weight.device


class PictureCodes:
    """Features and latents of the pictures of one document, by segment number."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._features: dict[int, tuple[ImageSegment, Tensor]] = {}
        self._latents: dict[int, tuple[ImageSegment, Tensor]] = {}

    def features(self, span: Span) -> Float[Tensor, "tokens vision_dim"]:
        """Return the understanding features of a picture."""
        assert span.image is not None
        known = self._features.get(span.segment)
        if known is None or known[0] is not span.image:
            features = self._parts.vision(self._pixels(span.image))
            known = self._features[span.segment] = (span.image, features)
        return known[1]

    def latents(self, span: Span) -> Float32[Tensor, "tokens latent_dim"]:
        """Return the latent patches of a picture."""
        assert span.image is not None
        known = self._latents.get(span.segment)
        if known is None or known[0] is not span.image:
            known = self._latents[span.segment] = (span.image, self.encode(span.image))
        return known[1]

    def encode(self, image: ImageSegment) -> Float32[Tensor, "tokens latent_dim"]:
        """Return the latent patches of any picture."""
        encoded = self._parts.autoencoder.encode(self._pixels(image))
        return patchify(encoded, patch=self._parts.config.latent_patch)[0]

    def keep(
        self, segment: int, image: ImageSegment, latents: Float32[Tensor, "tokens latent_dim"]
    ) -> None:
        """Remember the final latents of a picture that the model drew."""
        self._latents[segment] = (image, latents)

    def picture(
        self, latents: Float32[Tensor, "tokens latent_dim"], grid: tuple[int, int]
    ) -> Pixels:
        """Return the RGB bytes of latent patches."""
        patches = unpatchify(latents[None], grid=grid, patch=self._parts.config.latent_patch)
        return tensor_to_pixels(self._parts.autoencoder.decode(patches))[0]

    def _pixels(self, image: ImageSegment) -> Float32[Tensor, "1 3 height width"]:
        return pixels_to_tensor([image.pixels]).to(self._parts.device)
