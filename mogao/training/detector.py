"""Training of the detector that judges pictures of the world.

In: a `RunConfig` with a detector task on the world. Out: a `Task` whose model folder is the
detector's. Scenes are drawn from all concepts: held-out splits concern the model that is judged,
never its judge. Half of the pictures pass an autoencoder, some with noise on their latents, since
those that are judged come out of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from mogao.config import DetectorConfig, DetectorTask, RunConfig, WorldConfig
from mogao.data.world import atlas
from mogao.data.world.sampling import sample_scene
from mogao.data.world.scene import SIZES, Scene, SceneObject, render
from mogao.errors import ConfigError
from mogao.evaluation.judges.detector import DetectorJudge, vocabulary
from mogao.evaluation.judges.report import Report
from mogao.evaluation.rules.agreement import agrees
from mogao.files import atomic_write
from mogao.model.detector import CELL, UNIT_SIZE, Detections, Detector
from mogao.model.vae import Autoencoder, pixels_to_tensor, tensor_to_pixels
from mogao.training import parallel
from mogao.training.checkpoint import checkpoint_name
from mogao.training.parts import load_model
from mogao.training.pictures import UNSEEN_SEED
from mogao.training.task import Metrics

REPORT_SCENES = 96
CHANGED_SHARE = 0.5  # of pictures that pass the autoencoder
MOST_NOISE = 0.6  # on latents of unit variance, for pictures of models that draw badly
SHIFT = 5  # most pixels that a picture is moved: things of a model lie on no grid
PLACE_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class DetectorBatch:
    """One micro-batch: pictures, and what lies in the cells that hold a centre.

    Attributes:
        pixels: In [-1, 1].
        heat: 1 at a centre, 0 elsewhere, -1 around a centre where either is right.
        cells: Picture, row and column of each thing.
        place: Columns of `Detections.place` for each thing.
        concepts: Of each thing.
        styles: Of each thing.
        colours: Of each thing; -1 where none is known.
        backgrounds: Of each picture.
    """

    pixels: Float32[Tensor, "pictures 3 height width"]
    heat: Float32[Tensor, "pictures rows cols"]
    cells: Int64[Tensor, "things 3"]
    place: Float32[Tensor, "things 3"]
    concepts: Int64[Tensor, " things"]
    styles: Int64[Tensor, " things"]
    colours: Int64[Tensor, " things"]
    backgrounds: Int64[Tensor, " pictures"]


class DetectorTraining:
    """The detector task; see `mogao.training.task.Task`."""

    def __init__(self, config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        """Build the network and load the autoencoder.

        Raises:
            ConfigError: The data is not the world.
            CheckpointError: The model whose autoencoder pictures pass is missing or unsafe.
        """
        assert isinstance(config.task, DetectorTask)
        if not isinstance(config.data, WorldConfig):
            raise ConfigError("a detector learns from the world: data.kind must be world")
        self.task, self.data, self.device = config.task, config.data, device
        self.seed = config.seed
        shape = vocabulary(widths=config.task.widths, depths=config.task.depths)
        self.module = Detector(shape, compute_dtype=dtype, seed=config.seed).to(device)
        self._autoencoder: Autoencoder = load_model(config.task.autoencoder_from)[0].autoencoder
        self._autoencoder.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._step = 0

    def matrices(self) -> dict[str, tuple[int, ...]]:
        """Return the convolutions of all blocks, each one matrix [out, in x 9]."""
        return {
            name: ()
            for name, parameter in self.module.named_parameters()
            if parameter.ndim == 4 and ".convolutions." in name
        }

    def next_batch(self) -> DetectorBatch:
        """Draw scenes that depend on seeds, step and rank alone, and paint them."""
        rng = np.random.default_rng([self.data.seed, self.seed, self._step, parallel.rank()])
        self._step += 1
        scenes = [self._scene(rng) for _ in range(self.task.batch_images)]
        pixels = self._changed(pixels_to_tensor([render(scene) for scene in scenes]), rng)
        moves = rng.integers(-SHIFT, SHIFT + 1, size=(len(scenes), 2))
        rolled = torch.stack(
            [_moved(one, *move) for one, move in zip(pixels, moves.tolist(), strict=True)]
        )
        return targets(scenes, moves, pixels=rolled, vocabulary=self.module.config)

    def weights(self, batch: DetectorBatch) -> dict[str, float]:
        """Return the numbers of pictures and of things."""
        return {"pictures": float(len(batch.pixels)), "things": float(len(batch.cells))}

    def losses(
        self,
        batch: DetectorBatch,
        normalisers: Mapping[str, float],
        generator: torch.Generator,  # noqa: ARG002 - part of the Task protocol
    ) -> tuple[Float32[Tensor, ""], Metrics]:
        """Return the sum of all losses, and each of them as a mean."""
        found = self.module(batch.pixels.to(self.device))
        parts = loss_sums(found, batch)
        things = max(normalisers["things"], 1.0)
        parts = {
            name: loss / (normalisers["pictures"] if name == "backgrounds" else things)
            for name, loss in parts.items()
        }
        total = torch.stack(
            [loss * (PLACE_WEIGHT if name == "place" else 1.0) for name, loss in parts.items()]
        ).sum()
        return total, {name: loss.detach() for name, loss in parts.items()}

    def tokens(self, batch: DetectorBatch) -> dict[str, int]:
        """Return counts; a token is a cell here."""
        return {"tokens": batch.heat.numel(), "padding": 0, "samples": len(batch.pixels)}

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches drawn."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any], *, same_data: bool) -> None:
        """Continue behind the last batch; other data begins anew."""
        if same_data:
            self._step = int(state["step"])

    def write_samples(
        self,
        folder: Path,
        step: int,
        generator: torch.Generator,  # noqa: ARG002 - part of the Task protocol
    ) -> None:
        """Write `step-N.json`: the share of unseen scenes that are read without any mistake."""
        rng = np.random.default_rng([self.data.seed + UNSEEN_SEED, self.seed])
        scenes = [self._scene(rng) for _ in range(REPORT_SCENES)]
        pixels = pixels_to_tensor([render(scene) for scene in scenes])
        seen = {"clean": pixels, "autoencoder": self._round_trip(pixels, noise=0.0)}
        judge = DetectorJudge(self.module)
        report: dict[str, float] = {"step": step}
        for name, pictures in seen.items():
            read = [judge.read(picture) for picture in tensor_to_pixels(pictures)]
            report[name] = _right(read, scenes)
        atomic_write(folder / f"{checkpoint_name(step)}.json", json.dumps(report) + "\n")

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the detector's folder; the averaged weights are in the network already."""
        del weights
        self.module.save(folder)

    def _scene(self, rng: np.random.Generator) -> Scene:
        return sample_scene(rng, styles=self.data.styles, max_objects=self.data.max_objects)

    def _changed(
        self, pixels: Float32[Tensor, "pictures 3 height width"], rng: np.random.Generator
    ) -> Float32[Tensor, "pictures 3 height width"]:
        """Send a share of the pictures through the autoencoder, with more or less noise."""
        count = round(CHANGED_SHARE * len(pixels))
        noise = MOST_NOISE * float(rng.random()) ** 2
        seed = int(rng.integers(2**62))
        return torch.cat([self._round_trip(pixels[:count], noise=noise, seed=seed), pixels[count:]])

    @torch.no_grad()
    def _round_trip(
        self, pixels: Float32[Tensor, "pictures 3 height width"], *, noise: float, seed: int = 0
    ) -> Float32[Tensor, "pictures 3 height width"]:
        latents = self._autoencoder.encode(pixels.to(self.device))
        generator = torch.Generator(self.device).manual_seed(seed)
        drawn = torch.randn(latents.shape, generator=generator, device=self.device)
        return self._autoencoder.decode(latents + noise * drawn).clamp(-1, 1).cpu()


def targets(
    scenes: Sequence[Scene],
    moves: np.ndarray,
    *,
    pixels: Float32[Tensor, "pictures 3 height width"],
    vocabulary: DetectorConfig,
) -> DetectorBatch:
    """Return what a perfect detector says of pictures.

    Args:
        scenes: What they show.
        moves: Pixels right and down that each picture was moved [pictures, 2].
        pixels: The pictures.
        vocabulary: Names in the order of the network's columns.
    """
    rows, cols = pixels.shape[2] // CELL, pixels.shape[3] // CELL
    heat = torch.zeros(len(scenes), rows, cols)
    cells: list[tuple[int, int, int]] = []
    place: list[tuple[float, float, float]] = []
    names: list[tuple[int, int, int]] = []
    for number, (scene, (right, down)) in enumerate(zip(scenes, moves.tolist(), strict=True)):
        for item in scene.objects:
            across, below = (item.x + right) / CELL, (item.y + down) / CELL
            row, col = min(round(below), rows - 1), min(round(across), cols - 1)
            around = heat[number, max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
            around[around == 0] = -1
            cells.append((number, row, col))
            place.append((across - col, below - row, math.log2(SIZES[item.size] / UNIT_SIZE)))
            names.append(_columns(item, scene.style, vocabulary))
    index = torch.tensor(cells)
    heat[tuple(index.T)] = 1
    concepts, styles, colours = torch.tensor(names).unbind(1)
    grounds = torch.tensor([vocabulary.backgrounds.index(scene.background) for scene in scenes])
    return DetectorBatch(
        pixels, heat, index, torch.tensor(place), concepts, styles, colours, grounds
    )


def loss_sums(found: Detections, batch: DetectorBatch) -> dict[str, Float32[Tensor, ""]]:
    """Return the losses summed over a batch: each thing counts once, each background once."""
    heat = batch.heat.to(found.centre.device)
    cells = tuple(batch.cells.to(heat.device).T)
    centre = F.binary_cross_entropy_with_logits(found.centre, heat.clamp(min=0), reduction="none")
    logits = {
        "concepts": (found.concepts[cells], batch.concepts),
        "styles": (found.styles[cells], batch.styles),
        "colours": (found.colours[cells], batch.colours),
        "backgrounds": (found.backgrounds, batch.backgrounds),
    }
    named = {
        name: F.cross_entropy(scores, right.to(heat.device), ignore_index=-1, reduction="sum")
        for name, (scores, right) in logits.items()
    }
    error = (found.place[cells] - batch.place.to(heat.device)).abs().sum()
    return {"centre": (centre * (heat >= 0)).sum(), "place": error, **named}


def _columns(item: SceneObject, style: str, names: DetectorConfig) -> tuple[int, int, int]:
    colour = item.colour or atlas.concept(item.concept).natural[style]
    return (
        names.concepts.index(item.concept),
        names.styles.index(style),
        names.colours.index(colour) if colour else -1,
    )


def _moved(picture: Tensor, right: int, down: int) -> Tensor:
    """Move a picture; what comes in at a border repeats it."""
    height, width = picture.shape[1:]
    padded = F.pad(picture[None], (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")[0]
    return padded[:, SHIFT - down : SHIFT - down + height, SHIFT - right : SHIFT - right + width]


def _right(reports: Sequence[Report], scenes: Sequence[Scene]) -> float:
    pairs = zip(reports, scenes, strict=True)
    return sum(agrees(report, scene) for report, scene in pairs) / len(scenes)
