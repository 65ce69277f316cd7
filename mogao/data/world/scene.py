"""A scene: the exact truth of a picture, its JSON form and its rendering.

In: names of the atlas and of the backgrounds. Out: frozen values and RGB bytes. The JSON is the
ground truth of every text of the world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mogao.data.world import atlas
from mogao.data.world.backgrounds import background

CANVAS = 128  # coordinates and sizes are in pixels of this canvas, whatever the picture's side
Size = Literal["small", "medium", "large"]
SIZES: dict[Size, int] = {"small": 32, "medium": 48, "large": 64}
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One sprite in a scene.

    Attributes:
        concept: Concept id.
        colour: A GenEval colour, or None for the natural look.
        size: small, medium or large: 32, 48 or 64 pixels of the canvas.
        x: Centre, pixels of the canvas from the left, in [0, 128].
        y: Centre, pixels of the canvas from the top, in [0, 128].
        flip: Mirrored left to right.
    """

    concept: str
    colour: str | None = None
    size: Size = "medium"
    x: int = CANVAS // 2
    y: int = CANVAS // 2
    flip: bool = False

    @property
    def cell(self) -> Box:
        """The square in which the sprite lies; nothing outside it is painted."""
        half = SIZES[self.size] / 2
        return self.x - half, self.y - half, self.x + half, self.y + half

    def box(self, style: str) -> Box:
        """The tight box of what is painted, on the canvas."""
        height, width = atlas.extent(self.concept, style)
        half = SIZES[self.size] / 2
        return (
            self.x - half * width,
            self.y - half * height,
            self.x + half * width,
            self.y + half * height,
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows.

    Attributes:
        background: Name in `backgrounds.BACKGROUNDS`.
        style: Name in `atlas.STYLES`; all objects share it.
        objects: Painted in this order; later ones lie on top.
        pixels: Side of the rendered picture.
    """

    background: str
    style: str
    objects: tuple[SceneObject, ...] = ()
    pixels: int = CANVAS

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Scene.from_json` reads it back."""
        return {
            "background": self.background,
            "style": self.style,
            "pixels": self.pixels,
            "objects": [
                {
                    "concept": item.concept,
                    "colour": item.colour,
                    "size": item.size,
                    "x": item.x,
                    "y": item.y,
                    "flip": item.flip,
                }
                for item in self.objects
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scene:
        """Read what `to_json` wrote."""
        objects = tuple(SceneObject(**item) for item in data["objects"])
        return cls(data["background"], data["style"], objects, data["pixels"])


def render(scene: Scene) -> NDArray[np.uint8]:
    """Paint a scene as RGB bytes [pixels, pixels, 3].

    Raises:
        DataError: A background, style, concept or colour is unknown.
    """
    picture = _canvas(scene.background, scene.pixels).copy()
    scale = scene.pixels / CANVAS
    for item in scene.objects:
        side = round(SIZES[item.size] * scale)
        sprite = atlas.sprite(
            item.concept, style=scene.style, colour=item.colour, pixels=side, flip=item.flip
        )
        corner = (round(item.x * scale) - side // 2, round(item.y * scale) - side // 2)
        picture.paste(sprite, corner, sprite)
    return np.array(picture)


@lru_cache(maxsize=256)
def _canvas(name: str, pixels: int) -> Image.Image:
    return Image.fromarray(background(name, pixels))
