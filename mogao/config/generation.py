"""How text and pictures are sampled: what `generation.json` of a model folder holds."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mogao.config.base import Config, Count, Probability
from mogao.config.guidance import (
    KEEP_ALL,
    PRESETS,
    BranchConfig,
    Curve,
    GuidanceName,
    Preset,
    Renorm,
    RenormOf,
    knots_of,
    value_at,
)


class TextSamplingConfig(Config):
    """How the next token is drawn."""

    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """0 takes the most likely token."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """0 keeps all."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    min_p: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Tokens less likely than this share of the most likely one are left out."""
    repetition_penalty: Annotated[float, Field(gt=0.0)] = 1.0
    """Above 1, tokens of the document's text so far get less likely."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end the text before them."""
    log_probs: bool = False
    """Whether text events carry the log-probability of each token."""
    max_tokens: Annotated[int, Field(ge=0)] = 256
    """Most text tokens of one call; 0 makes none."""


class ImageSamplingConfig(Config):
    """How a picture is drawn."""

    sampler: Literal["euler", "midpoint", "heun", "dpm", "sde", "cps"] = "euler"
    """`dpm` is DPM-Solver++ 2M, `sde` and `cps` the stochastic steps with log-probabilities."""
    num_steps: Annotated[int, Field(ge=1, le=1000)] = 24
    """Intervals of the schedule."""
    shift: Annotated[float, Field(gt=0.0)] = 1.0
    schedule: Annotated[tuple[Probability, ...], Field(max_length=1001)] = ()
    """Flow times from 1 down to 0, in place of `num_steps` and `shift`."""
    noise_scale: Annotated[float, Field(ge=0.0)] = 0.7
    """Noise of `sde`, and of `cps` up to 1; 0 makes them `euler`."""
    reuse_threshold: Annotated[float, Field(ge=0.0)] = 0.0
    """Relative change of the latents below which the last velocity serves again; 0 never."""
    guidance: GuidanceName = "mogao"
    """A preset, or `table` for `branches`; `off` draws from the full context alone."""
    branches: tuple[BranchConfig, ...] = ()
    """The branches of `table`, the full context first; coefficients sum to one at every t."""
    text_guidance_scale: Curve | None = None
    """None takes that of the preset; so do the next four."""
    image_guidance_scale: Curve | None = None
    guidance_interval: tuple[Probability, Probability] | None = None
    """(low, high] in shifted t where guidance acts."""
    renorm: Renorm | None = None
    """`global` never lets a guided velocity be longer than the full one, over the whole picture;
    `token` the same per token."""
    renorm_of: RenormOf | None = None
    """Whether the final velocity is cut, or the text-guided one before pictures are mixed in."""
    previews: Literal["none", "linear", "decoder"] = "none"
    """Pictures in step events: of a linear read-out of the latents, or of the decoder."""
    preview_every: Count | tuple[Count, ...] = 4
    """Intervals between two previews, or the numbers (from 1) of those that end with one."""
    height: Annotated[int, Field(ge=16)] = 128
    """Pixels; used when neither the caller nor an earlier picture gives a size."""
    width: Annotated[int, Field(ge=16)] = 128

    @property
    def preset(self) -> Preset:
        """The table of branches, with the settings of this config put in; `table` has no drops."""
        chosen = PRESETS.get(self.guidance, Preset(drops={}))
        own = {
            "interval": self.guidance_interval,
            "renorm": self.renorm,
            "renorm_of": self.renorm_of,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return chosen.model_copy(update=given)

    @model_validator(mode="after")
    def _falls(self) -> ImageSamplingConfig:
        times = self.schedule
        is_falling = all(later < earlier for earlier, later in pairwise(times))
        if times and (len(times) < 2 or times[0] != 1 or times[-1] != 0 or not is_falling):
            raise ValueError(f"schedule must fall from 1 to 0, got {list(times)}")
        return self

    @model_validator(mode="after")
    def _bounded_noise(self) -> ImageSamplingConfig:
        if self.sampler == "cps" and self.noise_scale > 1:
            raise ValueError(f"noise_scale of cps is at most 1, got {self.noise_scale}")
        return self

    @model_validator(mode="after")
    def _table(self) -> ImageSamplingConfig:
        if (self.guidance == "table") != bool(self.branches):
            raise ValueError("branches and guidance: table come together")
        if self.branches and self.branches[0].drop != KEEP_ALL:
            raise ValueError(
                "the first branch of a table must be the full context: it drops nothing"
            )
        low, high = self.preset.interval
        if low >= high:
            raise ValueError(f"guidance_interval ({low:g}, {high:g}] is empty")
        curves = [branch.coefficient for branch in self.branches]
        for t in knots_of(*curves) if curves else []:
            total = sum(value_at(curve, t) for curve in curves)
            if abs(total - 1) > 1e-6:
                raise ValueError(f"coefficients sum to {total:g} at t = {t:g}; they must sum to 1")
        if self.branches and self.preset.renorm_of == "text":
            raise ValueError("renorm_of: text needs a preset; a table has no text-guided velocity")
        return self


class LimitsConfig(Config):
    """Safety limits of a call; exceeding one is a RequestError or ends the stream."""

    max_images: Annotated[int, Field(ge=0)] = 8
    max_context_tokens: Count = 16_384
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """A call ends behind the token or denoise step that exceeds it; None is no limit."""
    max_output_pixels: Count = 4_194_304
    """Most pixels of one drawn picture."""
    max_input_pixels: Count = 16_777_216
    """A larger picture is refused before it is decoded."""
    pixel_budget: Count = 16_384
    """Pictures that come in are scaled to at most this many pixels (128 x 128)."""


class EngineConfig(Config):
    """How many sessions share a model."""

    max_active: Count = 16
    """Sessions that run at a time."""
    max_waiting: Count = 256
    """Sessions that wait for a place; more are refused."""
    step_tokens: Count = 4096
    """Most tokens of one round, pictures that are encoded or decoded included; what takes more runs
    alone."""
    steady: bool = False
    """Whether `map` forms the same rounds in each run, so that its results are equal bit for bit:
    every job is waited for, however long it computes something of its own."""
    max_events: Count = 256
    """Events of a stream that its reader has not taken; the session then waits for the reader."""


class RuntimeConfig(Config):
    """How a model is made ready for sampling; decided once, when it is loaded."""

    compile: Literal[
        "off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
    ] = "off"
    """Mode of `torch.compile` for what surrounds the attention of each layer; needs a compiler.
    The first steps then take seconds (kept between runs), all others less time."""
    weights: Literal["float", "int8"] = "float"
    """`int8` keeps the matrices of the transformer in 8 bits, one scale a row; needs torchao."""

    @field_validator("compile", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value


class GenerationConfig(Config):
    """What `generation.json` of a model folder holds: the default quality."""

    text: TextSamplingConfig = TextSamplingConfig()
    image: ImageSamplingConfig = ImageSamplingConfig()
    limits: LimitsConfig = LimitsConfig()
    runtime: RuntimeConfig = RuntimeConfig()
