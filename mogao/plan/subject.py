"""What is planned: the run, its model, how it draws, and a document to reckon with.

In: what a user names, a run's file, a model folder or a preset, and single changes. Out: a
`Subject`. Only configs are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mogao import config as configs
from mogao.config import GenerationConfig, JointTask, ModelConfig, RunConfig
from mogao.config.presets import MODEL_PRESETS, preset
from mogao.errors import ConfigError, nearest
from mogao.model.storage import BUILT_IN
from mogao.pipeline import load_config, load_generation
from mogao.plan.work import Document

PRESET_PIXELS = 512
"""Sides of the pictures that a preset is reckoned with; a folder knows its own size."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is planned.

    Attributes:
        run: A joint run; its budget and its optimiser count.
        task: Its task.
        model: Its model.
        generation: How pictures are drawn when it is served.
        document: What is reckoned with.
    """

    run: RunConfig
    task: JointTask
    model: ModelConfig
    generation: GenerationConfig
    document: Document


def open_subject(
    target: str,
    overrides: Sequence[str] = (),
    *,
    side_pixels: int | None = None,
    pictures: int = 4,
    text_tokens: int = 128,
) -> Subject:
    """Find what a name stands for: a file of a run, else a model folder, else a preset.

    Args:
        target: The name.
        overrides: `key.path=value` of the run; a folder or a preset is the `task.model` of one.
        side_pixels: Of the pictures of the document; None takes the size that the model draws.
        pictures: Of the document.
        text_tokens: Before each picture.

    Raises:
        ConfigError: It is none of them, the run is of another kind than joint, or a key or value
            is not valid.
        CheckpointError: The folder that a run starts from is missing.
    """
    is_model = Path(target).is_dir() or (BUILT_IN / target / "config.json").is_file()
    if Path(target).is_file():
        run = configs.load(RunConfig, target, overrides=overrides)
    elif is_model:
        run = _around(load_config(target), overrides)
    elif target in MODEL_PRESETS:
        run = _around(preset(target), overrides)
    else:
        raise ConfigError(
            f"{target!r} is no config file, no model folder and no preset "
            f"({nearest(target, MODEL_PRESETS)})"
        )
    task = run.task
    if not isinstance(task, JointTask):
        raise ConfigError(
            f"run {run.name!r} is of kind {task.kind}, but only joint runs have a plan; "
            "mogao train --dry-run tells about others"
        )
    generation = generation_of(task, folder=target if is_model else None)
    sides = (generation.image.height, generation.image.width)
    if side_pixels is not None or not (is_model or Path(target).is_file()):
        sides = (side_pixels or PRESET_PIXELS,) * 2
    document = Document(*sides, pictures=pictures, text_tokens=text_tokens)
    return Subject(run, task, model_of(task), generation, document)


def model_of(task: JointTask) -> ModelConfig:
    """Return the shape that a task trains: its own, or that of the model it starts from.

    Raises:
        CheckpointError: The model folder is missing.
    """
    if task.init_from is not None:
        return load_config(task.init_from)
    return task.model


def generation_of(task: JointTask, *, folder: str | None = None) -> GenerationConfig:
    """Return how a task's model draws: as the run says, else as its folder says.

    Raises:
        CheckpointError: The folder is missing or its `generation.json` is not valid.
    """
    if task.generation is not None:
        return task.generation
    folder = task.init_from or folder
    return GenerationConfig() if folder is None else load_generation(folder)


def _around(model: ModelConfig, overrides: Sequence[str]) -> RunConfig:
    """The default joint run of a model, changed."""
    task = {"kind": "joint", "model": model.model_dump(mode="json")}
    data = configs.override({"name": model.name, "task": task}, overrides)
    return configs.parse(RunConfig, data, where=f"the plan of {model.name}")
