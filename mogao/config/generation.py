"""How text and pictures are sampled: what `generation.json` of a model folder holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mogao.config.base import Config, Count, Probability


class TextSamplingConfig(Config):
    """How the next token is drawn."""

    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """0 takes the most likely token."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """0 keeps all."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=0)] = 256
    """Most text tokens of one call; 0 makes none."""


class ImageSamplingConfig(Config):
    """How a picture is drawn."""

    sampler: Literal["euler", "midpoint"] = "euler"
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 24
    """Intervals of the schedule."""
    shift: Annotated[float, Field(gt=0.0)] = 1.0
    guidance: Literal["mogao", "off"] = "mogao"
    """Table of branches; `off` draws from the full context alone."""
    text_guidance_scale: Annotated[float, Field(ge=0.0)] = 7.5
    image_guidance_scale: Annotated[float, Field(ge=0.0)] = 1.5
    guidance_interval: tuple[Probability, Probability] = (0.0, 1.0)
    """(low, high] in shifted t where guidance acts."""
    renorm: Literal["none", "global"] = "none"
    height: Annotated[int, Field(ge=16)] = 128
    """Pixels; used when neither the caller nor an earlier picture gives a size."""
    width: Annotated[int, Field(ge=16)] = 128


class LimitsConfig(Config):
    """Safety limits of one session; exceeding one is a RequestError or ends the stream."""

    max_images: Annotated[int, Field(ge=0)] = 8
    max_context_tokens: Count = 16_384
    max_input_pixels: Count = 16_777_216
    """A larger picture is refused before it is decoded."""
    pixel_budget: Count = 16_384
    """Pictures that come in are scaled to at most this many pixels (128 x 128)."""


class GenerationConfig(Config):
    """What `generation.json` of a model folder holds: the default quality."""

    text: TextSamplingConfig = TextSamplingConfig()
    image: ImageSamplingConfig = ImageSamplingConfig()
    limits: LimitsConfig = LimitsConfig()
