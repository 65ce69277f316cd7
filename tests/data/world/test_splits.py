"""Hold-outs follow a fixed rule: never a GenEval class, never in training, always in held-out."""

from itertools import combinations

import numpy as np
import pytest

from mogao.config import WorldConfig
from mogao.data.world import atlas
from mogao.data.world.colours import COLOURS
from mogao.data.world.recipes import RECIPES, write
from mogao.data.world.scene import Scene, SceneObject
from mogao.data.world.splits import (
    HEROES,
    Settings,
    Split,
    colour_is_held_out,
    concept_is_held_out,
    fits,
    is_held_out,
    known_concepts,
    pair_is_held_out,
    style_is_held_out,
)
from mogao.errors import ConfigError

NAMES = tuple(atlas.concepts())


def test_held_out_concepts_are_neither_geneval_classes_nor_heroes() -> None:
    held = [name for name in NAMES if concept_is_held_out(name)]
    assert 4 <= len(held) <= 12
    assert not any(atlas.concept(name).geneval or name in HEROES for name in held)
    assert set(known_concepts()) == set(NAMES) - set(held)


def test_shares_of_held_out_pairs_are_as_stated() -> None:
    colours = [colour_is_held_out(name, colour) for name in NAMES for colour in COLOURS]
    pairs = [pair_is_held_out(a, b) for a, b in combinations(NAMES, 2)]
    assert 0.05 < np.mean(colours) < 0.11
    assert 0.06 < np.mean(pairs) < 0.10
    assert pair_is_held_out("cat", "dog") == pair_is_held_out("dog", "cat")
    assert not any(pair_is_held_out(name, name) for name in NAMES)


def test_every_concept_keeps_a_style() -> None:
    held = [[style_is_held_out(name, style) for style in atlas.STYLES] for name in NAMES]
    assert max(sum(row) for row in held) == 1


def test_the_rule_is_frozen() -> None:
    # A changed rule would leak held-out pairs into checkpoints trained before.
    held = [name for name in NAMES if concept_is_held_out(name)]
    assert held == ["star", "moon", "flower", "house", "helicopter", "crown", "strawberry"]
    assert sum(colour_is_held_out(n, c) for n in NAMES for c in COLOURS) == 101
    assert sum(pair_is_held_out(a, b) for a, b in combinations(NAMES, 2)) == 604


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("split", ["train", "heldout", "unseen"])
def test_items_keep_the_split(recipe: str, split: Split) -> None:
    settings = Settings(split=split)
    for seed in range(16):
        script = write(recipe, np.random.default_rng(seed), settings)
        held = [is_held_out(scene) for scene in script.scenes]
        assert any(held) == (split != "train")
        if split != "heldout":
            shown = [one.concept for scene in script.scenes for one in scene.objects]
            assert not any(map(concept_is_held_out, (*shown, *script.mentions)))


def test_a_text_may_not_name_a_held_out_concept_in_training() -> None:
    scene = Scene("white", "noto", (SceneObject("cat"),))
    assert fits("train", [scene], ["dog"])
    assert not fits("train", [scene], ["star"])


def test_settings_refuse_unknown_styles() -> None:
    with pytest.raises(ConfigError, match="did you mean 'noto'"):
        Settings.from_config(WorldConfig(styles=("notto",)))
    with pytest.raises(ConfigError, match="got none"):
        Settings.from_config(WorldConfig(styles=()))
