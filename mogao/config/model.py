"""The network: transformer, encoders, and what `config.json` of a model folder holds."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mogao.config.base import Branch, Config, Count, Kind


class RoutingConfig(Config):
    """Which weight branch a token kind uses. Source: arXiv 2505.05472, deep-fusion section."""

    text: Branch = "text"
    vit: Branch = "text"
    clean: Branch = "visual"
    noisy: Branch = "visual"


class VisibilityConfig(Config):
    """Who may look at whom; the mask rule of `mogao.packing.mask` reads only this table.

    `earlier`: key kinds that a query kind sees in earlier segments of its document.
    `own`: key kinds that a query kind sees inside its own segment (text is causal there).
    Source: arXiv 2505.05472 (ECTF mask); rows and marks in docs/model.md.
    """

    earlier: dict[Kind, tuple[Kind, ...]] = {
        "text": ("text", "vit"),
        "vit": ("text", "vit"),
        "clean": ("text", "vit", "clean"),
        "noisy": ("text", "vit", "clean"),
    }
    own: dict[Kind, tuple[Kind, ...]] = {
        "text": ("text",),
        "vit": ("vit",),
        "clean": ("vit", "clean"),
        "noisy": ("noisy",),
    }

    @model_validator(mode="after")
    def _complete(self) -> VisibilityConfig:
        kinds = {"text", "vit", "clean", "noisy"}
        for name, table in (("earlier", self.earlier), ("own", self.own)):
            if set(table) != kinds:
                raise ValueError(f"{name} needs a row for each of {sorted(kinds)}")
        return self


class VitSizeConfig(Config):
    """The size at which the understanding encoder sees a picture, where it is not its own.

    Aspect kept, the longest side at most `longest`, the shortest at least `shortest` pixels, both
    multiples of `patch_pixels`. Source: arXiv 2505.14683, inference code.
    """

    patch_pixels: Count = 14
    longest: Count = 980
    shortest: Count = 224


class GridTablesConfig(Config):
    """Frozen 2-D sine-cosine tables that are added to picture tokens at the input (BAGEL)."""

    vit_side: Count = 70
    """Rows and columns of the table of VIT tokens; no picture may have more."""
    latent_side: Count = 64
    """Those of the table of CLEAN and NOISY tokens."""


class LayoutConfig(Config):
    """How a picture is laid out among its text."""

    part_order: tuple[Kind, ...] = ("vit", "clean", "noisy")
    """Order of the copies of a picture; it decides only memory order, never visibility. `clean` may
    be left out: see `TransformerConfig.history`."""
    position_step: Annotated[int, Field(ge=0)] = 1
    """How far the time axis advances behind a picture."""
    part_step: Annotated[int, Field(ge=0)] = 0
    """How far the time axis advances from the latents of a picture to its VIT copy (BAGEL: 1)."""
    boundary: Literal["picture", "part"] = "picture"
    """`picture`: one open and one close token around all copies, text at times of their own.
    `part`: each copy lies between its own pair, which is seen and sees as the copy does and shares
    its time (BAGEL)."""
    begin: bool = True
    """Whether a document opens with the begin token."""
    text_frame: bool = False
    """Whether every text lies between a begin and an end token of its own; speakers then leave no
    mark (BAGEL)."""
    vit_size: VitSizeConfig | None = None
    """How the VIT copy is scaled; None: as it is, so that all copies have one grid."""
    turns: Literal["token", "chatml"] = "token"
    """How a turn opens and closes: with one role token and the end token, or as in the templates of
    Qwen and SmolLM2: begin token, name of the role, line break; end token, line break."""

    @model_validator(mode="after")
    def _parts(self) -> LayoutConfig:
        if sorted(self.part_order) not in (["clean", "noisy", "vit"], ["noisy", "vit"]):
            raise ValueError(
                "part_order must name vit, clean and noisy once each; only clean may be left out"
            )
        if self.boundary == "part" and not self.text_frame:
            raise ValueError("boundary: part needs text_frame: else nothing opens a text")
        if self.text_frame and (self.begin or self.turns != "token"):
            raise ValueError("text_frame needs begin: false and turns: token")
        return self


class IlRopeConfig(Config):
    """Interleaved three-axis rotary positions. Source: arXiv 2505.05472, IL-RoPE."""

    kind: Literal["il_rope"] = "il_rope"
    text_axes: Literal["zero", "same"] = "zero"
    """Row and column of a text token: 0 (the paper) or equal to its time (language-model start)."""


class MRopeConfig(Config):
    """Chunked three-axis rotary positions, for comparison. Source: arXiv 2409.12191 (M-RoPE)."""

    kind: Literal["m_rope"] = "m_rope"


class OneDConfig(Config):
    """One rotary axis; every token of a picture shares one position."""

    kind: Literal["one_d"] = "one_d"


PositionsConfig = Annotated[IlRopeConfig | MRopeConfig | OneDConfig, Field(discriminator="kind")]


class SharedAdaLN(Config):
    """One modulation head for all layers plus a learned table per layer (adaLN-single)."""

    kind: Literal["shared"] = "shared"


class LowRankAdaLN(Config):
    """A modulation head per layer, factored through `rank` channels."""

    kind: Literal["low_rank"] = "low_rank"
    rank: Count = 32


class InputTime(Config):
    """The time embedding is added to latent tokens at the input only (BAGEL)."""

    kind: Literal["input_add"] = "input_add"
    stretch: Annotated[float, Field(gt=0)] = 1000.0
    """Factor on flow times before their sinusoids; BAGEL has none, so 1."""


TimeConfig = Annotated[SharedAdaLN | LowRankAdaLN | InputTime, Field(discriminator="kind")]


class TransformerConfig(Config):
    """The joint transformer."""

    vocab_size: Count = 2048
    """Token ids, special tokens included."""
    hidden: Count = 384
    num_layers: Count = 6
    num_heads: Count = 6
    num_kv_heads: Count = 2
    head_dim: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    ffn_hidden: Count = 1536
    ffn: Literal["swiglu", "relu_squared"] = "relu_squared"
    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    qkv_bias: bool = False
    qk_norm: dict[Branch, bool] = {"text": True, "visual": True}
    tied_embeddings: bool = True
    rope_base: Annotated[float, Field(gt=1)] = 10_000.0
    positions: PositionsConfig = IlRopeConfig()
    routing: RoutingConfig = RoutingConfig()
    visibility: VisibilityConfig = VisibilityConfig()
    layout: LayoutConfig = LayoutConfig()
    time: TimeConfig = SharedAdaLN()
    grid_tables: GridTablesConfig | None = None
    connector_activation: Literal["gelu", "gelu_tanh"] = "gelu"
    latent_dim: Count = 64
    """Values of one generation token: latent channels x latent_patch squared."""
    vision_dim: Count = 192
    """Width of the understanding encoder's features."""

    @model_validator(mode="after")
    def _heads(self) -> TransformerConfig:
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must be a multiple of num_kv_heads")
        if self.grid_tables is not None and self.hidden % 4:
            raise ValueError("grid_tables need a hidden width that is a multiple of 4")
        return self

    @property
    def history(self) -> Kind | None:
        """The copy through which later pictures see the latents of a picture, if any.

        Without `clean` in `layout.part_order` that is `noisy`, where `visibility.earlier.noisy`
        names it: a noised history, in which each picture has its own flow time.
        """
        if "clean" in self.layout.part_order:
            return "clean"
        return "noisy" if "noisy" in self.visibility.earlier["noisy"] else None


class VisionConfig(Config):
    """The understanding encoder: a `transformers` Siglip2 vision model without its pooling head."""

    hidden: Count = 192
    num_layers: Count = 4
    """Layers before the last norm, whose output is the feature."""
    num_heads: Count = 3
    ffn_hidden: Count = 768
    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    patch_pixels: Count = 16
    """Side of a patch."""
    num_positions: Count = 64
    """Learned positions, a square number of rows and columns."""
    positions: Literal["resample", "crop"] = "resample"
    """How the square of positions serves a picture: resampled to its grid (Siglip2), or cut to its
    first rows and columns, so that no picture may have more (BAGEL)."""

    @model_validator(mode="after")
    def _shape(self) -> VisionConfig:
        if math.isqrt(self.num_positions) ** 2 != self.num_positions:
            raise ValueError(f"num_positions must be a square number, got {self.num_positions}")
        if self.hidden % self.num_heads:
            raise ValueError("hidden must be a multiple of num_heads")
        return self


class AutoencoderConfig(Config):
    """The picture autoencoder: `diffusers` AutoencoderKL behind an optional space-to-depth."""

    space_to_depth: Annotated[int, Field(ge=1, le=8)] = 8
    block_channels: tuple[Count, ...] = (160,)
    """Widths of the stages; each stage but the last halves the grid."""
    layers_per_block: Count = 1
    latent_channels: Count = 16
    norm_groups: Count = 16
    mid_attention: bool = False
    """Attention over the whole grid in the middle of both halves."""
    quant_convs: bool = False
    """A 1 x 1 convolution behind the encoder and one before the decoder (SDXL)."""
    scaling_factor: Annotated[float, Field(gt=0)] | None = None
    """Latents are (posterior mean - shift_factor) x scaling_factor. None leaves both numbers to
    `vae/config.json`, where training writes what it measures; a new network starts at 1 and 0."""
    shift_factor: float | None = None

    @property
    def latent_stride(self) -> int:
        """Pixels per latent cell."""
        return int(self.space_to_depth * 2 ** (len(self.block_channels) - 1))

    def admits(self, found: AutoencoderConfig) -> bool:
        """Whether a network is of this config, in which numbers that are None may be any."""
        numbers = {"scaling_factor": self.scaling_factor, "shift_factor": self.shift_factor}
        left_open = {name: None for name, value in numbers.items() if value is None}
        return found.model_copy(update=left_open) == self


class ModelConfig(Config):
    """What `config.json` of a model folder holds."""

    format: Literal["mogao/1"] = "mogao/1"
    name: str = "mogao"
    transformer: TransformerConfig = TransformerConfig()
    vision: VisionConfig = VisionConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    latent_patch: Count = 2
    """Latent cells per token side."""

    @property
    def token_pixels(self) -> int:
        """Pixels per side of a generation token."""
        return self.autoencoder.latent_stride * self.latent_patch

    @property
    def most_side_tokens(self) -> int | None:
        """Most generation tokens of a side of a picture; None where positions have no table."""
        tables = self.transformer.grid_tables
        return None if tables is None else tables.latent_side

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        dim = self.autoencoder.latent_channels * self.latent_patch**2
        if self.transformer.latent_dim != dim:
            raise ValueError(
                f"transformer.latent_dim is {self.transformer.latent_dim}, but the autoencoder "
                f"gives latent_channels x latent_patch^2 = {dim}"
            )
        if self.transformer.vision_dim != self.vision.hidden:
            raise ValueError("transformer.vision_dim must equal vision.hidden")
        scaled = self.transformer.layout.vit_size
        if scaled is None and self.vision.patch_pixels != self.token_pixels:
            raise ValueError("vision.patch_pixels must equal latent_stride x latent_patch")
        if scaled is not None and self.vision.patch_pixels != scaled.patch_pixels:
            raise ValueError("vision.patch_pixels must equal transformer.layout.vit_size")
        return self


class DetectorConfig(Config):
    """The detector that judges pictures of the offline world: sizes and names of all classes."""

    widths: tuple[Count, Count] = (64, 160)
    """Channels at four and at eight pixels a cell."""
    depths: tuple[Count, Count] = (2, 5)
    """Residual blocks of both stages."""
    concepts: tuple[str, ...]
    styles: tuple[str, ...]
    colours: tuple[str, ...]
    backgrounds: tuple[str, ...]
