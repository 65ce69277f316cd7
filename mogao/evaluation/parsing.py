"""What a model meant: from the text of an answer to a decision, by the rules of public scripts.

In: text. Out: "yes", "no", an option letter, numbers and strings; None where a rule reads nothing.
The scripts have quirks that move scores by points; each is kept, named where it stands, and has a
line in the tables of the tests. Nothing here guesses or draws at random.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from typing import Literal

YesNo = Literal["yes", "no"]

_DECORATIONS = (
    ("", "."), ("", ","), ("", ":"), ("", ")"), ("", ")."), ("(", ")"), ("(", ")."),
    (":", ""), (":", ","), (":", "."), (":", ")"), (":", ")."),
)  # fmt: skip
_ARTICLE_WORDS = 3  # a lone "A" in an answer of more words may be an article
_EDGE_MARKS = (",", ".", "!", "?", ";", ":", "'")
_CONTENT_WORDS = 5  # only a longer answer is searched for the text of an option
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_COMMA_NUMBER = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_POWER_NUMBER = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_PLAIN_NUMBER = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"-?\d+(?:\.\d+)?|\w+")
_LEADING_YES_NO = re.compile(r"[\W_]*(yes|no)(?![^\W_])", re.IGNORECASE)


def llava_yes_no(text: str) -> YesNo:
    """Read a POPE answer as LLaVA's script does: whatever does not deny says yes.

    Of the text before the first full stop, without commas, a word "No", "no" or "not" between
    spaces means no. Other spellings such as "NO", "none" or "isn't" say yes, and a line break does
    not part words.

    Source: haotian-liu/LLaVA, llava/eval/eval_pope.py.
    """
    words = text.split(".", 1)[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def strict_yes_no(text: str) -> YesNo | None:
    """Read a POPE answer as lmms-eval does: the whole text, in lower case, is one of the words.

    Source: EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/pope/utils.py.
    """
    return _as_yes_no(text.strip().lower())


def mme_yes_no(text: str) -> YesNo | None:
    """Read an MME answer: "yes", else "no", somewhere in its first four characters.

    So "Now" and "not" say no and "I know" says nothing.

    Source: the calculation script of MME, as in Bagel eval/vlm/eval/mme/calculation.py.
    """
    start = text.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else None


def leading_yes_no(text: str) -> YesNo | None:
    """Read an answer by its first word, in any case and with any marks: "Yes, there is." says yes.

    Other words say nothing, "not" and "none" among them.

    Source: own design, for chat models that say more than they are asked for.
    """
    found = _LEADING_YES_NO.match(text)
    return None if found is None else _as_yes_no(found[1].lower())


def mmbench_option(text: str, options: Mapping[str, str], *, none: str = "") -> str | None:
    """Find the option that an MMBench answer names, without the step that asks a language model.

    In order: one option letter alone between spaces, where "A" in an answer of more than three
    words does not count; one letter with one of twelve decorations such as "A." or "(A)"; the text
    of exactly one option inside the answer. Two letters in one step settle nothing there.

    Args:
        text: The answer.
        options: Letter to text.
        none: One more letter that may be named, with no text of its own: "none of them".

    Source: open-compass/opencompass, tools/eval_mmbench.py.
    """
    words, letters = text.split(), [*options, *none]
    bare = [letter for letter in letters if letter in words]
    if len(bare) == 1 and not (bare == ["A"] and len(words) > _ARTICLE_WORDS):
        return bare[0]
    for before, behind in _DECORATIONS:
        found = [letter for letter in letters if f"{before}{letter}{behind}" in words]
        if len(found) == 1:
            return found[0]
    lower = text.lower()
    named = [letter for letter, option in options.items() if option.lower() in lower]
    return named[0] if len(named) == 1 else None


def first_letter(text: str, letters: Iterable[str] = "ABCD") -> str | None:
    """Return the first character of an answer where it is an option letter, in capitals only.

    So "Apple" says A and "The answer is A" says nothing.

    Source: EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/seedbench/utils.py.
    """
    start = text.strip()[:1]
    return start if start and start in letters else None


def mmmu_option(text: str, options: Mapping[str, str], *, loose: bool = True) -> str | None:
    """Find the option that an MMMU answer names.

    In order: letters in brackets; letters before a space; letters before a full stop; in an answer
    of more than five words, the texts of options. Of several found in one step the one mentioned
    last counts. Where letters stand is looked up between two spaces, so letters that only touch
    one ("RNA is", "A.") have no place, and the first option among them counts.

    Args:
        text: The answer.
        options: Letter to text.
        loose: False is the first release of the script, which Bagel and InternVL use: the second
            step wants a space on both sides of the letter, and there is no third.

    Source: MMMU-Benchmark/MMMU, eval/eval_utils.py; the later form in EvolvingLMMs-Lab/lmms-eval,
    lmms_eval/tasks/mmmu/utils.py.
    """
    for mark in _EDGE_MARKS:  # once each, in this order: "A,." keeps its comma
        text = text.strip(mark)
    text = f" {text} "
    steps = [("({})", "({})"), *([("{} ", " {} "), ("{}.", " {} ")] if loose else [(" {} ",) * 2])]
    for form, place in steps:
        found = [letter for letter in options if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(place.format(letter)))
    if len(text.split()) <= _CONTENT_WORDS:
        return None
    lower = text.lower()
    found = [letter for letter, option in options.items() if option.lower() in lower]
    return max(found, key=lambda letter: lower.rfind(options[letter].lower()), default=None)


def mmmu_open(text: str) -> list[float | str]:
    """Return what an open MMMU answer may state: tails behind cues such as "is", and numbers.

    Each line gives the shortest tail behind a cue; "=" is a cue in the last line alone; a cue may
    sit inside a word ("this "). Without any the whole answer stays. Quirk: the script means to cut
    at sentences, before a capital letter, but has made all letters small by then, so that only
    lines are cut.

    Source: MMMU-Benchmark/MMMU, eval/eval_utils.py.
    """
    whole = text.strip().strip(".").lower()
    lines = whole.split("\n")
    tails = [_key_tail(line, _CUES) for line in lines[:-1]] + [_key_tail(lines[-1], (*_CUES, "="))]
    kept: list[str] = [tail for tail in tails if tail and tail not in _EDGE_MARKS] or [whole]
    numbers = [
        number
        for tail in kept
        for pattern in (_COMMA_NUMBER, _POWER_NUMBER, _PLAIN_NUMBER)
        for number in pattern.findall(tail)
    ]
    return list(dict.fromkeys(form for one in (*kept, *numbers) for form in mmmu_forms(one)))


def mmmu_forms(text: str) -> list[float | str]:
    """Return a number rounded to two decimals, or a string in lower case.

    A string of one character becomes two, with a space before and behind, so that it does not
    match inside a word.

    Source: MMMU-Benchmark/MMMU, eval/eval_utils.py.
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def mmmu_open_agrees(said: Iterable[float | str], right: Iterable[str]) -> bool:
    """Whether a number equals a right answer or a string contains one.

    Source: MMMU-Benchmark/MMMU, eval/eval_utils.py.
    """
    keys = [form for answer in right for form in mmmu_forms(answer)]
    return any(
        any(isinstance(key, str) and key in one for key in keys)
        if isinstance(one, str)
        else one in keys
        for one in said
    )


def plain_words(text: str) -> str:
    """Return a short answer without case, ASCII punctuation and outer space; articles stay.

    Source: the GQA task of EvolvingLMMs-Lab/lmms-eval (exact match of huggingface/evaluate).
    """
    return text.lower().translate(_NO_PUNCTUATION).strip()


def mm_vet_grade(text: str) -> float | None:
    """Read an MM-Vet grade: the first word, if it is a number in [0, 1] and nothing more.

    So "0.5", "0.5 | yes" and "1" are grades, and "Correctness: 0.5", "0.5." and "0.5/1" are none.
    The script cuts replies at three tokens, which is about one number, and words at spaces; here a
    line break behind the number ends it too.

    Source: yuweihao/MM-Vet, mm-vet_evaluator.py.
    """
    words = text.split(maxsplit=1)
    try:
        number = float(words[0]) if words else -1.0
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def token_f1(said: str, right: str) -> float:
    """Return the F1 of two bags of words, without case and punctuation."""
    ones, others = _WORD.findall(said.lower()), _WORD.findall(right.lower())
    shared = sum(min(ones.count(word), others.count(word)) for word in set(ones))
    return 2 * shared / (len(ones) + len(others)) if shared else 0.0


def _as_yes_no(text: str) -> YesNo | None:
    return "yes" if text == "yes" else "no" if text == "no" else None


def _key_tail(line: str, cues: Iterable[str]) -> str:
    """What stands behind the last cue of each kind, the shortest of them; empty without any."""
    shortest = ""
    for cue in cues:
        if cue in line:
            tail = line.rsplit(cue, 1)[1].strip()
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest
