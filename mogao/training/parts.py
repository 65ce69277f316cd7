"""Where a joint run starts from, and the model folder that it ends with.

In: a `RunConfig`. Out: the networks and the tokenizer; afterwards the same with averaged weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mogao import config as configs
from mogao.config import (
    DataConfig,
    GenerationConfig,
    JointTask,
    MixtureConfig,
    ModelConfig,
    RecordsConfig,
    RunConfig,
    RuntimeConfig,
    WorldConfig,
)
from mogao.data.stream import Records
from mogao.errors import ConfigError
from mogao.model.init import initialise
from mogao.model.transformer import MogaoTransformer
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder
from mogao.pipeline import Mogao
from mogao.sampling.codes import Parts
from mogao.tokenizer import Tokenizer

TOKENIZER_DOCUMENTS = 4000
"""Documents whose texts a new tokenizer learns from."""


def build_parts(
    config: RunConfig, *, device: torch.device, dtype: torch.dtype
) -> tuple[Parts, GenerationConfig]:
    """Load the model that a run starts from, or make a new one around a trained autoencoder.

    The transformer and the vision encoder get float32 weights and compute in `dtype`; the
    autoencoder is frozen.

    Raises:
        ConfigError: Neither `init_from` nor `autoencoder_from` is given, or the autoencoder does
            not fit the model.
        CheckpointError: A folder is missing, incomplete or unsafe.
    """
    assert isinstance(config.task, JointTask)
    if config.task.init_from is not None:
        parts, generation = load_model(config.task.init_from)
    elif config.task.autoencoder_from is not None:
        parts, generation = _make(config, config.task.autoencoder_from), GenerationConfig()
    else:
        raise ConfigError(
            "a joint run starts from a model or from a trained autoencoder: set task.init_from or "
            "task.autoencoder_from to a model folder, such as runs/autoencoder/model"
        )
    if config.task.vision_from is not None:
        parts = replace(parts, vision=_vision(config.task.vision_from, parts.config))
    if config.task.freeze_vision:
        parts.vision.requires_grad_(False)
    generation = config.task.generation or generation
    parts.transformer.to(device).compute_dtype = dtype
    parts.vision.to(device).compute_dtype = dtype
    parts.autoencoder.to(device=device, dtype=dtype).eval().requires_grad_(False)
    return parts, generation


def _vision(folder: str, model: ModelConfig) -> VisionEncoder:
    """The trained vision encoder of a folder; it must be of the model's shape."""
    vision = VisionEncoder.load(Path(folder) / "vision")
    if vision.config != model.vision:
        raise ConfigError(
            f"the vision encoder of {folder} has the shape {vision.config.model_dump()}, but the "
            f"model expects {model.vision.model_dump()}"
        )
    return vision


def load_model(name: str) -> tuple[Parts, GenerationConfig]:
    """Load a model folder, a built-in model or one of the hub, with float32 weights.

    Raises:
        CheckpointError: There is none of that name, or it is incomplete or unsafe.
    """
    model = Mogao.from_pretrained(name, dtype="float32", device="cpu", runtime=RuntimeConfig())
    return model.parts, model.generation


def _make(config: RunConfig, folder: str) -> Parts:
    """A new model; its autoencoder's shape replaces that of the config."""
    assert isinstance(config.task, JointTask)
    autoencoder = Autoencoder.load(Path(folder) / "vae")
    shape = {"autoencoder": autoencoder.config.model_dump()}
    data = config.task.model.model_dump() | shape
    model = configs.parse(ModelConfig, data, where=f"task.model with the autoencoder of {folder}")
    transformer = MogaoTransformer(model.transformer)
    initialise(transformer, generator=torch.Generator().manual_seed(config.seed))
    vision = VisionEncoder(model.vision, seed=config.seed)
    texts = document_texts(config.data)
    tokenizer = Tokenizer.train(texts, vocab_size=model.transformer.vocab_size)
    return Parts(model, transformer, autoencoder, vision, tokenizer)


def document_texts(data: DataConfig) -> Iterator[str]:
    """Texts for a new tokenizer: of the user's own records, of all the world's recipes, or both."""
    if isinstance(data, MixtureConfig):
        own = [part for part in data.sources if isinstance(part, RecordsConfig)]
        for part in own:
            yield from document_texts(part)
        if len(own) == len(data.sources):
            return
    if isinstance(data, RecordsConfig):
        records = Records(data)
        for _ in range(TOKENIZER_DOCUMENTS):
            if records.state_dict()["epoch"]:
                return
            yield records.next().text
    else:
        from mogao.data.world.source import World

        yield from World(WorldConfig()).texts(TOKENIZER_DOCUMENTS)


def export_parts(parts: Parts, generation: GenerationConfig, *, folder: Path) -> None:
    """Write the model folder.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    Mogao(parts, generation).save_pretrained(folder)
