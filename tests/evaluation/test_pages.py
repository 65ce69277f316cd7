"""A page shows shares as shares, and of an item what was given, made, right and wrong."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.evaluation.benchmark import Output, Row
from mogao.evaluation.pages import Head, suite_page
from mogao.evaluation.scores import Score


class Balanced(HTMLParser):
    """Fails where a tag that must be closed is not."""

    open_ended = frozenset({"meta", "br", "img", "td", "th"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002 - the name is the parser's
        if tag not in self.open_ended:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Nothing is open behind a tag that closes itself."""

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def page(*rows: Row, outputs, given=None, scores=None) -> str:
    head = Head("suite", "model", "Protocol p.", scores or {})
    prompts = {row.id: f"prompt of <{row.id}>" for row in rows}
    text = suite_page(head, rows, prompts=prompts, outputs=outputs, given=given)
    reader = Balanced()
    reader.feed(text)
    assert reader.stack == []
    return text


def picture(path: Path, shade: int, side: int = 32) -> Path:
    save_png(np.full((side, side, 3), shade, np.uint8), path)
    return path


def bars(text: str) -> list[float]:
    return [float(found) for found in re.findall(r'<rect width="([\d.]+)"', text)]


def test_shares_are_drawn_from_zero_to_one_beside_other_units():
    scores = {
        "overall": Score(0.44, 0.3, 0.5, 9),
        "all": Score(1.0000000000000002, 1.0, 1.0000000000000002, 9),
        "psnr": Score(31.0, 30.0, 40.0, 9),
        "kind/psnr": Score(20.0, 10.0, 30.0, 9),
    }
    assert bars(page(outputs={}, scores=scores)) == [88.0, 200.0, 155.0, 100.0]


def test_all_outputs_and_what_was_given_are_shown(tmp_path: Path):
    files = [picture(tmp_path / f"{k}.png", 40 * k) for k in range(4)]
    row = Row("one", "g", {"right": 0.5})
    outputs = {"one": [Output((path,)) for path in files]}
    assert page(row, outputs=outputs).count("<img") == 4
    shown = page(row, outputs=outputs, given=lambda _: [np.zeros((32, 32, 3), np.uint8)] * 2)
    assert shown.count("<img") == 6
    assert len(set(re.findall(r'src="([^"]+)"', shown))) == 4  # black was given and made
    assert 'class="pictures given many"' in shown


def test_only_items_on_the_page_are_asked_for_what_was_given():
    rows = [Row(f"r{k}", "g", {"right": float(k % 2)}) for k in range(100)]
    asked: list[str] = []

    def given(name: str) -> list[np.ndarray]:
        asked.append(name)
        return []

    page(*rows, outputs={row.id: [Output(("said",))] for row in rows}, given=given)
    assert len(asked) == 48


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({"said": "no", "answer": "yes"}, ["answer: yes"]),
        ({"missing": ["thing cat", "place cat"], "wrong": []}, ["missing: thing cat; place cat"]),
        ({"pictures": [{"reasons": []}, {"reasons": ["2 <cat>"]}]}, ["2. reasons: 2 &lt;cat&gt;"]),
        ({"pictures": [{"wrong": ["place dog left"]}]}, ["wrong: place dog left"]),
        ({"answer": 3, "pictures": ["a.png"]}, ["answer: 3"]),
    ],
)  # fmt: skip
def test_a_tile_says_what_was_right_and_what_was_not(facts, lines):
    row = Row("one", "g", {"right": 0.0}, facts=facts)
    shown = page(row, outputs={"one": [Output(("I <say>",))]})
    tile = shown[shown.index('<div class="item bad">') :]
    assert [line for line in tile.split("<br>") if ": " in line] == lines
    assert "<i>I &lt;say&gt;</i>" in tile
    assert "prompt of &lt;one&gt;" in tile


def test_a_picture_that_cannot_be_read_is_named_and_large_ones_are_small(tmp_path: Path):
    (tmp_path / "bad.png").write_text("nothing")
    large = picture(tmp_path / "large.png", 9, side=2000)
    row = Row("one", "g", {"right": 0.0}, failures=("one/bad.png: not a picture",))
    shown = page(row, outputs={"one": [Output((tmp_path / "bad.png", large))]})
    assert f"<b>{tmp_path.name}/bad.png: not a picture" in shown
    assert "<br>one/bad.png: not a picture<br>" in shown
    assert shown.count("<img") == 1
    assert len(shown) < 20_000
