"""Pictures as the transformer reads them: understanding features and latent patches, made once.

In: pictures of the document. Out: features and latents by segment number; a picture that the model
drew keeps its own final latents, without a round trip through the autoencoder.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from einops import rearrange
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
from mogao.packing.spans import Span, part_boundary, vit_pixels
from mogao.sampling.runner import Runner
from mogao.sequence import ImageSegment, Pixels
from mogao.tokenizer import Tokenizer

PROBE_PICTURES = 64
"""Pictures from which the colour of a latent cell is learned."""


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
    """Features and latents of the pictures of one document.

    Attributes:
        boundary: Ids of the two tokens around each copy of a picture, or none.
        known_features: By segment number, with the picture that they belong to.
        known_latents: Likewise.
    """

    def __init__(self, parts: Parts, runner: Runner) -> None:
        self._parts, self._runner = parts, runner
        self.boundary = part_boundary(parts.tokenizer, parts.config.transformer.layout)
        self.known_features: dict[int, tuple[ImageSegment, Tensor]] = {}
        self.known_latents: dict[int, tuple[ImageSegment, Tensor]] = {}

    def copy(self) -> PictureCodes:
        """Return codes that know the same pictures."""
        other = copy(self)
        other.known_features, other.known_latents = (
            dict(self.known_features),
            dict(self.known_latents),
        )
        return other

    def features(self, span: Span) -> Float[Tensor, "tokens vision_dim"]:
        """Return the understanding features of a picture."""
        assert span.image is not None
        known = self.known_features.get(span.segment)
        if known is None or known[0] is not span.image:
            layout = self._parts.config.transformer.layout
            pixels = self._pixels(vit_pixels(span.image.pixels, layout))
            features = self._runner.call(
                lambda: self._parts.vision(pixels), num_tokens=self._size(pixels)
            )
            known = self.known_features[span.segment] = (span.image, features)
        return known[1]

    def latents(self, span: Span) -> Float32[Tensor, "tokens latent_dim"]:
        """Return the latent patches of a picture."""
        assert span.image is not None
        known = self.known_latents.get(span.segment)
        if known is None or known[0] is not span.image:
            known = self.known_latents[span.segment] = (span.image, self.encode(span.image))
        return known[1]

    def encode(self, image: ImageSegment) -> Float32[Tensor, "tokens latent_dim"]:
        """Return the latent patches of any picture."""
        pixels = self._pixels(image.pixels)
        encoded = self._runner.call(
            lambda: self._parts.autoencoder.encode(pixels), num_tokens=self._size(pixels)
        )
        return patchify(encoded, patch=self._parts.config.latent_patch)[0]

    def keep(
        self, segment: int, image: ImageSegment, latents: Float32[Tensor, "tokens latent_dim"]
    ) -> None:
        """Remember the final latents of a picture that the model drew."""
        self.known_latents[segment] = (image, latents)

    def forget_from(self, segment: int) -> None:
        """Forget the pictures of this segment of the document and of those behind it."""
        for known in (self.known_features, self.known_latents):
            for number in [number for number in known if number >= segment]:
                del known[number]

    def picture(
        self, latents: Float32[Tensor, "tokens latent_dim"], grid: tuple[int, int]
    ) -> Pixels:
        """Return the RGB bytes of latent patches."""
        patches = unpatchify(latents[None], grid=grid, patch=self._parts.config.latent_patch)
        decoded = self._runner.call(
            lambda: self._parts.autoencoder.decode(patches), num_tokens=len(latents)
        )
        return tensor_to_pixels(decoded)[0]

    def rough_picture(
        self, latents: Float32[Tensor, "tokens latent_dim"], grid: tuple[int, int]
    ) -> Pixels:
        """Return a cheap picture of latent patches: one linear map from each cell to a colour."""
        patches = unpatchify(latents[None], grid=grid, patch=self._parts.config.latent_patch)
        colours = self._runner.call(lambda: rough_colours(self._parts.autoencoder, patches))
        return tensor_to_pixels(colours)[0]

    def _size(self, pixels: Float32[Tensor, "1 3 height width"]) -> int:
        """Tokens that a picture takes, and so about what a network on its pixels costs."""
        return pixels.shape[-2] * pixels.shape[-1] // self._parts.config.token_pixels**2

    def _pixels(self, pixels: Pixels) -> Float32[Tensor, "1 3 height width"]:
        return pixels_to_tensor([pixels]).to(self._parts.device)


ColourMap = tuple[Float32[Tensor, "channels 3"], Float32[Tensor, " 3"]]
_colour_maps: WeakKeyDictionary[Autoencoder, ColourMap] = WeakKeyDictionary()


def colour_map(autoencoder: Autoencoder) -> ColourMap:
    """Return the linear map from a latent cell to the mean colour of its pixels, least squares.

    Fitted once on what the autoencoder makes of smooth random pictures, so it needs no data.
    """
    if autoencoder in _colour_maps:
        return _colour_maps[autoencoder]
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(PROBE_PICTURES, 3, 4, 4, generator=generator) * 2 - 1
    stride = autoencoder.config.latent_stride
    device = next(autoencoder.parameters()).device
    pixels = F.interpolate(coarse, size=(8 * stride, 8 * stride), mode="bilinear").to(device)
    latents = autoencoder.encode(pixels).float()
    cells = rearrange(latents, "n c h w -> (n h w) c")
    colours = rearrange(F.avg_pool2d(pixels, stride), "n c h w -> (n h w) c")
    ones = cells.new_ones(len(cells), 1)
    solution = torch.linalg.lstsq(torch.cat((cells, ones), dim=1), colours).solution
    _colour_maps[autoencoder] = (solution[:-1], solution[-1])
    return _colour_maps[autoencoder]


def rough_colours(
    autoencoder: Autoencoder, latents: Float32[Tensor, "1 channels rows cols"]
) -> Float32[Tensor, "1 3 height width"]:
    """Return the colours of latent cells, each as a square of pixels, in [-1, 1]."""
    weights, offset = colour_map(autoencoder)
    colours = torch.einsum("nchw,ck->nkhw", latents, weights) + offset[:, None, None]
    return F.interpolate(colours.clamp(-1, 1), scale_factor=autoencoder.config.latent_stride)
