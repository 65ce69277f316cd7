"""Prompt forms, positions and numbers of T2I-CompBench, worked by hand."""

from __future__ import annotations

import pytest

from mogao.evaluation.providers.base import Detection
from mogao.evaluation.rules.compbench import (
    counted_things,
    noun_phrases,
    number_score,
    placed_pair,
    position_score,
    relation_score,
)

SINGULARS = {
    **dict.fromkeys(("dog", "dogs"), "dog"),
    **dict.fromkeys(("cup", "cups"), "cup"),
    **dict.fromkeys(("wine glass", "wine glasses"), "wine glass"),
    **dict.fromkeys(("ship", "ships"), "ship"),
    **dict.fromkeys(("man", "men"), "man"),
    **{name: name for name in ("fish", "glass", "television")},
}
SIZE = (479, 479)  # near means 150 pixels here


def thing(name, *box, score=0.8):
    return Detection(name, corners(*box), score)


def corners(left, top, right, bottom):
    return float(left), float(top), float(right), float(bottom)


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("a green bench and a blue bowl", ["a green bench", "a blue bowl"]),
        ("An oblong cucumber and a teardrop plum.", ["An oblong cucumber", "a teardrop plum"]),
        ("a cubic box and a bar of soap", ["a cubic box", "a bar of soap"]),
        ("a black and white cat and a dog", ["a black and white cat and a dog"]),
        ("fluffy clouds and a glass table", ["fluffy clouds and a glass table"]),
        ("a red hat", ["a red hat"]),
        (
            "A bathroom with white tile and a beige toilet.",
            ["A bathroom with white tile and a beige toilet"],
        ),
        (
            "a long, narrow kitchen and a blue floor",
            ["a long, narrow kitchen and a blue floor"],
        ),
    ],
)
def test_only_a_pair_with_articles_is_split(prompt, phrases):
    assert noun_phrases(prompt) == phrases


@pytest.mark.parametrize(
    ("prompt", "pair"),
    [
        ("a giraffe next to a lamp", ["giraffe", "next to", "lamp"]),
        ("a girl on the top of a frog", ["person", "on the top of", "frog"]),
        ("a bird on side of a airplane", ["bird", "on side of", "airplane"]),
        ("a wine glass on the left of an old man", ["wine glass", "on the left of", "old man"]),
        ("a dog behind a cat", []),
        ("two dogs near a cat", []),
    ],
)
def test_positions_are_read_from_the_fixed_form(prompt, pair):
    assert placed_pair(prompt) == pair


@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        ("two dogs and a cup", [("dog", 2), ("cup", 1)]),
        ("three wine glasses, eight fish", [("wine glass", 3), ("fish", 8)]),
        ("a glass on one table", [("glass", 1)]),
        ("four ships and five men", [("boat", 4), ("person", 5)]),
        ("a television", [("television", 1)]),
        ("Two dogs and two unicorns", []),  # only small letters are numbers
        ("dogs", []),
    ],
)
def test_things_behind_numbers_are_counted(prompt, things):
    assert counted_things(prompt, SINGULARS) == things


# Boxes of 10 by 10 pixels; the second has its centre at (100, 100).
@pytest.mark.parametrize(
    ("relation", "right", "down", "score"),
    [
        ("on the left of", -30, 20, 1.0),
        ("on the left of", 30, 20, 0.0),
        ("on the left of", -30, 30, 0.0),  # the offset must be longer along the axis
        ("on the right of", 30, -20, 1.0),
        ("on the top of", 20, -30, 1.0),
        ("on the top of", 20, 30, 0.0),
        ("on the bottom of", 20, 30, 1.0),
        ("on the right of", 8, 0, 0.9),  # 20 of 180 pixels shared: 0.1 / (1 / 9)
        ("on the right of", 5, 0, 0.3),  # 50 of 150 shared: 0.1 / (1 / 3)
        ("on the right of", 0, 0, 0.0),
        ("near", 149, 400, 1.0),  # one axis is enough
        ("next to", 400, 149, 1.0),
        ("on side of", 150, 150, 1.0),  # 150 / 150
        ("near", 200, 300, 0.5),  # 150 / 300
    ],
)
def test_relations_are_scored_softly(relation, right, down, score):
    one = corners(95 + right, 95 + down, 105 + right, 105 + down)
    found = relation_score(relation, one, corners(95, 95, 105, 105), reach=150.0)
    assert found == pytest.approx(score)


def test_boxes_without_area_do_not_overlap():
    one, other = corners(0, 0, 0, 0), corners(5, 0, 5, 0)
    assert relation_score("on the left of", one, other, reach=150.0) == 1.0


def test_a_position_weighs_confidence_and_relation():
    wanted = ["dog", "on the left of", "cat"]
    dog, cat = thing("dog", 0, 0, 10, 10, score=0.6), thing("cat", 50, 0, 60, 10, score=0.8)
    assert position_score([dog, cat], wanted, size=SIZE) == pytest.approx(0.15 + 0.2 + 0.5)
    assert position_score([dog], wanted, size=SIZE) == 0  # 0.15 is below one half


def test_a_position_below_one_half_is_nothing():
    wanted = ["dog", "on the right of", "cat"]
    # A wrong relation leaves 0.25 + 0.25 at most, which is just one half.
    sure = [thing("dog", 0, 0, 10, 10, score=1.0), thing("cat", 50, 0, 60, 10, score=1.0)]
    less = [sure[0], thing("cat", 50, 0, 60, 10, score=0.99)]
    assert position_score(sure, wanted, size=SIZE) == 0.5
    assert position_score(less, wanted, size=SIZE) == 0


def test_the_surest_box_of_a_class_stands_for_it():
    wanted = ["dog", "on the left of", "cat"]
    cat = thing("cat", 50, 0, 60, 10, score=0.8)
    sure, other = thing("dog", 0, 0, 10, 10, score=0.9), thing("dog", 90, 0, 99, 10, score=0.7)
    assert position_score([other, cat, sure], wanted, size=SIZE) == pytest.approx(0.925)


def test_near_is_measured_against_the_shorter_side():
    wanted = ["dog", "near", "cat"]
    pair = [thing("dog", 0, 0, 10, 10), thing("cat", 200, 200, 210, 210)]
    # 150 * 958 / 479 = 300 pixels in a picture twice as large; 150 / 200 in the small one.
    assert position_score(pair, wanted, size=(958, 2000)) == pytest.approx(0.9)
    assert position_score(pair, wanted, size=SIZE) == pytest.approx(0.4 + 0.375)


def test_unsure_boxes_do_not_count():
    wanted = ["dog", "near", "cat"]
    cat = thing("cat", 20, 0, 30, 10, score=1.0)
    assert position_score([thing("dog", 0, 0, 9, 9, score=0.5), cat], wanted, size=SIZE) == 0
    assert number_score([thing("dog", 0, 0, 9, 9, score=0.5)], [("dog", 1)]) == 0


@pytest.mark.parametrize(
    ("num_dogs", "num_cats", "score"),
    [(2, 1, 1.0), (1, 1, 0.75), (3, 2, 0.5), (2, 0, 0.5), (0, 4, 0.25), (0, 0, 0.0)],
)
def test_presence_and_exact_number_weigh_the_same(num_dogs, num_cats, score):
    found = [thing("dog", 20 * i, 0, 20 * i + 9, 9) for i in range(num_dogs)]
    found += [thing("cat", 20 * i, 50, 20 * i + 9, 59) for i in range(num_cats)]
    assert number_score(found, [("dog", 2), ("cat", 1)]) == pytest.approx(score)


def test_one_thing_found_twice_counts_once():
    outer = thing("dog", 0, 0, 99, 99, score=0.9)  # 100 by 100 pixels with both ends
    inside = thing("dog", 10, 10, 29, 29)  # wholly inside: one lies in the other
    partly = thing("dog", 90, 0, 109, 99)  # half of it outside
    just = thing("dog", 81, 0, 100, 99)  # 19 of 20 columns inside: 0.95
    barely = thing("dog", 82, 0, 101, 99)  # 18 of 20: 0.9 is not more than 0.9
    assert number_score([outer, inside], [("dog", 1)]) == 1
    assert number_score([inside, outer], [("dog", 1)]) == 1
    assert number_score([outer, partly], [("dog", 2)]) == 1
    assert number_score([outer, just], [("dog", 1)]) == 1
    assert number_score([outer, barely], [("dog", 2)]) == 1
    assert number_score([outer, thing("cat", 0, 0, 99, 99)], [("dog", 1), ("cat", 1)]) == 1


def test_a_longer_name_stands_in_where_the_name_is_not_found():
    glasses = [thing("wine glass", 0, 0, 9, 9), thing("wine glass", 20, 0, 29, 9)]
    assert number_score(glasses, [("glass", 2)]) == 1
    assert number_score([*glasses, thing("glass", 40, 0, 49, 9)], [("glass", 1)]) == 1
