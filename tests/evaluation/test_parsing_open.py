"""Tables of open answers and what public scripts read in them, worked by hand."""

from __future__ import annotations

import pytest

from mogao.evaluation.parsing import (
    mm_vet_grade,
    mmmu_forms,
    mmmu_open,
    mmmu_open_agrees,
    plain_words,
    token_f1,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [5.0]),
        ("5.", [5.0]),
        ("3.14159", [3.14]),
        ("1,000", [1000.0, 0.0]),  # the last group is read as a number of its own too
        ("-7", [-7.0]),
        ("x", [" x", "x "]),
        ("Cat", ["cat"]),
        ("The answer is 5", [5.0]),
        ("the answer is Paris", ["paris"]),
        ("The answer is Paris.", ["paris"]),
        ("So it is 4, thus 6", [6.0]),
        ("It could be 12 apples", ["12 apples", 12.0]),
        ("x = 3", [3.0]),  # "=" counts in the last line
        ("x = 3\nhence 4", ["x = 3\nhence 4", 3.0, 4.0]),  # and only there: the whole stays
        ("x = 3\ny = 4", [4.0]),
        ("the value is 3. It is not 4", ["not 4", 4.0]),  # sentences are not cut
        ("the value is 3\nIt is not 4", [3.0, "not 4", 4.0]),
        ("this apple", ["apple"]),  # "is " inside "this "
        ("also green", ["green"]),  # "so " inside "also "
        ("no cue here", ["no cue here"]),
        ("about 3 or 4 of them", ["about 3 or 4 of them", 3.0, 4.0]),
        ("1,234,567 people", ["1,234,567 people", 1234567.0, 567.0]),
        ("12,34 people", ["12,34 people", 34.0]),  # no group of three; "12" stands before a comma
        ("2e3 m", ["2e3 m", 2000.0, 3.0]),  # and so is an exponent
        ("1.5E-2 m", ["1.5e-2 m", 0.01, 1.0, -2.0]),  # 0.015 is stored a little below
        (".5 m", ["5 m", 5.0]),  # full stops are taken off both ends
        ("x .5 m", ["x .5 m", 0.5]),
        ("$6,000", ["$6,000", 6000.0, 0.0]),
        ("5kg", ["5kg"]),  # no border of a word behind the digit
        ("5 kg", ["5 kg", 5.0]),
        ("-3 or -.5 m", ["-3 or -.5 m", -3.0, -0.5]),
        ("the answer is :", ["the answer is :"]),  # a lone mark states nothing
        ("final answer result 9", [9.0]),
        ("", [""]),
        ("nan of them", ["nan of them"]),
        ("2.675", [2.67]),
        ("so B", [" b", "b "]),
        ("24/7", ["24/7", 24.0, 7.0]),
        ("is = 5 = 6", [6.0]),  # the last cue of each kind, the shortest tail
    ],
)
def test_mmmu_open_answers_state_tails_and_numbers(text, expected):
    assert mmmu_open(text) == expected


@pytest.mark.parametrize(
    ("text", "right", "agrees"),
    [
        ("The answer is 5", ["5"], True),
        ("The answer is 5.001", ["5"], True),  # equal after rounding
        ("The answer is 5.01", ["5"], False),
        ("5 kg", ["5"], True),
        ("1000", ["1,000"], True),
        ("It is Paris, France", ["paris"], True),
        ("Paris", ["Paris, France"], False),  # the answer must hold the key, not the other way
        ("parisian", ["Paris"], True),
        ("the value is 3. It is not 4", ["3"], False),  # the sentence was not cut
        ("the value is 3. It is not 4", ["4"], True),
        ("the value is 3\nIt is not 4", ["3"], True),
        ("x", ["x"], True),
        ("so the letter x here", ["x"], True),
        ("box", ["x"], False),
        ("7", ["6", "7"], True),
        ("seven", ["7"], False),
        ("", ["7"], False),
        ("", ["a word"], False),
        ("24/7", ["24/7", "3.429"], True),
        ("3.4286", ["24/7", "3.429"], True),
    ],
)
def test_mmmu_open_agrees_with_equal_numbers_and_contained_strings(text, right, agrees):
    assert mmmu_open_agrees(mmmu_open(text), right) is agrees


def test_mmmu_forms_keep_a_single_character_off_the_inside_of_words():
    assert mmmu_forms(" X ") == [" x", "x "]
    assert mmmu_forms("12,345.678") == [12345.68]
    assert mmmu_forms("New York") == ["new york"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("Yes", "yes"),
        ("YES.", "yes"),
        (" yes ", "yes"),
        ("yes!", "yes"),
        ("the dog", "the dog"),  # articles stay
        ("a dog", "a dog"),
        ("dogs", "dogs"),  # plurals stay
        ("dog's", "dogs"),
        ("T-shirt", "tshirt"),
        ("t shirt", "t shirt"),
        ("black & white", "black  white"),
        ("black, white", "black white"),
        ("(red)", "red"),
        ('"red"', "red"),
        ("red;", "red"),
        ("red/blue", "redblue"),
        ("3.5", "35"),
        ("$5", "5"),
        ("100%", "100"),
        ("traffic light", "traffic light"),
        ("traffic_light", "trafficlight"),
        ("Left.", "left"),
        ("to the left of.", "to the left of"),
        ("", ""),
        (".", ""),
        ("...", ""),
        ("no\n", "no"),
        ("no\nyes", "no\nyes"),
        ("`code`", "code"),
        ("#1", "1"),
        ("caf\u00e9", "caf\u00e9"),
        ("\u201cred\u201d", "\u201cred\u201d"),  # only ASCII marks go
    ],
)
def test_gqa_words_lose_case_and_punctuation_only(text, expected):
    assert plain_words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.7", 0.7),
        (" 0.7\n", 0.7),
        ("0.5 | yes", 0.5),
        ("0.5\nbecause", 0.5),  # the script cuts the reply before it reads it
        (".5", 0.5),
        ("1e-1", 0.1),
        ("1", 1.0),
        ("0", 0.0),
        ("1.0 of 1.0", 1.0),
        ("0.7.", None),
        ("Score: 0.8", None),
        ("Correctness 0.8", None),
        ("**0.9**", None),
        ("| 0.6 |", None),
        ("1.1", None),
        ("-0.5", None),
        ("8", None),
        ("0.5/1", None),
        ("50%", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("zero", None),
    ],
)
def test_a_grade_is_the_first_word_or_nothing(text, expected):
    assert mm_vet_grade(text) == expected


@pytest.mark.parametrize(
    ("said", "right", "expected"),
    [
        ("a red bus", "a red bus", 1.0),
        ("A red bus.", "a RED bus", 1.0),
        ("red", "a red bus", 0.5),  # 2 * 1 / (1 + 3)
        ("red red", "red", 2 / 3),  # a word counts as often as both have it
        ("green", "red", 0.0),
        ("", "red", 0.0),
        ("x = -5", "-5", 2 / 3),  # the sign belongs to the number
        ("x = 5", "-5", 0.0),
    ],
)
def test_token_f1_weighs_shared_words_against_all(said, right, expected):
    assert token_f1(said, right) == pytest.approx(expected)
