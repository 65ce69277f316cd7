"""A script: a document of the world before its pictures are painted.

In: lines of text and scenes from the recipes. Out: an `InterleavedSequence` with rendered pictures.
Scripts are cheap, so recipes may draw several and keep the one that fits the split.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mogao.data.world.choice import pick
from mogao.data.world.scene import Scene, render
from mogao.data.world.splits import Settings
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment


@dataclass(frozen=True, slots=True)
class Line:
    """One segment to be: a text, or a scene to be painted.

    Attributes:
        content: The text or the scene.
        role: Who wrote or drew it.
        weight: Factor on the loss of a text.
    """

    content: str | Scene
    role: Role = "model"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Script:
    """A document before painting.

    Attributes:
        lines: Text and scenes in reading order.
        truth: Exact facts behind the texts (plain data), scenes excluded.
        mentions: Concepts that texts name although no scene may show them.
    """

    lines: tuple[Line, ...]
    truth: dict[str, Any] = field(default_factory=dict)
    mentions: tuple[str, ...] = ()

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The scenes in reading order."""
        return tuple(line.content for line in self.lines if isinstance(line.content, Scene))

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts in reading order."""
        return tuple(line.content for line in self.lines if isinstance(line.content, str))


@dataclass(frozen=True, slots=True)
class Situation:
    """What a question or an edit is drawn from: a generator, the settings and a scene."""

    rng: np.random.Generator
    settings: Settings
    scene: Scene

    @property
    def shown(self) -> tuple[str, ...]:
        """Concepts in the scene, each once, sorted."""
        return tuple(sorted({item.concept for item in self.scene.objects}))

    def absent(self) -> str:
        """Draw a concept that the scene does not show."""
        shown = self.shown
        while True:
            name = pick(self.rng, self.settings.concepts)
            if name not in shown:
                return name


def realise(script: Script, *, recipe: str, name: str = "") -> InterleavedSequence:
    """Paint the scenes of a script; `meta` holds the recipe's name and the whole truth."""
    segments: list[Segment] = []
    for line in script.lines:
        if isinstance(line.content, Scene):
            segments.append(ImageSegment(render(line.content), role=line.role))
        else:
            segments.append(TextSegment(line.content, role=line.role, weight=line.weight))
    truth = {**script.truth, "scenes": [scene.to_json() for scene in script.scenes]}
    return InterleavedSequence(tuple(segments), id=name, meta={"recipe": recipe, "truth": truth})
