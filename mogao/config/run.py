"""One training run: task, losses, optimiser and loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mogao.config.base import Config, Count, Probability
from mogao.config.data import DataConfig, WorldConfig
from mogao.config.generation import GenerationConfig
from mogao.config.guidance import DropoutConfig
from mogao.config.model import ModelConfig


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


class AlignmentConfig(Config):
    """Noisy tokens inside the transformer learn what the vision encoder sees at their place.

    The vision encoder looks at the clean picture; only training has this part.
    Source: arXiv 2410.06940 (REPA).
    """

    weight: Annotated[float, Field(ge=0)] = 0.5
    """Factor on one minus the mean cosine similarity."""
    layer: Count = 3
    """Layers of the transformer below the aligned states."""
    hidden: Count = 512
    """Width of the projection between both spaces."""


class JointTask(Config):
    """Train the transformer, connector and vision encoder on interleaved sequences."""

    kind: Literal["joint"] = "joint"
    model: ModelConfig = ModelConfig()
    init_from: str | None = None
    """Model folder or built-in name to start from; its config replaces `model`."""
    autoencoder_from: str | None = None
    """Folder that holds a trained `vae/`; required where `init_from` is not given."""
    vision_from: str | None = None
    """Folder that holds a trained `vision/`, such as a vision run's; replaces the encoder of
    `init_from`. None with a new model starts the encoder from nothing."""
    freeze_vision: bool = False
    """Keep the vision encoder as it is."""
    alignment: AlignmentConfig | None = None
    dropout: DropoutConfig = DropoutConfig()
    flow: FlowConfig = FlowConfig()
    loss: LossConfig = LossConfig()
    generation: GenerationConfig | None = None
    """Sampling defaults of sample sheets and of the exported model; None keeps those of the model
    that the run starts from."""
    attention: Literal["auto", "dense", "segments", "flex"] = "auto"
    recompute_layers: bool = False
    """Keep only the input of each layer of the transformer for the backward pass and compute the
    layer again there: less memory, a third more work."""
    latent_cache_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    """Memory for latents kept by content hash; 0 encodes anew each time."""

    @model_validator(mode="after")
    def _fixed_target(self) -> JointTask:
        if self.alignment is not None and not self.freeze_vision:
            raise ValueError("alignment needs freeze_vision: its target must not move")
        if self.freeze_vision and self.init_from is None and self.vision_from is None:
            raise ValueError("freeze_vision needs a trained encoder: vision_from or init_from")
        return self


class AutoencoderTask(Config):
    """Train the autoencoder on the pictures of the data source."""

    kind: Literal["autoencoder"] = "autoencoder"
    model: ModelConfig = ModelConfig()
    decoder_of: str | None = None
    """Folder that holds a trained `vae/`: its encoder, and so every latent, stays as it is, and its
    decoder learns on from latents without noise. None trains both halves anew."""
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
    shift_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the squared error after latents are moved by a part of a cell: latents then change
    smoothly with the place of a thing, which a flow model learns far sooner (docs/lab.md).
    Source: arXiv 2502.09509 (there with scales and quarter turns)."""


class VisionTask(Config):
    """Train the vision encoder to tell the words beside a picture, before joint training.

    Source: arXiv 2411.03313 (SuperClass).
    """

    kind: Literal["vision"] = "vision"
    model: ModelConfig = ModelConfig()
    """Only the shape of `vision` and the vocabulary's size matter."""
    batch_images: Count = 64
    """Pictures of one micro-batch."""


class DetectorTask(Config):
    """Train the detector that judges pictures of the world (`mogao.evaluation.judges`)."""

    kind: Literal["detector"] = "detector"
    widths: tuple[Count, Count] = (64, 160)
    """Channels at four and at eight pixels a cell."""
    depths: tuple[Count, Count] = (2, 5)
    """Residual blocks of both stages."""
    batch_images: Count = 32
    """Pictures of one micro-batch."""
    autoencoder_from: str = "nano"
    """Model whose autoencoder half of the pictures pass."""


TaskConfig = Annotated[
    JointTask | AutoencoderTask | VisionTask | DetectorTask, Field(discriminator="kind")
]


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
    """Whether layers are compiled; auto: where there is a compiler and the run is long."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 8.0
    keep_checkpoints: Count = 2
    sample_minutes: Annotated[float, Field(ge=0)] = 10.0
    """Minutes between sheets of sample pictures and answers; 0 makes none."""
    log_every_steps: Count = 10
    spike_factor: Annotated[float, Field(gt=1)] = 5.0
    """A step whose loss or gradient norm exceeds this multiple of its running mean is skipped."""
    max_bad_steps: Count = 20
    """Training stops after this many skipped steps in a row."""

    @model_validator(mode="after")
    def _only_joint_runs_compile(self) -> RunConfig:
        if self.compile == "on" and not isinstance(self.task, JointTask):
            raise ValueError(f"compile is on, but a run of kind {self.task.kind} is never compiled")
        return self

    @field_validator("compile", mode="before")
    @classmethod
    def _yaml_words(cls, value: object) -> object:
        """YAML reads the bare words on and off as booleans."""
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value
