"""Every configuration class of mogao: bounds, units and all defaults live here and nowhere else.

In: YAML files, JSON of model folders, `key.path=value` overrides. Out: frozen pydantic values.
It knows no torch, so a config can be read, checked and printed at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mogao.errors import ConfigError, nearest

Kind = Literal["text", "vit", "clean", "noisy"]
Branch = Literal["text", "visual"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """Base of all configs: frozen, unknown keys forbidden, defaults checked like given values."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


# --- the transformer ------------------------------------------------------------------------


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


class LayoutConfig(Config):
    """How a picture is laid out among its text."""

    part_order: tuple[Kind, ...] = ("vit", "clean", "noisy")
    """Order of the three copies of a picture; it decides only memory order, never visibility."""
    position_step: Annotated[int, Field(ge=0)] = 1
    """How far the time axis advances behind a picture."""

    @model_validator(mode="after")
    def _parts(self) -> LayoutConfig:
        if sorted(self.part_order) != ["clean", "noisy", "vit"]:
            raise ValueError("part_order must name vit, clean and noisy once each")
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
    latent_dim: Count = 64
    """Values of one generation token: latent channels x latent_patch squared."""
    vision_dim: Count = 192
    """Width of the understanding encoder's features."""

    @model_validator(mode="after")
    def _heads(self) -> TransformerConfig:
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must be a multiple of num_kv_heads")
        return self


# --- encoders and the model folder ----------------------------------------------------------


class VisionConfig(Config):
    """The understanding encoder: a small `transformers` Siglip2 vision model."""

    hidden: Count = 192
    num_layers: Count = 4
    num_heads: Count = 3
    ffn_hidden: Count = 768
    patch_pixels: Count = 16
    """Side of a patch; equal to the side of a generation token, so both grids coincide."""
    num_positions: Count = 64
    """Learned positions, a square number; resampled to the grid of each picture."""


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

    @property
    def latent_stride(self) -> int:
        """Pixels per latent cell."""
        return int(self.space_to_depth * 2 ** (len(self.block_channels) - 1))


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
        if self.vision.patch_pixels != self.token_pixels:
            raise ValueError("vision.patch_pixels must equal latent_stride x latent_patch")
        return self


# --- generation -----------------------------------------------------------------------------


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


# --- data -----------------------------------------------------------------------------------


class WorldConfig(Config):
    """The offline scene world as a source of training sequences."""

    kind: Literal["world"] = "world"
    recipes: dict[str, float] = {
        "draw": 0.55, "caption": 0.08, "question": 0.15, "edit": 0.12, "edits": 0.04, "story": 0.06,
    }  # fmt: skip
    """Recipe name to weight; names in `mogao.data.world.recipes.RECIPES`."""
    split: Literal["train", "heldout"] = "train"
    seed: int = 0
    max_objects: Annotated[int, Field(ge=1, le=6)] = 4
    styles: tuple[str, ...] = ("noto", "fluent")
    cycle: Annotated[int, Field(ge=0)] = 0
    """Repeat the first `cycle` items for ever (so that cached latents pay); 0 never repeats."""


class RecordsConfig(Config):
    """Records in JSON Lines, parquet, tar shards or a folder. Schema: docs/data.md."""

    kind: Literal["records"] = "records"
    path: str
    """A file, a folder, a pattern with `*`, or `hub:NAME[:SPLIT]`."""
    keep: dict[str, str | int | float | bool] = {}
    """Read only records whose metadata has these values, such as `split: train`."""
    shuffle: bool = True
    """A new order for every epoch; false reads in file order."""
    seed: Annotated[int, Field(ge=0)] = 0
    max_bad_share: Probability = 0.01
    """Training stops when a larger share of the records read (at least 100) is broken."""
    max_images: Annotated[int, Field(ge=1)] = 32
    """A record with more pictures is cut behind this many, at a segment border, and counted."""
    max_pixels: Count = 16_777_216
    """A picture with more pixels is broken; it is refused before it is decoded."""
    pixel_budget: Annotated[int, Field(ge=256)] = 16_384
    """Pictures are scaled to at most this many pixels (128 x 128)."""
    token_pixels: Annotated[int, Field(ge=8)] = 16
    """Sides become multiples of this; equal to the model's pixels per token side."""


class MixtureConfig(Config):
    """Several sources drawn by weight."""

    kind: Literal["mixture"] = "mixture"
    sources: Annotated[tuple[WorldConfig | RecordsConfig, ...], Field(min_length=1)]
    weights: tuple[Annotated[float, Field(gt=0)], ...]
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _same_length(self) -> MixtureConfig:
        if len(self.sources) != len(self.weights):
            raise ValueError("sources and weights must have the same length")
        return self


DataConfig = Annotated[WorldConfig | RecordsConfig | MixtureConfig, Field(discriminator="kind")]


# --- training -------------------------------------------------------------------------------


class DropoutConfig(Config):
    """Condition dropout: a dropped context equals a guidance branch at sampling (invariant 6)."""

    text: Probability = 0.10
    """Drop all text: the branch that sees earlier pictures only."""
    images: Probability = 0.0
    """Drop all earlier pictures."""
    none: Probability = 0.05
    """Drop everything: each picture becomes its own document [begin?, open, NOISY]."""
    vit: Probability = 0.10
    """Extra: drop the VIT copies alone."""
    clean: Probability = 0.05
    """Extra: drop the CLEAN copies alone."""

    @model_validator(mode="after")
    def _sum(self) -> DropoutConfig:
        if self.text + self.images + self.none > 1:
            raise ValueError("text + images + none must not exceed 1")
        return self


class FlowConfig(Config):
    """How flow times are drawn: logit-normal, then shifted. Source: arXiv 2403.03206, eq. 19."""

    mean: float = 0.0
    std: Annotated[float, Field(gt=0)] = 1.0
    shift: Annotated[float, Field(gt=0)] = 1.0


class LossConfig(Config):
    """How the two losses are joined. Source: arXiv 2505.05472 (global weighted loss)."""

    text_weight: Annotated[float, Field(ge=0)] = 0.25
    flow_weight: Annotated[float, Field(ge=0)] = 1.0
    normaliser: Literal["separate", "joint"] = "separate"
    end_token_prob: Probability = 0.1
    """Share of text-to-picture pairs whose end token is learned; other documents always do."""


class JointTask(Config):
    """Train the transformer, connector and vision encoder on interleaved sequences."""

    kind: Literal["joint"] = "joint"
    model: ModelConfig = ModelConfig()
    init_from: str | None = None
    """Model folder or built-in name to start from; its config replaces `model`."""
    autoencoder_from: str | None = None
    """Folder that holds a trained `vae/`; required where `init_from` is not given."""
    dropout: DropoutConfig = DropoutConfig()
    flow: FlowConfig = FlowConfig()
    loss: LossConfig = LossConfig()
    attention: Literal["auto", "dense", "segments", "flex"] = "auto"
    latent_cache_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    """Memory for latents kept by content hash; 0 encodes anew each time."""


class AutoencoderTask(Config):
    """Train the autoencoder on the pictures of the data source."""

    kind: Literal["autoencoder"] = "autoencoder"
    model: ModelConfig = ModelConfig()
    batch_images: Count = 8
    """Pictures of one micro-batch; small batches win here: steps count, not pictures."""
    reuse: Count = 4
    """How often a picture is used, mirrored at random, before it leaves the pool."""
    pool_images: Count = 2048
    """Pictures kept for reuse."""
    squared_weight: Annotated[float, Field(ge=0)] = 1.0
    l1_weight: Annotated[float, Field(ge=0)] = 0.1
    gradient_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the L1 distance between picture gradients: sharp edges."""
    kl_weight: Annotated[float, Field(ge=0)] = 5e-4
    """Per latent value; a wider posterior gives latents that a flow model learns more easily."""


TaskConfig = Annotated[JointTask | AutoencoderTask, Field(discriminator="kind")]


class OptimConfig(Config):
    """Optimiser and learning-rate curve (warm-up, constant, linear decay to `final_share`)."""

    kind: Literal["adamw", "muon"] = "adamw"
    """`muon` puts hidden matrices under Muon and everything else under AdamW."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """AdamW's rate."""
    muon_learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    betas: tuple[Probability, Probability] = (0.9, 0.95)
    eps: Annotated[float, Field(gt=0)] = 1e-10
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    decay_share: Probability = 0.3
    """Last share of the run over which the rate falls."""
    final_share: Probability = 0.02
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    ema_decay: Probability = 0.999
    """Averaged weights are what is exported; 0 keeps none."""


class RunConfig(Config):
    """One training run: what `mogao train CONFIG.yaml` reads and what every output stores."""

    name: str = "run"
    task: TaskConfig = JointTask()
    data: DataConfig = WorldConfig()
    optim: OptimConfig = OptimConfig()
    token_budget: Count = 8192
    """Most tokens of one pack, padding included."""
    accumulation: Count = 1
    """Packs per optimiser step."""
    max_steps: Count = 1000
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Stop (checkpoint and exit 0) after this many minutes of this process; resume continues."""
    seed: int = 0
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Compute type; master weights are float32. auto: bfloat16 where the hardware has it."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether layers are compiled; auto: where there is a compiler."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 8.0
    keep_checkpoints: Count = 2
    sample_minutes: Annotated[float, Field(ge=0)] = 10.0
    """Minutes between sheets of sample pictures and answers; 0 makes none."""
    log_every_steps: Count = 10
    spike_factor: Annotated[float, Field(gt=1)] = 5.0
    """A step whose loss or gradient norm exceeds this multiple of its running mean is skipped."""
    max_bad_steps: Count = 20
    """Training stops after this many skipped steps in a row."""

    @field_validator("compile", mode="before")
    @classmethod
    def _yaml_words(cls, value: object) -> object:
        """YAML reads the bare words on and off as booleans."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


# --- load, override, save -------------------------------------------------------------------

C = TypeVar("C", bound=Config)


def parse(cls: type[C], data: Any, *, where: str) -> C:
    """Check plain data against a config class.

    Raises:
        ConfigError: A key is unknown, a value is out of bounds or has the wrong type; the message
            names `where`, the path of the key, what was got and the nearest known key.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        lines = [_explain(cls, item) for item in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(lines)) from None


def load(cls: type[C], path: str | Path, *, overrides: Sequence[str] = ()) -> C:
    """Read a YAML or JSON file, apply `key.path=value` overrides and check the result.

    Raises:
        ConfigError: The file is missing or unreadable, or its content is not valid.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping, got {type(data).__name__}")
    return parse(cls, override(data, overrides), where=str(path))


def override(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `data` with each `key.path=value` set; values are read as YAML.

    Raises:
        ConfigError: An override has no `=` or goes through a value that is not a mapping.
    """
    result: dict[str, Any] = json.loads(json.dumps(data))
    for item in overrides:
        path, sign, value = item.partition("=")
        if not sign or not path:
            raise ConfigError(f"override {item!r} must look like key.path=value")
        *parents, leaf = path.split(".")
        node = result
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ConfigError(f"override {item!r}: {key!r} is not a mapping")
        node[leaf] = yaml.safe_load(value)
    return result


def save(config: Config, path: str | Path) -> None:
    """Write a config as YAML (or JSON where the name ends in .json), complete with defaults."""
    data = config.model_dump(mode="json")
    path = Path(path)
    if path.suffix == ".json":
        text = json.dumps(data, indent=2) + "\n"
    else:
        text = yaml.safe_dump(data, sort_keys=False)
    path.write_text(text, encoding="utf-8")


def _explain(cls: type[Config], item: Any) -> str:
    """One pydantic error as 'path: got, expected, hint'."""
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {path!r} ({nearest(str(item['loc'][-1]), _known_keys(cls))})"
    return f"{path or 'config'}: {item['msg']} (got {item['input']!r:.80})"


def _known_keys(cls: type[BaseModel]) -> set[str]:
    """All field names below a config class, for hints."""
    keys: set[str] = set()
    schema = cls.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        keys.update(part.get("properties", {}))
    return keys
