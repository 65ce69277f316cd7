"""A smaller world, as tests use it: 16 concepts, 6 colours, pictures of 64 pixels."""

from __future__ import annotations

from mogao.data.world.splits import Settings

CONCEPTS = (
    "cat", "dog", "pig", "owl", "turtle", "apple", "banana", "carrot", "mushroom", "umbrella",
    "key", "car", "boat", "tree", "cactus", "chair",
)  # fmt: skip
PAINTS = ("red", "orange", "yellow", "green", "blue", "purple")
SMALL = Settings.of_world(("noto",), concepts=CONCEPTS, colours=PAINTS, pixels=64)
