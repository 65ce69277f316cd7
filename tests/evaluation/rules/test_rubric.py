"""Replies of judges become scores or nothing; a judge is asked again in other words."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from mogao.evaluation.rules.rubric import (
    Scale,
    ask,
    find_lines,
    labelled_numbers,
    read_lines,
    read_object,
    read_ordered,
    read_viescore,
)

TWO = Scale(("realism", "aesthetic_quality"), 0, 2)
FIVE = Scale(("consistency_score",), 1, 5)
THREE = Scale(("compliance", "naturalness", "integrity"), 1, 5)
ONE = Scale(("score",), 1, 5)
PAIR = Scale(("first", "second"), 0, 10, is_whole=False)

OBJECTS = [
    ('{"consistency_score": 4}', 4),
    ('{"consistency_score": 1}', 1),
    ('{"consistency_score": 5, "reasoning": "all kept"}', 5),
    ('{"Consistency Score": 3}', 3),
    ('{"CONSISTENCY-SCORE": 3}', 3),
    ('{"consistency_score": "4"}', 4),
    ('{"consistency_score": " 4 "}', 4),
    ('{"consistency_score": 4.0}', 4),
    ('{"consistency_score": {"score": 2, "why": "x"}}', 2),
    ('{"consistency_score": {"Score": 2, "Justification": "{odd} braces"}}', 2),
    ('```json\n{"consistency_score": 4}\n```', 4),
    ('```\n{\n  "consistency_score": 4,\n  "reasoning": "a"\n}\n```\nDone.', 4),
    ('My answer is {"consistency_score": 2}.', 2),
    ('{"result": {"consistency_score": 2}}', 2),
    ('[{"consistency_score": 2}]', 2),
    ('{"list": [1, {"consistency_score": 2}]}', 2),
    ('{"reasoning": "a } in a { string", "consistency_score": 3}', 3),
    ('A set {1, 2} and then {"consistency_score": 3}', 3),
    ('{{"consistency_score": 3}}', 3),
    ('Form: {"consistency_score": 1}. Answer: {"consistency_score": 5}', 5),
    ('{"consistency_score": 5} and {"other": 1}', 5),
    ('{"consistency_score": 4,}', None),
    ('{"consistency_score": 4', None),
    ("{'consistency_score': 4}", None),
    ("{consistency_score: 4}", None),
    ('{"consistency_score": 0}', None),
    ('{"consistency_score": 6}', None),
    ('{"consistency_score": -4}', None),
    ('{"consistency_score": 3.5}', None),
    ('{"consistency_score": "4/5"}', None),
    ('{"consistency_score": "four"}', None),
    ('{"consistency_score": null}', None),
    ('{"consistency_score": true}', None),
    ('{"consistency_score": NaN}', None),
    ('{"consistency_score": Infinity}', None),
    ('{"consistency_score": [4]}', None),
    ('{"consistency_score": {"value": 4}}', None),
    ('{"consistency": 4}', None),
    ('{"consistency_score": 4} or {"consistency_score": 9}', None),
    ('"consistency_score": 4', None),
    ('{"a": ' + "[" * 100_000, None),
    ('{"consistency_score": ' + "9" * 5000 + "}", None),
    ("4", None),
    ("", None),
]

LINES = [
    ("Realism: 1\nAesthetic Quality: 2", (1, 2)),
    ("realism: 0\naesthetic quality: 0", (0, 0)),
    ("Realism : 1\nAesthetic_Quality : 2", (1, 2)),
    ("Realism:1\nAesthetic-Quality:2", (1, 2)),
    ("Realism 1\nAesthetic Quality 2", (1, 2)),
    ("Realism = 1\nAesthetic  Quality = 2", (1, 2)),
    ("Realism\uff1a1\nAesthetic Quality\uff1a2", (1, 2)),
    ("**Realism**: 1\n**Aesthetic Quality**: 2", (1, 2)),
    ("**Realism:** 1\n**Aesthetic Quality:** 2", (1, 2)),
    ("Realism: **1**\nAesthetic Quality: **2**", (1, 2)),
    ("* Realism: 1\n* Aesthetic Quality: 2", (1, 2)),
    ("- **Realism**: 1\n- **Aesthetic Quality**: 2", (1, 2)),
    ("1. Realism: 1\n2. Aesthetic Quality: 2", (1, 2)),
    ("1) Realism: 1\n2) Aesthetic Quality: 2", (1, 2)),
    ("# Realism: 1\n# Aesthetic Quality: 2", (1, 2)),
    ("> Realism: 1\n> Aesthetic Quality: 2", (1, 2)),
    ("| Realism | 1 |\n| Aesthetic Quality | 2 |", (1, 2)),
    ("Realism (0-2): 1\nAesthetic Quality (0-2): 2", (1, 2)),
    ("Realism: 1/2\nAesthetic Quality: 2 / 2", (1, 2)),
    ("Realism: 1 out of 2\nAesthetic Quality: 2 out of 2", (1, 2)),
    ("Realism: 1.\nAesthetic Quality: 2.", (1, 2)),
    ("Realism: 1.0\nAesthetic Quality: 2.0", (1, 2)),
    ("Realism: 1 - small faults\nAesthetic Quality: 2 (fine)", (1, 2)),
    ("Realism: 1, Aesthetic Quality: 2", (1, 2)),
    ("Realism: 1; Aesthetic Quality: 2", (1, 2)),
    ("Realism: 1\r\nAesthetic Quality: 2\r\n", (1, 2)),
    ('"realism": 1,\n"aesthetic_quality": 2', (1, 2)),
    ("Aesthetic Quality: 2\nRealism: 1", (1, 2)),
    ("Realism: 0\nAesthetic Quality: 0\nFinal:\nRealism: 1\nAesthetic Quality: 2", (1, 2)),
    ("I look first.\n\nRealism: 1\n\nAesthetic Quality: 2\nThat is all.", (1, 2)),
    ("Realism: 1\nAesthetic Quality: 3", None),
    ("Realism: -1\nAesthetic Quality: 2", None),
    ("Realism: 1.5\nAesthetic Quality: 2", None),
    ("Realism: 1,5\nAesthetic Quality: 2", None),
    ("Realism: 1/5\nAesthetic Quality: 2", None),
    ("Realism: 1 or 2\nAesthetic Quality: 2", None),
    ("Realism: 1-2\nAesthetic Quality: 2", None),
    ("Realism: 1st\nAesthetic Quality: 2", None),
    ("Realism: 1%\nAesthetic Quality: 2", None),
    ("Realism: 12\nAesthetic Quality: 2", None),
    ("Realism: one\nAesthetic Quality: 2", None),
    ("Realism: 1", None),
    ("Surrealism: 1\nAesthetic Quality: 2", None),
    ("The realism is 1\nAesthetic Quality: 2", None),
    ("Realism: 1\nAesthetic Quality: 2\nRealism: 7", None),
    ("1\n2", None),
    ("", None),
]

ORDERED = [
    ("Compliance: 5\nNaturalness: 4\nIntegrity: 3", (5, 4, 3)),
    ("Prompt Compliance: 5\nVisual Seamlessness: 4\nPhysical & Detail Fidelity: 3", (5, 4, 3)),
    ("Style Fidelity: 1\nContent Preservation: 5\nRendering Quality: 5", (1, 5, 5)),
    ("Brief reasoning: well done.\nA: 5\nB: 4\nC: 3", (5, 4, 3)),
    ("Reasons: two cats: both kept\nA: 5\nB: 4\nC: 3", (5, 4, 3)),
    ("**A**: 5\n**B**: 4\n**C**: 3", (5, 4, 3)),
    ("**A:** 5\n**B:** 4\n**C:** 3", (5, 4, 3)),
    ("A: **5**\nB: **4**\nC: **3**", (5, 4, 3)),
    ("- A: 5\n- B: 4\n- C: 3", (5, 4, 3)),
    ("A: 5/5\nB: 4/5\nC: 3/5", (5, 4, 3)),
    ("A: 5 out of 5\nB: 4 out of 5\nC: 3 out of 5", (5, 4, 3)),
    ("A: 5.\nB: 4.\nC: 3.", (5, 4, 3)),
    ("A:5\nB:4\nC:3", (5, 4, 3)),
    ("A\uff1a5\nB\uff1a4\nC\uff1a3", (5, 4, 3)),
    ("A: 5\r\nB: 4\r\nC: 3\r\n", (5, 4, 3)),
    ("A: 5.0\nB: 4.0\nC: 3.0", (5, 4, 3)),
    ("5\n4\n3", (5, 4, 3)),
    ("5, 4, 3", (5, 4, 3)),
    ("5 4 3", (5, 4, 3)),
    ("[5, 4, 3]", (5, 4, 3)),
    ("(5; 4; 3).", (5, 4, 3)),
    ("A: 5\nB: 4", None),
    ("A: 5\nB: 4\nC: 3\nD: 2", None),
    ("A: 5\nB: 4\nC: 6", None),
    ("A: 5\nB: 4\nC: 0", None),
    ("A: 5\nB: 4\nC: -3", None),
    ("A: 5\nB: 4\nC: 3.5", None),
    ("A: 5\nB: 4\nC: three", None),
    ("A: 5\nB: 4\nC: 3 cats", None),
    ("A: 5/10\nB: 4/10\nC: 3/10", None),
    ("A 5\nB 4\nC 3", None),
    ("543", None),
    ("5 4", None),
    ("I see 5 4 3", None),
    ("no scores", None),
    ("", None),
]

SINGLE = [("Score: 4", 4), ("4", 4), (" 4.\n", 4), ("Final: 4/5", 4), ("6", None), ("4 5", None)]

VIESCORES = [
    ('{"score": [7, 9], "reasoning": "fine"}', (7, 9)),
    ('{"score": [0, 0], "reasoning": ""}', (0, 0)),
    ('{"score": [10, 10]}', (10, 10)),
    ('{"score": [7.5, 9]}', (7.5, 9)),
    ('{"score": ["7", "9"]}', (7, 9)),
    ('{"reasoning": "fine", "score": [7, 9]}', (7, 9)),
    ('{"score" : [ 7 , 9 ] , "reasoning" : "fine"}', (7, 9)),
    ('{\n"score": [\n7,\n9\n],\n"reasoning": "fine"\n}', (7, 9)),
    ('```json\n{"score": [7, 9], "reasoning": "fine"}\n```', (7, 9)),
    ('```{"score": [7, 9]}```', (7, 9)),
    ('||V^=^V||\n{"score": [7, 9], "reasoning": "fine"}\n||V^=^V||', (7, 9)),
    ('Here: {"score": [7, 9]} as asked.', (7, 9)),
    ('{"score": [1, 1]} no, {"score": [7, 9]}', (7, 9)),
    ('{"answer": {"score": [7, 9]}}', (7, 9)),
    ('{"score": [7, 9], "reasoning": "a [1, 2] {3}"}', (7, 9)),
    ("[7, 9]", (7, 9)),
    (" [7,9]\n", (7, 9)),
    ("[ 7.5, 9 ]", (7.5, 9)),
    ('{"score": [7, 11]}', None),
    ('{"score": [-1, 9]}', None),
    ('{"score": [7]}', None),
    ('{"score": [7, 9, 8]}', None),
    ('{"score": []}', None),
    ('{"score": 7}', None),
    ('{"score": "7, 9"}', None),
    ('{"score": [7, null]}', None),
    ('{"score": [true, 9]}', None),
    ('{"score": [7, NaN]}', None),
    ('{"score": [7, 9],}', None),
    ('{"score": [7, 9]', None),
    ("{score: [7, 9]}", None),
    ('{"scores": [7, 9]}', None),
    ("[7, 9, 8]", None),
    ("[7, nine]", None),
    ("[]", None),
    ("7, 9", None),
    ("7", None),
    ("I cannot judge this.", None),
    ("", None),
]

LABELLED = [
    ("A: 5\nB: 4\nC: 3", [5, 4, 3]),
    ("A: 5", [5]),
    ("  A: 5  ", [5]),
    ("Brief reasoning: fine.\nA: 5", [5]),
    ("Brief reasoning: 5", [5]),
    ("A: 12", [12]),
    ("A: 0", [0]),
    ("A: 05", [5]),
    ("A: 5\r\nB: 4", [5, 4]),
    ("A: 5\n\n\nB: 4", [5, 4]),
    ("- A: 5\n- B: 4", [5, 4]),
    ("1. A: 5", [5]),
    ("**A**: 5", [5]),
    ("A (1-5): 5", [5]),
    ("Physical & Detail Fidelity: 3", [3]),
    (": 5", [5]),
    ("A: B: 5", []),
    ("A:5", []),
    ("A :5", []),
    ("A:  5", []),
    ("**A:** 5", []),
    ("A: **5**", []),
    ("A: 5.", []),
    ("A: 5/5", []),
    ("A: 5 of 5", []),
    ("A: 4.5", []),
    ("A: -5", []),
    ("A: five", []),
    ("A: \u00b2", []),
    ("A: ", []),
    ("5", []),
    ("5 4 3", []),
    ("A: 5, B: 4", []),
    ("", []),
]


def test_every_table_has_thirty_strings():
    sizes = [len(OBJECTS), len(LINES), len(ORDERED), len(VIESCORES), len(LABELLED)]
    assert min(sizes) >= 30


@pytest.mark.parametrize(("reply", "score"), OBJECTS)
def test_an_object_is_found_anywhere_and_never_mended(reply, score):
    expected = None if score is None else {"consistency_score": score}
    assert read_object(reply, FIVE) == expected


@pytest.mark.parametrize(("reply", "scores"), LINES)
def test_lines_give_all_scores_or_none(reply, scores):
    expected = scores and dict(zip(TWO.names, scores, strict=True))
    assert read_lines(reply, TWO) == expected


@pytest.mark.parametrize(("reply", "scores"), ORDERED)
def test_numbers_in_order_give_all_scores_or_none(reply, scores):
    expected = scores and dict(zip(THREE.names, scores, strict=True))
    assert read_ordered(reply, THREE) == expected


@pytest.mark.parametrize(("reply", "score"), SINGLE)
def test_a_single_number_needs_no_label(reply, score):
    assert read_ordered(reply, ONE) == (None if score is None else {"score": score})


@pytest.mark.parametrize(("reply", "scores"), VIESCORES)
def test_a_viescore_is_a_list_of_two_in_an_object_or_bare(reply, scores):
    expected = scores and dict(zip(PAIR.names, scores, strict=True))
    assert read_viescore(reply, PAIR) == expected


@pytest.mark.parametrize(("reply", "numbers"), LABELLED)
def test_labelled_numbers_are_those_of_the_script_of_imgedit(reply, numbers):
    assert labelled_numbers(reply) == numbers


def test_an_object_must_name_all_scores():
    scale = Scale(("instruction_score", "knowledge_score"), 1, 5)
    assert read_object('{"instruction_score": 4}', scale) is None
    both = '{"instruction_score": 4}{"instruction_score": 2, "knowledge_score": 3}'
    assert read_object(both, scale) == {"instruction_score": 2, "knowledge_score": 3}


def test_found_lines_may_be_some_of_the_scores():
    assert find_lines("Realism: 1\nAesthetic Quality: 9", TWO) == {"realism": 1}
    assert find_lines("nothing", TWO) == {}


class Judge:
    """Says its replies one after another and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def ask(self, text, *, pictures=()):
        self.asked.append((text, list(pictures)))
        return self.replies[len(self.asked) - 1]


READ = partial(read_object, scale=FIVE)
GOOD = json.dumps({"consistency_score": 4})


def test_a_reply_that_can_be_read_ends_the_questions():
    judge = Judge(GOOD, "never said")
    verdict = ask(judge, "How well?", pictures=[], read=READ)
    assert (verdict.scores, verdict.replies) == ({"consistency_score": 4}, (GOOD,))
    assert judge.asked == [("How well?", [])]


def test_a_further_question_differs_and_shows_the_same_pictures():
    judge, picture = Judge("well", "quite", GOOD), np.zeros((16, 16, 3), np.uint8)
    verdict = ask(judge, "How well?", pictures=[picture], read=READ)
    assert verdict.scores == {"consistency_score": 4}
    assert verdict.replies == ("well", "quite", GOOD)
    texts = [text for text, _ in judge.asked]
    assert texts[0] == "How well?"
    assert all(text.startswith("How well?\n\nTry") for text in texts[1:])
    assert len(set(texts)) == 3
    assert all(pictures[0] is picture for _, pictures in judge.asked)


def test_questions_are_the_same_in_every_run():
    first, again = Judge("a", "b", "c"), Judge("a", "b", "c")
    assert ask(first, "?", pictures=[], read=READ) == ask(again, "?", pictures=[], read=READ)
    assert first.asked == again.asked


def test_after_the_last_try_there_is_no_score():
    judge = Judge("a", "b", "c", GOOD)
    assert ask(judge, "?", pictures=[], read=READ).scores is None
    assert len(judge.asked) == 3
    assert ask(Judge("a", GOOD), "?", pictures=[], read=READ, retries=0).scores is None
