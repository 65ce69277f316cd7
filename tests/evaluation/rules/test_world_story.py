"""Rules of stories: worked by hand, and held by every true story of every plot."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from mogao.data.world.language import Group
from mogao.data.world.scene import SIZES, Scene
from mogao.data.world.script import Script
from mogao.data.world.splits import Settings
from mogao.data.world.stories import PLOTS, story
from mogao.errors import DataError
from mogao.evaluation.judges.report import Finding, Report
from mogao.evaluation.rules.story import (
    alternates,
    follow,
    hero_constant,
    judge,
    order,
    panel_right,
    shows_exactly,
    stops,
)
from mogao.evaluation.rules.story_text import ORDERS, STEPS, Request, begin, read_request, tell

FOX = Group("fox", "red")
REQUEST = Request(FOX, 4)
COLLECT = [
    "A red fox waits in a meadow.",
    "The red fox finds an apple.",
    "The red fox finds another apple and now has two apples.",
    "The red fox is happy with two apples.",
]


def finding(concept: str, colour: str = "brown", *, size: float = 48, style: str = "noto"):
    return Finding(concept, style, colour, float(size), 64.0, 64.0, 0.99)


def report(*findings: Finding, ground: str = "meadow") -> Report:
    return Report(ground, tuple(sorted(findings, key=lambda one: -one.size)))


RED_FOX = finding("fox", "red")
APPLE = finding("apple", "red", size=32)


def seen(scene: Scene) -> Report:
    """What a judge without fault says."""
    found = [
        finding(item.concept, item.colour or "brown", size=SIZES[item.size], style=scene.style)
        for item in scene.objects
    ]
    return report(*found, ground=scene.background)


def parts_of(script: Script) -> list[str | Report]:
    told = [line.content for line in script.lines[1:]]
    return [part if isinstance(part, str) else seen(part) for part in told]


def swapped(parts: list[str | Report], pair: tuple[int, int]) -> list[str | Report]:
    one, other = pair
    parts = list(parts)
    parts[one], parts[other] = parts[other], parts[one]
    return parts


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    return [story(np.random.default_rng([seed, 1]), Settings()) for seed in range(120)]


def test_every_true_story_is_right_and_its_request_is_read(scripts):
    assert {script.truth["theme"] for script in scripts} == set(PLOTS) == set(ORDERS)
    for script in scripts:
        request, hero = read_request(script.texts[0]), script.truth["hero"]
        assert request.hero == Group(hero["concept"], hero["colour"])
        assert request.panels == script.truth["panels"]
        assert request.theme in (None, script.truth["theme"])
        assert request.ground in (None, script.scenes[0].background)
        verdict = judge(parts_of(script), request)
        assert verdict.right, script.texts
        assert verdict.share == 1


def test_no_two_sentences_and_no_two_unlike_pictures_may_change_places(scripts):
    for script in scripts:
        request, parts = read_request(script.texts[0]), parts_of(script)
        places = range(len(parts))
        for pair in [*combinations(places[::2], 2), *combinations(places[1::2], 2)]:
            changed = swapped(parts, pair)
            assert judge(changed, request).right == (changed == parts), (script.texts, pair)


def test_no_panel_may_be_missing_or_come_twice(scripts):
    for script in scripts[:50]:
        request, parts = read_request(script.texts[0]), parts_of(script)
        short, long = judge(parts[:-2], request), judge([*parts, *parts[-2:]], request)
        assert not short.stop
        assert not short.right
        assert short.share < 1
        assert not long.stop
        assert not long.right
        assert long.share < 1


def test_a_picture_that_shows_nothing_sets_no_place_for_those_behind_it():
    story = follow("A red fox finds an apple.", Report("", ()), begin(REQUEST))
    assert story.ground is None
    assert panel_right(COLLECT[2], report(RED_FOX, APPLE, APPLE), story)


def test_every_step_stands_in_a_plot():
    assert set(re.findall(r"\w+", " ".join(ORDERS.values()))) == set(STEPS)


def test_a_request_says_as_much_as_it_says():
    text = "A story about an orange cat that meets a friend on a beach, in three pictures."
    assert read_request(text) == Request(Group("cat", "orange"), 3, "friend", "beach")
    assert read_request("A story about an owl, in five pictures.") == Request(Group("owl"), 5)
    with pytest.raises(DataError, match="Draw a cat"):
        read_request("Draw a cat.")


def test_a_panel_shows_what_its_own_sentence_says():
    story = begin(REQUEST)
    assert panel_right(COLLECT[0], report(RED_FOX), story)
    assert not panel_right(COLLECT[0], report(RED_FOX, ground="sea"), story)
    assert not panel_right(COLLECT[0], report(finding("fox", "blue")), story)
    assert not panel_right(COLLECT[0], report(RED_FOX, APPLE), story)
    assert not panel_right(COLLECT[0], report(), story)
    assert panel_right("A cat waits at night", report(finding("cat"), ground="night"), story)


def test_what_a_sentence_does_not_say_follows_from_the_panels_before():
    story = follow(COLLECT[0], report(RED_FOX), begin(REQUEST))
    story = follow(COLLECT[1], report(RED_FOX, APPLE), story)
    assert panel_right(COLLECT[2], report(RED_FOX, APPLE, APPLE), story)
    assert not panel_right(COLLECT[2], report(RED_FOX, APPLE), story)
    assert not panel_right(COLLECT[2], report(RED_FOX, APPLE, APPLE, ground="beach"), story)
    assert not panel_right(COLLECT[2], report(RED_FOX, APPLE, finding("banana")), story)
    lost = "One day the apple is gone."
    assert panel_right(lost, report(RED_FOX), story)
    assert not panel_right(lost, report(RED_FOX, APPLE), story)


def test_a_panel_before_which_one_failed_is_judged_by_what_was_told():
    story = follow(COLLECT[0], report(finding("cow"), ground="sea"), begin(REQUEST))
    assert panel_right(COLLECT[1], report(RED_FOX, APPLE), story)
    assert not panel_right(COLLECT[1], report(RED_FOX, APPLE, ground="sea"), story)


def test_a_place_that_nobody_named_is_that_of_the_first_picture():
    first = "A red fox finds a small apple."
    story = begin(Request(FOX, 3))
    assert panel_right(first, report(RED_FOX, APPLE, ground="snow"), story)
    story = follow(first, report(RED_FOX, APPLE, ground="snow"), story)
    grown = finding("apple", size=46)
    assert panel_right("The apple grows.", report(RED_FOX, grown, ground="snow"), story)
    assert not panel_right("The apple grows.", report(RED_FOX, grown, ground="room"), story)


def test_what_grows_is_larger_than_before():
    # 32 x 1.15 = 36.8 pixels.
    story = follow("A red fox finds a small apple.", report(RED_FOX, APPLE), begin(REQUEST))
    assert panel_right("The apple grows.", report(RED_FOX, finding("apple", size=37)), story)
    assert not panel_right("The apple grows.", report(RED_FOX, finding("apple", size=36)), story)


def test_sentences_out_of_every_template_are_unreadable_and_wrong():
    for text in ("", "The red fox sleeps.", "A red fox waits in a meadow. It is happy.",
                 "A red foxx waits in a meadow.", "A red fox waits in a forest."):  # fmt: skip
        assert tell(text, begin(REQUEST)) is None
        assert not panel_right(text, report(RED_FOX), begin(REQUEST))
    parts: list[str | Report] = ["The red fox sleeps.", report(RED_FOX), report(RED_FOX)]
    verdict = judge(parts, REQUEST)
    assert verdict.unreadable == ("The red fox sleeps.", "")
    assert verdict.panels == (False, False)
    assert not verdict.order


def test_space_case_and_the_full_stop_do_not_matter():
    assert tell(" a RED fox  waits in a meadow\n", begin(REQUEST)) == tell(
        COLLECT[0], begin(REQUEST)
    )


@pytest.mark.parametrize(
    "sentences",
    [
        COLLECT[::-1],
        [COLLECT[0], COLLECT[2], COLLECT[1], COLLECT[3]],
        [COLLECT[0], COLLECT[1], COLLECT[2], "The red fox is happy with three apples."],
        [COLLECT[0], COLLECT[1], COLLECT[3]],  # two apples, but one was found
        [COLLECT[0], "The red fox finds a banana.", *COLLECT[2:]],
        [COLLECT[0], "The blue fox finds an apple.", *COLLECT[2:]],
        ["A cat waits in a meadow.", "The cat finds an apple.", "The cat is happy with an apple."],
        COLLECT[:3],
        [*COLLECT, COLLECT[3]],
        [COLLECT[0], "The red fox meets a cat.", "The red fox and the dog find a kite."],
        [],
    ],
)
def test_an_order_that_no_plot_allows_is_wrong(sentences: list[str]):
    assert order(COLLECT, REQUEST)
    assert not order(sentences, REQUEST)


def test_the_plot_and_the_place_of_the_request_bind():
    assert order(COLLECT, Request(FOX, 4, "collect", "meadow"))
    assert not order(COLLECT, Request(FOX, 4, "journey"))
    assert not order(COLLECT, Request(FOX, 4, "collect", "sea"))


def test_sentence_and_picture_take_turns():
    sheet = report()
    assert alternates(["A", sheet, "B", sheet])
    assert alternates(["A", sheet, "  "])  # an empty text says nothing
    wrong: list[list[str | Report]] = [
        [], [sheet], ["A"], [sheet, "A"], ["A", sheet, "B"], ["A", sheet, sheet],
        ["A", "B", sheet, sheet],
    ]  # fmt: skip
    assert not any(alternates(parts) for parts in wrong)


def test_a_story_stops_behind_the_picture_asked_for():
    assert stops(["A", report(), "B", report()], 2)
    assert not stops(["A", report()], 2)
    assert not stops([], 1)


def test_the_hero_is_everywhere_and_looks_alike():
    assert hero_constant([report(RED_FOX), report(RED_FOX, APPLE)], FOX)
    assert hero_constant([report(RED_FOX), report(RED_FOX)], Group("fox"))
    assert not hero_constant([report(RED_FOX), report(APPLE)], FOX)
    assert not hero_constant([report(RED_FOX), report(finding("fox", "blue"))], Group("fox"))
    assert not hero_constant(
        [report(RED_FOX), report(finding("fox", "red", style="fluent"))], Group("fox")
    )
    assert not hero_constant([report(RED_FOX)], Group("fox", "blue"))
    assert not hero_constant([], FOX)


def test_a_picture_shows_exactly_what_is_named():
    two = [Group("fox", "red"), Group("apple", count=2)]
    assert shows_exactly(report(RED_FOX, APPLE, APPLE), two)
    assert shows_exactly(report(RED_FOX, APPLE, APPLE), two, ground="meadow")
    assert not shows_exactly(report(RED_FOX, APPLE, APPLE), two, ground="sea")
    assert not shows_exactly(report(RED_FOX, APPLE), two)
    assert not shows_exactly(report(RED_FOX, APPLE, APPLE, APPLE), two)
    assert not shows_exactly(report(finding("fox"), APPLE, APPLE), two)
    # One of each colour is not two of one colour.
    pair = report(finding("cat", "red"), finding("cat", "blue"))
    assert shows_exactly(pair, [Group("cat", "red"), Group("cat", "blue")])
    assert not shows_exactly(pair, [Group("cat", "red", 2)])


def test_panels_that_are_missing_or_too_many_count_as_wrong():
    parts: list[str | Report] = [COLLECT[0], report(RED_FOX), COLLECT[1], report(RED_FOX, APPLE)]
    assert judge(parts, Request(FOX, 4)).share == 0.5
    assert judge(parts, Request(FOX, 2)).share == 1
    assert judge([*parts, "So what?", report()], Request(FOX, 2)).share == pytest.approx(2 / 3)
    assert judge([], REQUEST).share == 0
