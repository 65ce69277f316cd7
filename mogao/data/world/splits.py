"""What is kept out of training, by a seeded rule, so that composition can be measured.

In: scenes and the atlas. Out: `is_held_out` and the `Settings` that recipes draw with. Four kinds
are held out: whole concepts (never a GenEval class), concept-colour pairs, concept-style pairs and
unordered pairs of concepts in one scene. Training never shows one; a held-out item always does, and
an unseen one shows what training knows, in a colour or beside a thing as training never showed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import combinations
from typing import Literal

from mogao.config import WorldConfig
from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS
from mogao.data.world.colours import COLOURS
from mogao.data.world.sampling import GRID, MAX_GRID, WHOLE, Stage
from mogao.data.world.scene import CANVAS, Scene
from mogao.errors import ConfigError, nearest

Split = Literal["train", "heldout", "unseen"]
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
MIN_CONCEPTS = 8
"""Fewest concepts of a smaller world: a question may be about one that six things do not show."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What recipes may draw from.

    Attributes:
        split: train never shows anything held out, heldout always does; unseen does so too, but
            with concepts and styles that training knows.
        styles: Styles of the pictures.
        max_objects: Most objects in a scene, 1 to 6.
        families: Family of scenes to weight; empty takes those of `mogao.data.world.draw`.
        forms: Form of a drawing's text to weight; empty takes those of `mogao.data.world.draw`.
        names: Concepts of a smaller world; empty takes all.
        colours: Colours that things may be painted in.
        stage: Where things are shown.
    """

    split: Split = "train"
    styles: tuple[str, ...] = atlas.STYLES
    max_objects: int = 4
    families: Mapping[str, float] = field(default_factory=dict)
    forms: Mapping[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    colours: tuple[str, ...] = tuple(COLOURS)
    stage: Stage = WHOLE

    @classmethod
    def from_config(cls, config: WorldConfig) -> Settings:
        """Take over the fields of a config.

        Raises:
            ConfigError: See `of_world`.
        """
        small = cls.of_world(
            config.styles,
            concepts=config.concepts,
            colours=config.colours,
            backgrounds=config.backgrounds,
            grid=config.grid,
            pixels=config.pixels,
            split=config.split,
        )
        return replace(
            small,
            max_objects=config.max_objects,
            families=config.families,
            forms=config.forms,
        )

    @classmethod
    def of_world(
        cls,
        styles: Sequence[str],
        *,
        concepts: Sequence[str] = (),
        colours: Sequence[str] = (),
        backgrounds: Sequence[str] = (),
        grid: int = GRID,
        pixels: int = CANVAS,
        split: Split = "train",
    ) -> Settings:
        """Return settings of the whole world or of a smaller one.

        Args:
            styles: Of the pictures, at least one.
            concepts: Empty takes all, else at least `MIN_CONCEPTS`.
            colours: Empty takes all.
            backgrounds: Empty takes all.
            grid: See `Stage`.
            pixels: Side of the pictures.
            split: What may be drawn.

        Raises:
            ConfigError: A name is unknown, there are too few, or the grid is out of range.
        """
        checks = {
            "styles": (styles, atlas.STYLES),
            "concepts": (concepts, atlas.concepts()),
            "colours": (colours, COLOURS),
            "backgrounds": (backgrounds, BACKGROUNDS),
        }
        for key, (given, known) in checks.items():
            for name in given:
                if name not in known:
                    raise ConfigError(f"{key}: got {name!r}; {nearest(name, known)}")
        if not 1 <= grid <= MAX_GRID:
            raise ConfigError(f"grid: got {grid}, expected 1 to {MAX_GRID}")
        if not styles:
            raise ConfigError(f"styles: got none, expected some of {', '.join(atlas.STYLES)}")
        if concepts and len(_known_among(tuple(concepts))) < MIN_CONCEPTS:
            raise ConfigError(
                f"concepts: got {len(concepts)}, expected at least {MIN_CONCEPTS} that training "
                "may show"
            )
        return cls(
            split=split,
            styles=tuple(styles),
            names=tuple(concepts),
            colours=tuple(colours or COLOURS),
            stage=Stage(tuple(backgrounds) or WHOLE.backgrounds, grid, pixels),
        )

    @property
    def concepts(self) -> tuple[str, ...]:
        """Concepts that may be shown or named."""
        if self.split != "heldout":
            return _known_among(self.names) if self.names else known_concepts()
        return self.names or tuple(atlas.concepts())


@lru_cache(maxsize=64)
def _known_among(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in known_concepts() if name in names)


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


def shows_known(scene: Scene) -> bool:
    """Whether training shows each thing of a scene, and in its style."""
    return not any(
        concept_is_held_out(item.concept) or style_is_held_out(item.concept, scene.style)
        for item in scene.objects
    )


def fits(split: Split, scenes: Sequence[Scene], mentions: Iterable[str] = ()) -> bool:
    """Whether scenes, and concepts that are only named, may stand in an item of a split."""
    held_out = any(is_held_out(scene) for scene in scenes)
    if split == "heldout":
        return held_out
    if any(concept_is_held_out(name) for name in mentions):
        return False
    return not held_out if split == "train" else held_out and all(map(shows_known, scenes))


def _chance(*key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    text = "/".join((str(RULE_SEED), *key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
