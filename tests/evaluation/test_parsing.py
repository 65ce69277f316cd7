"""Tables of closed answers and what public scripts read in them, worked by hand."""

from __future__ import annotations

import pytest

from mogao.evaluation.parsing import (
    first_letter,
    leading_yes_no,
    llava_yes_no,
    mmbench_option,
    mme_yes_no,
    mmmu_option,
    strict_yes_no,
)

ANIMALS = {"A": "a cat", "B": "dog", "C": "two horses", "D": "bird"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("yes", "yes"),
        ("no", "no"),
        ("Yes.", "yes"),
        ("No.", "no"),
        ("No, there is no dog.", "no"),
        ("Yes, there is a dog.", "yes"),
        ("No,there is none", "yes"),  # without its comma "Nothere" is one word
        ("Nothere", "yes"),
        ("NO", "yes"),  # only "No", "no" and "not" deny
        ("NOT", "yes"),
        ("Not at all", "yes"),
        ("not", "no"),
        ("There is not a dog.", "no"),
        ("There isn't a dog.", "yes"),
        ("There is no dog in the picture.", "no"),
        ("I see a dog. No cat.", "yes"),  # the first sentence alone
        ("I see a dog no. 2", "no"),
        ("Yes. No.", "yes"),
        ("The answer is no", "no"),
        ("The answer is no!", "yes"),  # "no!" is another word
        ("no?", "yes"),
        ("No\nthere is not", "no"),  # the last word stands between spaces
        ("No\nit does", "yes"),  # "No\nit" is one word
        ("", "yes"),
        (".", "yes"),
        (". no", "yes"),
        ("nobody", "yes"),
        ("None", "yes"),
        ("no no no", "no"),
        ("Maybe not", "no"),
        ("I do not know", "no"),
        ("I know", "yes"),
        ("3.5 no", "yes"),  # a decimal point ends the sentence too
    ],
)
def test_pope_by_llava_takes_whatever_does_not_deny_as_yes(text, expected):
    assert llava_yes_no(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("Yes", "yes"),
        ("No", "no"),
        ("YES", "yes"),
        ("NO", "no"),
        ("yEs", "yes"),
        (" yes ", "yes"),
        ("no\n", "no"),
        ("\tNo ", "no"),
        ("Yes.", None),
        ("No.", None),
        ("yes!", None),
        ("no,", None),
        ("Yes, there is.", None),
        ("No, there is not.", None),
        ("The answer is yes", None),
        ("There is no dog", None),
        ("", None),
        (" ", None),
        ("y", None),
        ("n", None),
        ("yess", None),
        ("nope", None),
        ("not", None),
        ("none", None),
        ("true", None),
        ("0", None),
        ("yes no", None),
        ("yes yes", None),
        ('"yes"', None),
        ("(no)", None),
    ],
)
def test_pope_by_lmms_takes_the_words_alone(text, expected):
    assert strict_yes_no(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("yes", "yes"),
        ("NO", "no"),
        ("Yes.", "yes"),
        ("No.", "no"),
        ("yes\n", "yes"),
        ("Yes, it is.", "yes"),
        ("No, it is not.", "no"),
        ("Yesterday", "yes"),  # a start is enough
        ("Nothing", "no"),
        ("Now", "no"),
        ("not", "no"),
        ("none", "no"),
        ("I know", None),  # "i kn": the "no" comes later
        ("know", "no"),  # "know" itself holds "no"
        ("snow", "no"),
        ("It is yes", None),
        ("The answer is no", None),
        ("", None),
        ("y", None),
        ("n", None),
        ("ye", None),
        (" yes", "yes"),
        (" no", "no"),
        ("  yes", None),  # "  ye"
        ("  no", "no"),
        ('"yes"', "yes"),
        ("- no", "no"),
        ("a yes", None),
        ("eyes", "yes"),
        ("no yes", "no"),
        ("1. Yes", None),
        ("true", None),
        ("nyes", "yes"),  # "yes" is looked for first
    ],
)
def test_mme_reads_the_first_four_characters(text, expected):
    assert mme_yes_no(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", "A"),
        ("B", "B"),
        (" C \n", "C"),
        ("b", None),
        ("E", None),  # no such option
        ("The answer is B", "B"),
        ("The answer is A", None),  # four words: "A" may be an article
        ("Answer is A", "A"),  # three words
        ("A cat sits there", "A"),  # by its text
        ("A cow sits there", None),
        ("A B", None),
        ("A or B", None),
        ("B and B", "B"),
        ("A.", "A"),
        ("B.", "B"),
        ("B,", "B"),
        ("B:", "B"),
        ("B)", "B"),
        ("B).", "B"),
        ("(B)", "B"),
        ("(B).", "B"),
        (":B", "B"),
        (":B,", "B"),
        (":B.", "B"),
        (":B)", "B"),
        (":B).", "B"),
        ("(B", None),
        ("[B]", None),
        ("B!", None),
        ("**B**", None),
        ("The answer is A.", "A"),  # decorated, so no article
        ("Option (C) is right", "C"),
        ("A. or B.", None),
        ("A. or (B)", "A"),  # "A." comes before "(B)" in the list of decorations
        ("B: A dog stands there", "B"),  # the lone "A" may be an article, then "B:"
        ("dog", "B"),
        ("It is a DOG", "B"),
        ("hotdog stand", "B"),  # inside a word too
        ("a dog and a bird", None),
        ("two horses", "C"),
        ("horses", None),
        ("", None),
        ("I cannot tell", None),
    ],
)
def test_mmbench_looks_for_letters_then_decorated_letters_then_texts(text, expected):
    assert mmbench_option(text, ANIMALS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("E", "E"), ("(E)", "E"), ("E.", "E"), ("A or E", None), ("A dog, E", "B"), ("e", None)],
)
def test_mmbench_may_have_a_letter_for_none_of_the_options(text, expected):
    assert mmbench_option(text, ANIMALS, none="E") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", "A"),
        ("B", "B"),
        ("C", "C"),
        ("D", "D"),
        ("E", None),
        ("a", None),
        ("d", None),
        (" A", "A"),
        ("\nB", "B"),
        ("C.", "C"),
        ("D)", "D"),
        ("(A)", None),
        ("A. a cat", "A"),
        ("B: dog", "B"),
        ("Apple", "A"),  # a word that starts with the letter
        ("Dog", "D"),
        ("Because", "B"),
        ("The answer is A", None),
        ("Answer: B", "A"),  # the "A" of "Answer"
        ("answer: B", None),
        ("Cannot say", "C"),
        ("", None),
        (" ", None),
        ("1", None),
        ("1. A", None),
        ("*A*", None),
        ('"A"', None),
        ("AB", "A"),
        ("D\nC", "D"),
        ("Option A", None),
        ("Z", None),
        (".A", None),
    ],
)
def test_seed_takes_the_first_letter(text, expected):
    assert first_letter(text) == expected


# (text, by the later form of the script, by its first release)
MMMU_CHOICES = [
    ("A", "A", "A"),
    ("B", "B", "B"),
    ("(C)", "C", "C"),
    ("C.", "C", "C"),  # the full stop goes with the edges
    ("C!", "C", "C"),
    (".C.", "C", "C"),
    ("'C'", "C", "C"),
    ("A,.", None, None),  # the comma is taken off before the full stop is gone
    ("A.,", "A", "A"),
    ("b", None, None),
    ("E", None, None),
    ("", None, None),
    ("I do not know", None, None),
    ("The answer is B", "B", "B"),
    ("The answer is (B)", "B", "B"),
    ("The answer is B.", "B", "B"),
    ("(A) or (B)", "B", "B"),  # the last mentioned
    ("(B) not (A)", "A", "A"),
    ("(A), then (B), then (A) again", "A", "A"),
    ("A or B", "B", "B"),
    ("B or A", "A", "A"),
    ("(A) but rather B", "A", "A"),  # brackets come first
    ("B: dog", None, None),  # five words at most: texts are not looked at
    ("B. dog", "B", None),  # a letter before a full stop, in the later form alone
    ("B.dog", "B", None),
    ("A. or B.", "B", "B"),  # only "B" is beside a space at the end
    ("RNA is it", "A", None),  # a letter before a space, also at the end of a word
    ("NBC on TV", "C", None),
    ("RNA or B", "B", "B"),  # "RNA " has no place between spaces, "B" has
    ("RNA and NBC meet", "A", None),  # neither has a place: the first option
    ("I think that it is the dog", "B", "B"),
    ("It is the dog there", None, None),  # five words
    ("I see the dog and then a bird", "D", "D"),
    ("I see a bird and then the dog", "B", "B"),
    ("There are TWO HORSES in this picture", "C", "C"),
    ("We can say that it is B", "B", "B"),
    ("Answer:B", "B", None),  # the space behind is added by the rule
    ("**B**", None, None),
    ("B)", None, None),
    ("B\n", None, None),  # the benchmark takes outer space off first
    ("A cat", "A", "A"),
    ("A: it is the dog, not a cat", "A", "A"),  # texts: "a cat" is mentioned last
]


@pytest.mark.parametrize(("text", "later", "first"), MMMU_CHOICES)
def test_mmmu_letters_in_the_order_of_the_script(text, later, first):
    assert mmmu_option(text, ANIMALS) == later
    assert mmmu_option(text, ANIMALS, loose=False) == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"),
        ("Yes", "yes"),
        ("NO.", "no"),
        ("Yes, there is a cat.", "yes"),
        ("No - there is none", "no"),
        ("**Yes**", "yes"),
        ("_no_", "no"),
        ("  yes\n", "yes"),
        ('"Yes."', "yes"),
        ("yes!no", "yes"),
        ("not", None),
        ("None", None),
        ("yesterday", None),
        ("no1", None),
        ("nobody is there", None),
        ("There is. Yes", None),
        ("", None),
    ],
)
def test_the_first_word_says_yes_or_no_in_any_case_and_with_any_marks(text, expected):
    assert leading_yes_no(text) == expected
