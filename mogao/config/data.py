"""Where training sequences come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mogao.config.base import Config, Count, Probability


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
    concepts: tuple[str, ...] = ()
    """Things that scenes may show and texts may name, at least 8; empty takes all of the world."""
    colours: tuple[str, ...] = ()
    """Colours that things may be painted in; empty takes all ten."""
    backgrounds: tuple[str, ...] = ()
    """Backgrounds that scenes may have; empty takes all fourteen."""
    grid: int = 16
    """Corners of things lie on multiples of so many 128ths of a picture's side, 1 to 32. A model
    learns a thing soonest where that is a whole number of generation tokens."""
    pixels: Annotated[int, Field(ge=16, le=1024)] = 128
    """Side of the pictures."""
    families: dict[str, float] = {}
    """Family of scenes to weight, for drawings, captions and questions; names in
    `mogao.data.world.draw.FAMILIES`. Empty takes the weights there."""
    forms: dict[str, float] = {}
    """Form of a drawing's text to weight: `geneval` or level of detail `1`, `2`, `3` (which alone
    names every place). Empty takes the weights of `mogao.data.world.draw.FORMS`."""
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


SourceConfig = Annotated[WorldConfig | RecordsConfig, Field(discriminator="kind")]


class MixtureConfig(Config):
    """Several sources drawn by weight."""

    kind: Literal["mixture"] = "mixture"
    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    weights: tuple[Annotated[float, Field(gt=0)], ...]
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _same_length(self) -> MixtureConfig:
        if len(self.sources) != len(self.weights):
            raise ValueError("sources and weights must have the same length")
        return self


DataConfig = Annotated[WorldConfig | RecordsConfig | MixtureConfig, Field(discriminator="kind")]


def reseeded(data: DataConfig, *, by: int, endless: bool = True) -> DataConfig:
    """Return the same kind of data with other seeds: other scenes of a world, another order.

    Args:
        data: Any data.
        by: Added to every seed.
        endless: Worlds that repeat their first items stop doing so.
    """
    if isinstance(data, MixtureConfig):
        sources = tuple(reseeded(source, by=by, endless=endless) for source in data.sources)
        return data.model_copy(update={"sources": sources, "seed": data.seed + by})
    changes: dict[str, int] = {"seed": data.seed + by}
    if isinstance(data, WorldConfig) and endless:
        changes["cycle"] = 0
    return data.model_copy(update=changes)
