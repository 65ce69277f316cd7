"""What is kept out of training, by a seeded rule, so that composition can be measured.

In: scenes and the atlas. Out: `is_held_out` and the `Settings` that recipes draw with. Four kinds
are held out: whole concepts (never a GenEval class), concept-colour pairs, concept-style pairs and
unordered pairs of concepts in one scene. Training never shows one; a held-out item always does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Literal

from mogao.config import WorldConfig
from mogao.data.world import atlas
from mogao.data.world.scene import Scene
from mogao.errors import ConfigError, nearest

Split = Literal["train", "heldout"]
RULE_SEED = 2505  # part of the definition of the world, not of a run
CONCEPT_SHARE = 0.2  # of the concepts outside GenEval that play no hero
COLOUR_SHARE = 0.08
STYLE_SHARE = 0.06
PAIR_SHARE = 0.08
HEROES = (
    "fox", "rabbit", "penguin", "frog", "owl", "lion", "pig", "turtle", "duck", "robot",
    "cat", "dog", "bear", "elephant", "horse", "snowman",
)  # fmt: skip
"""Who stories are about; none is a held-out concept."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What recipes may draw from.

    Attributes:
        split: train never shows anything held out, heldout always does.
        styles: Styles of the pictures.
        max_objects: Most objects in a scene, 1 to 6.
        families: Family of scenes to weight; empty takes those of `mogao.data.world.draw`.
        forms: Form of a drawing's text to weight; empty takes those of `mogao.data.world.draw`.
    """

    split: Split = "train"
    styles: tuple[str, ...] = atlas.STYLES
    max_objects: int = 4
    families: Mapping[str, float] = field(default_factory=dict)
    forms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: WorldConfig) -> Settings:
        """Take over the fields of a config.

        Raises:
            ConfigError: A style is unknown, or none is given.
        """
        for style in config.styles:
            if style not in atlas.STYLES:
                raise ConfigError(f"styles: got {style!r}; {nearest(style, atlas.STYLES)}")
        if not config.styles:
            raise ConfigError(f"styles: got none, expected some of {', '.join(atlas.STYLES)}")
        return cls(config.split, config.styles, config.max_objects, config.families, config.forms)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concepts that may be shown or named."""
        return known_concepts() if self.split == "train" else tuple(atlas.concepts())


@cache
def known_concepts() -> tuple[str, ...]:
    """The concepts of training, in atlas order."""
    return tuple(name for name in atlas.concepts() if not concept_is_held_out(name))


@cache
def concept_is_held_out(concept: str) -> bool:
    """Whether training never shows or names this concept."""
    if atlas.concept(concept).geneval or concept in HEROES:
        return False
    return _chance("concept", concept) < CONCEPT_SHARE


@cache
def colour_is_held_out(concept: str, colour: str) -> bool:
    """Whether training never shows this concept in this colour."""
    return _chance("colour", concept, colour) < COLOUR_SHARE


@cache
def style_is_held_out(concept: str, style: str) -> bool:
    """Whether training never shows this concept in this style; at most one style is held out."""
    if _chance("style", concept) >= STYLE_SHARE:
        return False
    index = int(_chance("which style", concept) * len(atlas.STYLES))
    return style == atlas.STYLES[index]


@cache
def pair_is_held_out(first: str, second: str) -> bool:
    """Whether training never shows these two concepts together; the order does not matter."""
    return first != second and _chance("pair", *sorted((first, second))) < PAIR_SHARE


def objects_held_out(objects: Iterable[tuple[str, str | None]], style: str) -> bool:
    """Whether (concept, colour) pairs shown together in a style contain anything held out."""
    objects = list(objects)
    if any(
        concept_is_held_out(concept)
        or style_is_held_out(concept, style)
        or (colour is not None and colour_is_held_out(concept, colour))
        for concept, colour in objects
    ):
        return True
    return any(pair_is_held_out(a, b) for (a, _), (b, _) in combinations(objects, 2))


def is_held_out(scene: Scene) -> bool:
    """Whether a scene shows anything that training never shows."""
    return objects_held_out(((item.concept, item.colour) for item in scene.objects), scene.style)


def fits(split: Split, scenes: Sequence[Scene], mentions: Iterable[str] = ()) -> bool:
    """Whether scenes, and concepts that are only named, may stand in an item of a split."""
    held_out = any(is_held_out(scene) for scene in scenes)
    if split == "heldout":
        return held_out
    return not held_out and not any(concept_is_held_out(name) for name in mentions)


def _chance(*key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    text = "/".join((str(RULE_SEED), *key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
