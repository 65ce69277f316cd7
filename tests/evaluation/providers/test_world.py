"""The world's own judge serves as detector and reader of colours."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.data.world.scene import Scene, SceneObject, render
from mogao.errors import RequestError
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.providers.base import ColourReader, Detection, Detector
from mogao.evaluation.providers.world import WorldEyes


class Fixed:
    """A judge that sees two cats and a dog, and counts its readings."""

    name = "fixed"

    def __init__(self, *findings):
        self.findings = findings
        self.readings = 0

    def read(self, pixels):
        assert pixels.shape == (128, 128, 3)
        self.readings += 1
        return Report("gray", self.findings)


CATS = (
    Finding("cat", "noto", "red", size=40.0, x=30.0, y=60.0, score=0.9),
    Finding("cat", "noto", "blue", size=20.0, x=100.0, y=60.0, score=0.8),
    Finding("dog", "noto", "green", size=10.0, x=101.0, y=61.0, score=0.7),
)


def picture(side):
    return np.zeros((side, side, 3), np.uint8)


def test_a_real_render_is_detected_with_its_colour():
    items = (
        SceneObject("elephant", "pink", "large", 40, 50),
        SceneObject("apple", "green", "small", 100, 100),
    )
    eyes, pixels = WorldEyes(CorrelationJudge()), render(Scene("gray", "noto", items))
    assert isinstance(eyes, Detector)
    assert isinstance(eyes, ColourReader)
    assert eyes.name == "world:correlation/2"
    found = eyes.detect(pixels)
    assert [one.name for one in found] == ["elephant", "apple"]
    assert [eyes.colour(pixels, one) for one in found] == ["pink", "green"]
    left, top, right, bottom = found[0].box
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((40, 50), abs=3)


def test_what_this_version_of_the_judge_sees_is_pinned():
    """A judge that sees this picture in another way is another version."""
    items = (
        SceneObject("elephant", "pink", "large", 40, 50),
        SceneObject("apple", "green", "small", 100, 100),
    )
    pixels = render(Scene("gray", "noto", items)).copy()
    pixels[60:, :40] = 30  # no scene of the world: the judge has to say what it sees all the same
    eyes = WorldEyes(CorrelationJudge())
    found = eyes.detect(pixels)
    assert [(one.name, eyes.colour(pixels, one)) for one in found] == [
        ("bed", "black"), ("oven", "black"), ("couch", "pink"),
        ("apple", "green"),
    ]  # fmt: skip
    assert found[0].box == pytest.approx((-5.5, 31, 58.5, 95), abs=1)
    assert eyes.name == "world:correlation/2"  # what is seen here goes with this version


def test_boxes_are_in_the_pixels_of_the_picture_that_was_given():
    eyes = WorldEyes(Fixed(*CATS))
    assert eyes.detect(picture(128))[0] == Detection("cat", (10.0, 40.0, 50.0, 80.0), 0.9)
    assert eyes.detect(picture(256))[0].box == (20.0, 80.0, 100.0, 160.0)


def test_the_colour_is_that_of_the_nearest_thing_of_the_name():
    eyes = WorldEyes(Fixed(*CATS))
    for side, box in ((128, (80.0, 50.0, 122.0, 72.0)), (256, (160.0, 100.0, 244.0, 144.0))):
        assert eyes.colour(picture(side), Detection("cat", box)) == "blue"
        assert eyes.colour(picture(side), Detection("dog", box)) == "green"
        assert eyes.colour(picture(side), Detection("cow", box)) == "green"


def test_a_picture_is_read_once():
    judge = Fixed(*CATS)
    eyes = WorldEyes(judge)
    for one in eyes.detect(picture(128)):
        eyes.colour(picture(128), one)
    assert judge.readings == 1
    eyes.detect(picture(128) + 1)
    assert judge.readings == 2


def test_what_has_no_answer_is_named():
    eyes = WorldEyes(Fixed())
    assert eyes.colour(picture(128), Detection("cat", (0.0, 0.0, 8.0, 8.0))) == ""
    with pytest.raises(RequestError, match="64 x 128 pixels"):
        eyes.detect(np.zeros((64, 128, 3), np.uint8))
