"""The world as a source of documents: item number i depends on the seed and i alone.

In: a `WorldConfig`. Out: documents for training and evaluation, texts for the tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from mogao.config import WorldConfig
from mogao.data.world.choice import pick_weighted
from mogao.data.world.draw import FAMILIES, FORMS, family_weights
from mogao.data.world.recipes import RECIPES, make, write
from mogao.data.world.splits import Settings
from mogao.errors import ConfigError, nearest
from mogao.sequence import InterleavedSequence


class World:
    """Endless documents with random access; cheap to make, so nothing is stored.

    Args:
        config: Recipes, families and forms with weights, split, seed, styles, most objects, cycle.

    Raises:
        ConfigError: A recipe, family, form or style is unknown, or the weights are not positive.
    """

    def __init__(self, config: WorldConfig) -> None:
        _check_weights("recipes", config.recipes, known=RECIPES)
        _check_weights("families", config.families, known=FAMILIES)
        _check_weights("forms", config.forms, known=FORMS)
        for key, weights in (("recipes", config.recipes), ("forms", config.forms or FORMS)):
            if not sum(weights.values()):
                raise ConfigError(f"{key}: all weights are 0; give at least one a positive weight")
        self.config = config
        self.settings = Settings.from_config(config)
        if not sum(family_weights(self.settings).values()):
            raise ConfigError(
                f"families: none with a positive weight has at most {config.max_objects} objects; "
                "raise max_objects or name another family"
            )

    def item(self, index: int) -> InterleavedSequence:
        """Document number `index`, 0 or more; the same every time, on every machine."""
        name, rng, index = self._draw(index)
        record_id = f"world-{self.config.split}-{self.config.seed}-{index}"
        return make(name, rng, self.settings, record_id=record_id)

    def items(self, start: int = 0) -> Iterator[InterleavedSequence]:
        """All documents from `start` on, without end."""
        while True:
            yield self.item(start)
            start += 1

    def texts(self, count: int) -> Iterator[str]:
        """Every text of the first `count` documents, without painting pictures."""
        for index in range(count):
            name, rng, _ = self._draw(index)
            yield from write(name, rng, self.settings).texts

    def _draw(self, index: int) -> tuple[str, np.random.Generator, int]:
        if self.config.cycle:
            index %= self.config.cycle
        rng = np.random.default_rng([self.config.seed, index])
        weights = {name: weight for name, weight in self.config.recipes.items() if weight}
        return pick_weighted(rng, weights), rng, index


def _check_weights(key: str, weights: Mapping[str, float], *, known: Collection[str]) -> None:
    """Refuse unknown names and weights that are no numbers from 0 on."""
    for name, weight in weights.items():
        if name not in known:
            raise ConfigError(f"{key}: got {name!r}; {nearest(name, known)}")
        if not 0 <= weight < math.inf:
            raise ConfigError(f"{key}.{name}: got weight {weight}, expected 0 or more")
