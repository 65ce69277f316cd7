"""What is written for people: whole, self-contained, escaped, repeatable."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mogao.data.images import read_image
from mogao.data.markdown import read_markdown
from mogao.errors import RequestError
from mogao.render import GIVEN, to_html, write_document
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment

TRACE = {"model": "tiny", "seed": 3, "seconds": 1.5, "generation": {"image": {"num_steps": 2}}}


def document(num_pictures: int = 2, text: str = "A fox.") -> InterleavedSequence:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (num_pictures, 16, 32, 3), dtype=np.uint8)
    texts = (TextSegment("Draw.", role="user"), TextSegment(text))
    return InterleavedSequence((*texts, *(ImageSegment(picture) for picture in pixels)))


class Page(HTMLParser):
    """Collects tags, references and visible text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_folder_holds_the_page_the_text_the_pictures_and_the_trace(tmp_path: Path) -> None:
    names = write_document(tmp_path, document(), title="Fox", trace=TRACE)
    assert names == ["001.png", "002.png"]
    expected = {"001.png", "002.png", "index.html", "index.md", "trace.json"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert json.loads((tmp_path / "trace.json").read_text())["files"] == names
    assert np.array_equal(read_image(tmp_path / "001.png"), document().images[0].pixels)


def test_written_markdown_can_be_continued(tmp_path: Path) -> None:
    write_document(tmp_path, document(), title="Fox", trace=TRACE)
    again = read_markdown(tmp_path / "index.md", max_pixels=1_000_000)
    assert [type(s) for s in again] == [type(s) for s in document()]
    assert [s.role for s in again] == [s.role for s in document()]
    assert np.array_equal(again.images[1].pixels, document().images[1].pixels)


def test_page_needs_nothing_from_outside() -> None:
    page = Page(to_html(document(), title="Fox", trace=TRACE))
    assert not page.open
    assert len(page.references) == 2
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert not {"script", "link", "iframe"} & set(page.tags)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x>', "# <b>head</b>"])
def test_text_can_never_become_markup(text: str) -> None:
    trace = TRACE | {"model": text, "generation": {"x": text}}
    page = Page(to_html(document(0, text), title=text, trace=trace))
    assert not {"script", "img", "b"} & set(page.tags)
    assert page.text.count(text.lstrip("# ")) >= 3


def test_given_and_drawn_pictures_are_told_apart() -> None:
    drawn = document(1)
    given = drawn.with_segments([ImageSegment(drawn.images[0].pixels, tags=(GIVEN,))])
    assert "1 pictures drawn" in to_html(drawn, title="", trace=TRACE)
    assert "0 pictures drawn" in to_html(given, title="", trace=TRACE)


def test_second_run_replaces_only_pictures_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "009.png").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    write_document(tmp_path, document(3), title="Fox", trace=TRACE)
    write_document(tmp_path, document(1), title="Fox", trace=TRACE)
    pictures = sorted(path.name for path in tmp_path.iterdir() if re.match(r"\d", path.name))
    assert pictures == ["001.png", "009.png"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_out_must_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="folder"):
        write_document(tmp_path / "file", document(), title="Fox", trace=TRACE)
