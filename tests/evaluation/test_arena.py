"""The arena is blind, its votes come back whole, and its numbers are right for known voters."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mogao.errors import ConfigError, DataError
from mogao.evaluation.arena import (
    judge_pairs,
    make_arena,
    open_outputs,
    parse_votes,
    score_votes,
)
from mogao.evaluation.arena_votes import ASPECTS, Tally, plan_pairs
from mogao.evaluation.benchmark import Item
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment

GIVEN = np.full((16, 24, 3), 90, np.uint8)
SYSTEMS = ("northwind", "southgate")


def items(count):
    def given():
        return InterleavedSequence((TextSegment("Go", "user"), ImageSegment(GIVEN, "user")))

    return [
        Item(f"i{k}", "story", f"Tell <b>story</b> {k} & see", "document", given)
        for k in range(count)
    ]


@pytest.fixture
def outputs(tmp_path):
    """Folders of two systems, whose picture files name their maker."""
    folders = {}
    for number, system in enumerate(SYSTEMS):
        folders[system] = tmp_path / system
        for item in items(6):
            folder = folders[system] / item.id
            folder.mkdir(parents=True)
            info = PngImagePlugin.PngInfo()
            info.add_text("Software", system)
            pixels = np.full((16, 16, 3), 50 + 100 * number, np.uint8)
            Image.fromarray(pixels).save(folder / "001.png", pnginfo=info)
            text = f"> A quoted request\n\nOnce <i>upon</i> {number}\n\n![](001.png)\n\nThe end\n"
            (folder / "index.md").write_text(text, encoding="utf-8")
    return folders


def write_votes(path, rows, header=("rater", "pair", *ASPECTS)):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *rows])
    return path


def overall(rater, pair, choice):
    return [rater, pair, "", "", "", "", choice]


# ---- the page


def test_the_page_is_blind_and_refers_to_nothing_outside(outputs, tmp_path):
    make_arena(items(6), outputs, tmp_path / "out", seed=3)
    page = (tmp_path / "out" / "arena.html").read_text(encoding="utf-8")
    for word in (*SYSTEMS, *(system.upper() for system in SYSTEMS)):
        assert word not in page
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/png;base64,)""", page)
    assert "Tell &lt;b&gt;story&lt;/b&gt; 0 &amp; see" in page
    assert "Once &lt;i&gt;upon&lt;/i&gt; 1" in page
    assert "A quoted request" not in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["arena.html", "key.json"]


def test_pictures_on_the_page_lose_what_their_files_say(outputs, tmp_path):
    assert b"northwind" in (outputs["northwind"] / "i0" / "001.png").read_bytes()
    make_arena(items(1), outputs, tmp_path / "out", seed=3)
    page = (tmp_path / "out" / "arena.html").read_text(encoding="utf-8")
    pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 3  # one given, two made
    assert not any(b"northwind" in base64.b64decode(one) for one in pictures)


def test_every_item_shows_every_two_systems_once_and_some_again_swapped():
    names = [f"i{k}" for k in range(40)]
    pairs = plan_pairs(names, ["a", "b", "c"], seed=1, repeats=0.1)
    first = [pair for pair in pairs if not pair.repeats]
    assert len(first) == 40 * 3
    assert len({(pair.item, frozenset((pair.left, pair.right))) for pair in first}) == 120
    by_id = {pair.id: pair for pair in pairs}
    again = [pair for pair in pairs if pair.repeats]
    assert len(again) == 12
    for pair in again:
        other = by_id[pair.repeats]
        assert (pair.item, pair.left, pair.right) == (other.item, other.right, other.left)
    assert 40 <= sum(pair.left < pair.right for pair in first) <= 80
    assert [pair.id for pair in pairs] == [f"p{k:03d}" for k in range(1, 133)]
    assert pairs == plan_pairs(names, ["a", "b", "c"], seed=1, repeats=0.1)
    assert pairs != plan_pairs(names, ["a", "b", "c"], seed=2, repeats=0.1)


def test_an_arena_needs_two_systems_and_an_item(outputs, tmp_path):
    with pytest.raises(ConfigError, match="got 1 and 1"):
        make_arena(items(1), {"northwind": outputs["northwind"]}, tmp_path / "out")
    with pytest.raises(ConfigError, match="got 2 and 0"):
        judge_pairs([], outputs, Judge(lambda *_: "1"))


def test_outputs_are_documents_texts_or_pictures(tmp_path):
    def parts():
        return open_outputs(tmp_path, items(1))["i0"].parts

    with pytest.raises(DataError, match=r"holds nothing for 'i0'; expected, say, .*index\.md"):
        parts()
    (tmp_path / "i0.png").write_bytes(b"")
    assert parts() == (tmp_path / "i0.png",)
    (tmp_path / "i0.txt").write_text(" A text \n", encoding="utf-8")
    assert parts() == ("A text",)
    (tmp_path / "i0.md").write_text("One\n\n![](a/b.png)\n", encoding="utf-8")
    assert parts() == ("One", tmp_path / "a" / "b.png")
    for text, said in (("![](../b.png)", "relative path below"), ("> said\n", "is empty")):
        (tmp_path / "i0.md").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=rf"i0\.md.*{said}"):
            parts()


def test_a_folder_of_this_program_is_read_by_its_list(tmp_path):
    parts = [[{"text": f"made {k}"}, {"image": "a.png"}] for k in range(2)]
    rows = [{"id": "i0", "k": k, "parts": parts[k]} for k in range(2)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "outputs.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "i0.txt").write_text("not this", encoding="utf-8")
    assert open_outputs(tmp_path, items(1))["i0"].parts == ("made 0", tmp_path / "a.png")
    with pytest.raises(DataError, match=r"lacks 1 of 2 outputs, first number 0 of 'i1'"):
        open_outputs(tmp_path, items(2))


# ---- votes of people


def test_votes_come_back_as_wins_ties_and_losses(outputs, tmp_path):
    pairs = make_arena(items(6), outputs, tmp_path / "out", seed=0, repeats=0.5)
    first = [pair for pair in pairs if not pair.repeats]
    again = [pair for pair in pairs if pair.repeats]
    wanted = dict(zip((pair.item for pair in first), ("nnnnst",)[0], strict=True))

    def choice(pair):
        if wanted[pair.item] == "t":
            return "tie"
        return "left" if pair.left[0] == wanted[pair.item] else "right"

    rows = [['Ann, "A"', pair.id, "tie", "", "left", "", choice(pair)] for pair in first + again]
    path = write_votes(tmp_path / "votes.csv", rows)
    result = score_votes(path, tmp_path / "out" / "key.json")
    assert set(result.aspects) == {"text quality", "consistency", "overall"}
    assert result.aspects["overall"].tallies == (Tally("northwind", "southgate", 4, 1, 1),)
    assert result.aspects["text quality"].tallies == (Tally("northwind", "southgate", 0, 6, 0),)
    strengths = result.aspects["overall"].strengths
    assert strengths["northwind"].value == pytest.approx(math.log(4.5 / 1.5) / 2, abs=0.01)
    assert strengths["northwind"].value == pytest.approx(-strengths["southgate"].value)
    assert strengths["northwind"].n == 6
    assert (result.agreement['Ann, "A"'].value, result.agreement['Ann, "A"'].n) == (1.0, 3)
    lefts = sum(choice(pair) == "left" for pair in first)
    assert result.left_wins['Ann, "A"'].value == pytest.approx(lefts / 5)
    plain = result.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["aspects"]["overall"]["tallies"][0]["wins"] == 4


def test_several_raters_are_added_up_and_told_apart(outputs, tmp_path):
    pairs = make_arena(items(6), outputs, tmp_path / "out", seed=0, repeats=0.0)
    files = [
        write_votes(tmp_path / f"{name}.csv", [overall(name, p.id, side) for p in pairs])
        for name, side in (("ann", "left"), ("bob", "right"))
    ]
    result = score_votes(files, tmp_path / "out" / "key.json")
    (tally,) = result.aspects["overall"].tallies
    assert (tally.wins, tally.losses) == (6, 6)
    assert {name: share.value for name, share in result.left_wins.items()} == {"ann": 1, "bob": 0}
    assert result.agreement == {}
    with pytest.raises(DataError, match=r"rater 'ann' voted on .* elsewhere too"):
        score_votes([files[0], files[0]], tmp_path / "out" / "key.json")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["ann", "p1", "left"], r"line 3: 3 fields, expected 7"),
        (overall("", "p2", "left"), r"line 3: column 'rater' is empty"),
        (overall("ann", "p77", "left"), r"line 3: column 'pair': 'p77' is not in the key"),
        (overall("ann", "p2", "Left"), r"line 3: column 'overall': 'Left', expected one of left"),
        (overall("ann", "p1", "tie"), r"line 3: rater 'ann' voted on p1 before"),
    ],
)
def test_a_bad_line_of_votes_is_named(outputs, tmp_path, row, said):
    make_arena(items(6), outputs, tmp_path / "out", seed=0)
    path = write_votes(tmp_path / "votes.csv", [overall("ann", "p1", "left"), row])
    with pytest.raises(DataError, match=rf"votes\.csv, {said}"):
        score_votes(path, tmp_path / "out" / "key.json")


def test_files_that_are_no_votes_or_no_key_are_named(outputs, tmp_path):
    make_arena(items(1), outputs, tmp_path / "out", seed=0)
    key, path = tmp_path / "out" / "key.json", tmp_path / "votes.csv"
    with pytest.raises(DataError, match=r"cannot read votes .*votes\.csv"):
        score_votes(path, key)
    for text, said in (
        ("", "line 1: the columns are"),
        ("rater,pair\n", "line 1: the columns are"),
        (f'rater,pair,{",".join(ASPECTS)}\n"ann', "line 2: not CSV"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=said):
            score_votes(path, key)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="are not UTF-8"):
        score_votes(path, key)
    with pytest.raises(DataError, match="there are no votes in"):
        score_votes(write_votes(path, []), key)
    key.write_text('{"pairs": [{}]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"key\.json is no key of an arena"):
        score_votes(path, key)


def test_a_rater_who_likes_the_left_side_is_found(tmp_path):
    pairs = plan_pairs([f"i{k}" for k in range(200)], ["a", "b"], seed=5, repeats=0.0)
    key = {"systems": ["a", "b"], "pairs": [asdict(pair) for pair in pairs]}
    (tmp_path / "key.json").write_text(json.dumps(key), encoding="utf-8")
    rng = np.random.default_rng(7)
    a_wins = rng.random(len(pairs)) < 0.8
    fair = [
        "left" if (pair.left == "a") == wins else "right"
        for pair, wins in zip(pairs, a_wins, strict=True)
    ]
    lefty = ["left" if rng.random() < 0.3 else choice for choice in fair]
    rows = [
        overall(rater, pair.id, choice)
        for rater, choices in (("fair", fair), ("lefty", lefty))
        for pair, choice in zip(pairs, choices, strict=True)
    ]
    result = score_votes(write_votes(tmp_path / "v.csv", rows), tmp_path / "key.json")
    found = result.left_wins
    assert (found["fair"].p_value or 0) > 0.05
    assert found["fair"].low < 0.5 < found["fair"].high
    assert (found["lefty"].p_value or 1) < 0.001
    assert found["lefty"].low > 0.5


# ---- a judge


class Judge:
    """Votes by a rule over what system 1 and system 2 made; notes what it was shown."""

    name = "rule"

    def __init__(self, rule):
        self.rule = rule
        self.seen = []

    def ask(self, text, *, pictures=()):
        self.seen.append((text, [int(one[0, 0, 0]) for one in pictures]))
        first, second = re.findall(r"Once <i>upon</i> (\d)", text)
        word = self.rule(first, second)
        return "\n".join(f"{aspect}: {word}" for aspect in ASPECTS)


def test_a_judge_votes_in_both_orders_with_all_pictures(outputs):
    judge = Judge(lambda first, second: "1" if first > second else "2")
    result = judge_pairs(items(6), outputs, judge)
    assert result.aspects["overall"].tallies == (Tally("northwind", "southgate", 0, 0, 6),)
    assert (result.agreement["rule"].value, result.agreement["rule"].n) == (1.0, 6)
    assert result.left_wins["rule"].value == 0.5
    assert len(judge.seen) == 12
    assert [shown for _, shown in judge.seen[:2]] == [[90, 50, 150], [90, 150, 50]]
    assert "Once <i>upon</i> 0\n[picture 2]\nThe end" in judge.seen[0][0]
    assert not any(system in text for text, _ in judge.seen for system in SYSTEMS)


def test_a_judge_that_follows_the_order_is_counted_as_ties(outputs):
    result = judge_pairs(items(6), outputs, Judge(lambda *_: "1"))
    assert result.aspects["overall"].tallies == (Tally("northwind", "southgate", 0, 6, 0),)
    assert (result.agreement["rule"].value, result.agreement["rule"].n) == (0.0, 6)
    assert result.left_wins["rule"].value == 1.0
    assert result.left_wins["rule"].p_value == pytest.approx(2 / 2**12)


def test_votes_that_a_judge_does_not_give_are_counted(outputs):
    result = judge_pairs(items(6), outputs, Judge(lambda first, _: "1" if first == "1" else "both"))
    assert result.unread == 6 * len(ASPECTS)
    assert result.aspects == {}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("overall: 1", "left"),
        ("**Overall:** 2", "right"),
        ("- overall - tie.", "tie"),
        ("Overall: system 2", "right"),
        ("overall: 1\nbut then\noverall: 2", "right"),
        ("The overall winner is 1", None),
        ("overall: 12", None),
        ("overall: 1, 2 or tie", None),
        ("", None),
    ],
)
def test_the_last_line_of_an_aspect_is_its_vote(reply, found):
    assert parse_votes(reply).get("overall") == found
