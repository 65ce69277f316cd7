"""The atlas covers GenEval, stays small, and its sprites take colours that read back."""

from pathlib import Path

import numpy as np
import pytest

from mogao.data.world import atlas
from mogao.data.world.colours import COLOURS, nearest_colour, recolour
from mogao.data.world.vocabulary import EXTRA, GENEVAL
from mogao.errors import DataError

FOLDER = Path(atlas.__file__).parent / "atlas"
# The 80 object names of the GenEval benchmark (MIT licence), in its spelling.
GENEVAL_CLASSES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, dining table, toilet, tv, laptop, computer mouse, tv remote,
computer keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""


def test_every_geneval_class_is_covered() -> None:
    flagged = {name for name, known in atlas.concepts().items() if known.geneval}
    assert flagged == {name.strip() for name in GENEVAL_CLASSES.split(",")}
    assert len(flagged) == 80


def test_atlas_agrees_with_the_vocabulary() -> None:
    words = [*GENEVAL, *EXTRA]
    assert [(w.id, w.plural, w.category) for w in words] == [
        (c.id, c.plural, c.category) for c in atlas.concepts().values()
    ]


def test_atlas_stays_below_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 2_000_000


@pytest.mark.parametrize("style", atlas.STYLES)
def test_every_sprite_fills_its_cell(style: str) -> None:
    for name in atlas.concepts():
        picture = np.asarray(atlas.sprite(name, style=style, colour=None, pixels=64, flip=False))
        assert picture.shape == (64, 64, 4)
        height, width = atlas.extent(name, style)
        assert max(height, width) > 0.9, name
        assert (picture[..., 3] > 127).mean() > 0.08, name


def test_no_two_sprites_of_a_style_are_alike() -> None:
    for style in atlas.STYLES:
        flat = np.stack(
            [
                np.asarray(atlas.sprite(n, style=style, colour=None, pixels=16, flip=False))
                for n in atlas.concepts()
            ]
        ).astype(np.float32)
        rows = flat.reshape(len(flat), -1)
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1) / rows.shape[1] ** 0.5
        np.fill_diagonal(distances, np.inf)
        assert distances.min() > 12


@pytest.mark.parametrize("style", atlas.STYLES)
def test_colours_read_back_from_painted_sprites(style: str) -> None:
    painted, right = 0, 0
    for name, known in list(atlas.concepts().items())[::3]:
        if known.colourable:
            for colour in COLOURS:
                picture = atlas.sprite(name, style=style, colour=colour, pixels=64, flip=False)
                painted += 1
                right += nearest_colour(np.asarray(picture), share=0.3) == colour
    assert right / painted > 0.99


def test_recolour_keeps_shape_and_input() -> None:
    cell = np.asarray(atlas.sprite("car", style="noto", colour=None, pixels=64, flip=False))
    before = cell.copy()
    result = recolour(cell, "blue")
    assert np.array_equal(cell, before)
    assert np.array_equal(result[..., 3], before[..., 3])
    assert not np.array_equal(result, before)


def test_nearest_colour_of_nothing_is_none() -> None:
    assert nearest_colour(np.zeros((4, 4, 4), dtype=np.uint8)) is None


def test_a_sprite_is_made_once_and_flips() -> None:
    first = atlas.sprite("dog", style="noto", colour="red", pixels=44, flip=False)
    assert atlas.sprite("dog", style="noto", colour="red", pixels=44, flip=False) is first
    flipped = atlas.sprite("dog", style="noto", colour="red", pixels=44, flip=True)
    difference = np.asarray(flipped)[:, ::-1].astype(int) - np.asarray(first).astype(int)
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"name": "dogg"}, "did you mean 'dog'"),
        ({"style": "notto"}, "did you mean 'noto'"),
        ({"colour": "greeen"}, "did you mean 'green'"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(wrong: dict[str, str], hint: str) -> None:
    right = {"name": "dog", "style": "noto", "colour": "red"}
    with pytest.raises(DataError, match=hint):
        atlas.sprite(**(right | wrong), pixels=32, flip=False)


def test_only_what_styles_draw_alike_is_alike() -> None:
    assert atlas.alike("bowl", "red")  # one drawing of ours, painted over
    assert not atlas.alike("bowl", None)  # each style has its own colours
    assert not atlas.alike("cat", "red")
    with pytest.raises(DataError, match="cat"):
        atlas.alike("kat", None)
