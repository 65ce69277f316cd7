"""The judge reads real pictures of the world."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS, background
from mogao.data.world.choice import pick
from mogao.data.world.colours import COLOURS
from mogao.data.world.sampling import compose, grounds_for, sample_scene
from mogao.data.world.scene import SIZES, Scene, SceneObject, render
from mogao.errors import RequestError
from mogao.evaluation.judges.bank import COARSE, FINE, MIDDLE
from mogao.evaluation.judges.correlation import CorrelationJudge, Picture
from mogao.evaluation.judges.crops import find_background, find_pieces, foregrounds
from mogao.evaluation.judges.windows import Grids, windows
from mogao.evaluation.rules.agreement import read_against

JUDGE = CorrelationJudge()
CASES = [
    SceneObject("fork", None, "medium", 40, 80),
    SceneObject("elephant", "pink", "large", 70, 50, flip=True),
    SceneObject("apple", "green", "small", 100, 100),
    SceneObject("bicycle", "red", "large", 60, 60),
    SceneObject("person", None, "large", 64, 64),
    SceneObject("wine glass", "blue", "medium", 30, 30),
    SceneObject("traffic light", None, "small", 100, 24),
]


@pytest.mark.parametrize("style", atlas.STYLES)
@pytest.mark.parametrize("item", CASES, ids=lambda item: item.concept)
def test_one_object_is_read_with_colour_place_and_size(item: SceneObject, style: str):
    ground = grounds_for([(item.concept, item.colour)], style)[0]
    report = JUDGE.read(render(Scene(ground, style, (item,))))
    assert report.background == ground
    (finding,) = report.findings
    assert finding.concept == item.concept
    assert item.colour in (None, finding.colour)
    assert abs(finding.x - item.x) <= 3
    assert abs(finding.y - item.y) <= 3
    assert abs(finding.size - SIZES[item.size]) <= 5
    assert finding.score > 0.95


def test_most_random_scenes_are_read_after_blur_and_noise(rng: np.random.Generator):
    names, right, total = list(atlas.concepts()), 0, 0
    while total < 24:
        pair = [(names[k], None) for k in rng.permutation(len(names))[:2]]
        if not grounds_for(pair, "noto"):
            continue
        scene = compose(rng, pair, style="noto")
        blurred = Image.fromarray(render(scene)).filter(ImageFilter.GaussianBlur(1))
        noisy = np.asarray(blurred) + rng.normal(0, 5, (128, 128, 3))
        report = JUDGE.read(noisy.clip(0, 255).astype(np.uint8))
        right += sum(bool(report.named(concept)) for concept, _ in pair)
        total += 2
    assert right >= 23


def test_nearly_all_of_six_painted_things_are_read_after_blur(rng: np.random.Generator):
    names = [name for name in atlas.concepts() if atlas.concept(name).colourable]
    things: list[Mapping[str, bool]] = []
    while len(things) < 20 * 6:
        six = [(pick(rng, names), pick(rng, list(COLOURS))) for _ in range(6)]
        style = pick(rng, atlas.STYLES)
        if not grounds_for(six, style):
            continue
        scene = compose(rng, six, style=style)
        blurred = Image.fromarray(render(scene)).filter(ImageFilter.GaussianBlur(1.5))
        things += read_against(JUDGE.read(np.array(blurred)), scene).things
    assert sum(all(thing.values()) for thing in things) >= 0.97 * len(things)


def test_what_both_styles_draw_alike_has_the_style_of_the_picture_and_nothing_else():
    # By itself the blurred white microwave could be of either style.
    plain = SceneObject("microwave", "white", "small", 32, 96)
    for style in atlas.STYLES:
        others = (SceneObject("cat", None, "small", 32, 32), SceneObject("fox", None, "small", 96))
        scene = Scene("dark blue", style, (plain, *others))
        blurred = Image.fromarray(render(scene)).filter(ImageFilter.GaussianBlur(1.5))
        assert {seen.style for seen in JUDGE.read(np.array(blurred)).findings} == {style}
    halves = [
        render(Scene("gray", style, (SceneObject("cat", None, "medium", x, 64),)))
        for style, x in zip(atlas.STYLES, (32, 96), strict=True)
    ]
    mixed = np.concatenate([halves[0][:, :64], halves[1][:, 64:]], 1)
    found = sorted(JUDGE.read(mixed).findings, key=lambda seen: seen.x)
    assert [(seen.concept, seen.style) for seen in found] == [
        ("cat", style) for style in atlas.STYLES
    ]


def slow_crops(picture: Picture, group: int, grids: Grids, *, cells: int):
    """Window by window over the whole picture: what `Picture.crops` must equal."""
    seen = picture.difference * picture.own(group)
    crops, grounds = [], []
    for number in range(grids.x.size * grids.y.shape[1]):
        x, y, side = (np.array([value]) for value in grids.window(number))
        across, down = (windows(middle, side, line=range(128), cells=cells)[0] for middle in (x, y))
        crops.append((down @ seen @ across.T).transpose(1, 2, 0))
        grounds.append(down / np.maximum(down.sum(1, keepdims=True), 1e-6) @ picture.rows)
    return np.stack(crops), np.stack(grounds)


@pytest.mark.parametrize("cells", [FINE, MIDDLE, COARSE])
def test_fast_crops_equal_those_cut_one_by_one(cells: int):
    for seed in range(6):
        scene = sample_scene(np.random.default_rng(seed), max_objects=6)
        pixels = render(scene)
        _, rows = find_background(pixels)
        difference = pixels - rows[:, None]
        pieces = find_pieces(next(foregrounds(difference)))
        picture = Picture(difference.transpose(2, 0, 1), rows, pieces)
        # The last place reaches over the border of the picture.
        for place in ((40.5, 70.0, 57.6), (3.0, 122.5, 30.0)):
            grids = Grids.around(
                np.array(place, np.float32), scales=(0.94, 1.18), shifts=(-2.0, 0.0, 2.0)
            )
            fast = picture.crops(1, grids, cells=cells)
            slow = slow_crops(picture, 1, grids, cells=cells)
            for one, other in zip(fast, slow, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-3)


def test_equal_objects_are_counted():
    items = tuple(
        SceneObject("cat", None, "small", x, y) for x, y in ((24, 24), (90, 30), (60, 95))
    )
    report = JUDGE.read(render(Scene("light green", "fluent", items)))
    assert [finding.concept for finding in report.findings] == ["cat"] * 3


def test_a_thing_in_several_parts_is_one_finding():
    item = SceneObject("skis", None, "large", 64, 64)
    report = JUDGE.read(render(Scene("gray", "noto", (item,))))
    assert [finding.concept for finding in report.findings] == ["skis"]


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_an_empty_picture_has_a_background_and_no_findings(name: str):
    report = JUDGE.read(background(name, 128))
    assert report.background == name
    assert report.findings == ()


def test_the_same_picture_gives_the_same_report():
    pixels = render(Scene("beach", "fluent", (SceneObject("kite", "red", "large"),)))
    assert CorrelationJudge().read(pixels) == JUDGE.read(pixels.copy())


def test_noise_is_judged_without_failure(rng: np.random.Generator):
    report = JUDGE.read(rng.integers(0, 256, (128, 128, 3), np.uint8))
    assert report.background in BACKGROUNDS


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(RequestError, match=r"\(64, 64, 3\).*128"):
        JUDGE.read(np.zeros((64, 64, 3), np.uint8))
