"""The rule of GenEval, worked by hand; the numbers are those of the official script."""

from __future__ import annotations

import pytest

from mogao.errors import DataError
from mogao.evaluation.providers.base import Detection
from mogao.evaluation.rules.geneval import (
    Clause,
    Options,
    Request,
    judge,
    read_request,
    relations,
)


def box(name, left=0, *, top=0, size=10, score=0.95):
    return Detection(name, corners(left, top, size), score)


def corners(left, top, size=10):
    return float(left), float(top), float(left + size), float(top + size)


def no_colour(found):
    raise AssertionError(f"nobody asked for the colour of {found}")


def verdict(request, *found, colour=no_colour, **options):
    return judge(request, found, colour=colour, options=Options(**options))


def wants(*include, exclude=(), is_counting=False):
    return Request(include, exclude, is_counting)


def test_a_record_becomes_clauses():
    row = {
        "tag": "counting",
        "include": [
            {"class": "dog", "count": 2, "color": "red"},
            {"class": "cat", "count": 1, "position": ["left of", 0]},
        ],
        "exclude": [{"class": "dog", "count": 3}],
    }
    assert read_request(row, where="here") == Request(
        (Clause("dog", 2, "red"), Clause("cat", 1, None, ("left of", 0))),
        (Clause("dog", 3),),
        is_counting=True,
    )


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ([], "both empty"),
        ("dog", "'include': expected list, got str 'dog'"),
        ([{"count": 1}], "include 0: field 'class' is missing"),
        ([{"class": "dog"}], "include 0: field 'count' is missing"),
        ([{"class": "dog", "count": 0}], "expected at least 1, got 0"),
        ([{"class": "dog", "count": 1, "color": 3}], "'color': expected str"),
        ([{"class": "dog", "count": 1, "position": ["left of"]}], "got ['left of']"),
        ([{"class": "dog", "count": 1, "position": ["left of", 0]}], "clause 0 does not come"),
        (
            [
                {"class": "cat", "count": 1},
                {"class": "dog", "count": 1, "position": ["left off", 0]},
            ],
            "no relation 'left off'; did you mean 'left of'?",
        ),
    ],
)
def test_a_bad_record_is_named_with_its_clause_and_field(include, said):
    with pytest.raises(DataError) as caught:
        read_request({"tag": "single_object", "include": include}, where="f.jsonl: record 7")
    assert str(caught.value).startswith("f.jsonl: record 7")
    assert said in str(caught.value)


def test_more_than_asked_for_is_right_and_fewer_is_wrong():
    request = wants(Clause("dog", 2))
    assert verdict(request, box("dog"), box("dog", 20), box("dog", 40)).right
    few = verdict(request, box("dog"), box("cat"))
    assert not few.right
    assert few.reasons == ["expected 2 dog, found 1"]


def test_a_box_counts_only_above_its_confidence():
    request = wants(Clause("dog", 1))
    assert not verdict(request, box("dog", score=0.3)).right
    assert verdict(request, box("dog", score=0.31)).right


def test_counting_asks_for_more_confidence():
    include = (Clause("dog", 1),)
    assert verdict(wants(*include), box("dog", score=0.9)).right
    assert not verdict(wants(*include, is_counting=True), box("dog", score=0.9)).right
    assert verdict(wants(*include, is_counting=True), box("dog", score=0.91)).right


def test_exclude_is_wrong_from_its_count_on():
    request = wants(Clause("dog", 2), exclude=(Clause("dog", 3),))
    two, three = [box("dog", 20 * i) for i in range(2)], [box("dog", 20 * i) for i in range(3)]
    assert verdict(request, *two).right
    many = verdict(request, *three)
    assert many.reasons == ["expected fewer than 3 dog, found 3"]
    assert many.graded == 0.5


def test_at_most_sixteen_boxes_of_a_class_are_seen():
    dogs = [box("dog", 20 * i) for i in range(20)]
    assert verdict(wants(Clause("dog", 16), exclude=(Clause("dog", 17),)), *dogs).right
    assert not verdict(wants(Clause("dog", 17)), *dogs).right
    assert verdict(wants(Clause("dog", 17)), *dogs, most=20).right


def test_the_surest_boxes_are_kept_before_the_limit_is_applied():
    seen = []
    dogs = [box("dog", i, score=0.4 + i / 100) for i in range(20)]

    def colour(one):
        seen.append(one)
        return "red"

    verdict(wants(Clause("dog", 2, "red")), *dogs, colour=colour)
    assert [one.score for one in seen] == pytest.approx([0.59, 0.58])


def test_each_of_the_surest_boxes_must_have_the_colour():
    request = wants(Clause("dog", 2, "red"))
    colours = {0: "red", 20: "blue", 40: "red"}
    dogs = [box("dog", 0, score=0.9), box("dog", 20, score=0.8), box("dog", 40, score=0.7)]
    wrong = verdict(request, *dogs, colour=lambda one: colours[one.box[0]])
    assert wrong.reasons == ["expected 2 red dog, found red, blue"]  # the third is not looked at
    colours[20] = "red"
    assert verdict(request, *dogs, colour=lambda one: colours[one.box[0]]).right


def test_no_colour_is_asked_where_too_few_are_found():
    assert not verdict(wants(Clause("dog", 2, "red")), box("dog")).right


# Boxes of 10 by 10 pixels: the slack is 0.1 * (10 + 10) = 2 pixels on each axis.
@pytest.mark.parametrize(
    ("right", "down", "names"),
    [
        (-20, 0, {"left of"}),
        (20, 0, {"right of"}),
        (0, -20, {"above"}),
        (0, 20, {"below"}),
        (20, 20, {"right of", "below"}),  # 18 / 28.28 = 0.64 on both axes
        (4, 0, set()),  # (4 - 2) / 4 = 0.5: the boundary does not name it
        (-4, 0, set()),
        (0, 4, set()),
        (0, -4, set()),
        (4.01, 0, {"right of"}),  # 2.01 / 4.01 = 0.501
        (-4.01, 0, {"left of"}),
        (0, 4.01, {"below"}),
        (0, -4.01, {"above"}),
        (2, 0, set()),  # nothing is left after the slack
        (2.0005, 2.0005, set()),  # less than a thousandth of a pixel is left
        (0, 0, set()),
        (6, 8, {"below"}),  # 4 / 10 to the right, 6 / 10 down: the norm is of the whole offset
    ],
)
def test_relations_are_shares_of_the_whole_offset_beyond_one_half(right, down, names):
    assert relations(corners(100 + right, 100 + down), corners(100, 100)) == names


def test_slack_grows_with_both_sizes():
    # Widths 10 and 30: slack 4; an offset of 8 leaves 4 of 8, one of 9 leaves 5 of 9.
    large = corners(0, 0, 30)
    assert relations(corners(18, 10), large) == set()
    assert relations(corners(19, 10), large) == {"right of"}
    assert relations(corners(18, 10), large, slack=0.05) == {"right of"}


def test_position_is_seen_from_the_earlier_clause():
    request = wants(Clause("cat", 1), Clause("dog", 1, None, ("left of", 0)))
    assert verdict(request, box("cat", 50), box("dog", 0)).right
    wrong = verdict(request, box("cat", 0), box("dog", 50))
    assert wrong.reasons == ["expected dog left of cat, found right of"]
    assert wrong.graded == 0.5


def test_every_pair_of_boxes_must_stand_in_the_relation():
    request = wants(Clause("cat", 2), Clause("dog", 2, None, ("left of", 0)))
    cats = [box("cat", 100), box("cat", 60)]
    assert verdict(request, *cats, box("dog", 0), box("dog", 20)).right
    assert not verdict(request, *cats, box("dog", 0), box("dog", 80)).right


def test_a_clause_whose_target_failed_fails():
    request = wants(Clause("cat", 2), Clause("dog", 1, None, ("left of", 0)))
    found = verdict(request, box("cat", 50), box("dog", 0))
    assert found.reasons == ["expected 2 cat, found 1", "nothing that dog could be left of"]
    assert found.graded == 0


def test_a_wrong_colour_ends_a_clause_and_takes_its_followers_along():
    request = wants(
        Clause("cat", 1, "red"), Clause("dog", 1, None, ("left of", 0)), Clause("cow", 1)
    )
    found = verdict(request, box("cat", 50), box("dog", 0), box("cow"), colour=lambda _: "blue")
    assert found.reasons == [
        "expected 1 red cat, found blue",
        "nothing that dog could be left of",
    ]
    assert found.graded == pytest.approx(1 / 3)
