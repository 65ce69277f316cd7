"""Markdown documents: what is text, what is a picture, and exact round trips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogao.data.images import save_png
from mogao.data.markdown import (
    PictureLink,
    parse_markdown,
    read_markdown,
    to_markdown,
    write_markdown,
)
from mogao.errors import RequestError
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)


def test_pictures_are_cut_out_and_their_blank_lines_with_them() -> None:
    source = "# A fox\n\nOnce.\n\n![a fox](pictures/fox%201.png)\n\nThen *it* ran.\n"
    assert parse_markdown(source) == [
        ("# A fox\n\nOnce.", "model"),
        (PictureLink("pictures/fox 1.png"), "model"),
        ("Then *it* ran.", "model"),
    ]


def test_quotes_are_the_user() -> None:
    source = "> Look:\n>\n> ![](a.png)\n\nA red fox.\n\n> Another?"
    assert parse_markdown(source) == [
        ("Look:", "user"),
        (PictureLink("a.png"), "user"),
        ("A red fox.", "model"),
        ("Another?", "user"),
    ]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("![](a.png)", "a.png"),
        ('![alt](a.png "A title")', "a.png"),
        ("![alt](<a b (1).png>)", "a b (1).png"),
        ("![alt]( a.png )", "a.png"),
    ],
)
def test_forms_of_a_picture(source: str, target: str) -> None:
    assert parse_markdown(source) == [(PictureLink(target), "model")]


@pytest.mark.parametrize("source", ["![not](closed", "[link](a.png)", "a ! [b](c)"])
def test_everything_else_is_text(source: str) -> None:
    assert parse_markdown(source) == [(source, "model")]


def test_an_escaped_picture_is_text() -> None:
    assert parse_markdown("\\![a](b.png)") == [("![a](b.png)", "model")]


lines = st.lists(
    st.sampled_from(["a", " ", "\n", "> ", ">", "   >", "\\", "![x](y.png)", "![", "#", "\u2028"]),
    min_size=1,
).map("".join)
texts = lines | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
# Plain values: segments are built in the test, since their run-time checks draw random numbers.
drafts = st.lists(st.tuples(st.none() | texts, st.sampled_from(["model", "user"])), max_size=6)


@given(drafts)
def test_texts_pictures_and_roles_round_trip(draft: list[tuple[str | None, Role]]) -> None:
    segments: list[Segment] = [
        ImageSegment(PIXELS, role) if text is None else TextSegment(text, role)
        for text, role in draft
    ]
    names = [f"{i} (1).png" for i, s in enumerate(segments) if isinstance(s, ImageSegment)]
    assert parse_markdown(to_markdown(segments, names=names)) == merged(segments, names)


def merged(segments: list[Segment], names: list[str]) -> list[tuple[str | PictureLink, Role]]:
    """The same parts with neighbouring texts of one role joined."""
    remaining = iter(names)
    parts: list[tuple[str | PictureLink, Role]] = []
    for segment in segments:
        if isinstance(segment, ImageSegment):
            parts.append((PictureLink(next(remaining)), segment.role))
            continue
        last = parts[-1] if parts else None
        if last and isinstance(last[0], str) and last[1] == segment.role:
            parts[-1] = (last[0] + segment.text, segment.role)
        else:
            parts.append((segment.text, segment.role))
    return parts


def test_a_written_document_reads_back_with_equal_pixels(tmp_path: Path) -> None:
    document = InterleavedSequence(
        (
            TextSegment("Draw a fox.\n", role="user"),
            TextSegment("Here:"),
            ImageSegment(PIXELS),
            ImageSegment(PIXELS[::-1]),
        )
    )
    pictures = write_markdown(document, tmp_path / "story.md")
    again = read_markdown(tmp_path / "story.md")
    assert [p.name for p in pictures] == ["001.png", "002.png"]
    assert again.id == "story"
    assert again.text == document.text
    assert [s.role for s in again] == [s.role for s in document]
    for written, read in zip(document.images, again.images, strict=True):
        assert np.array_equal(written.pixels, read.pixels)


@pytest.mark.parametrize(
    "target",
    ["https://example.org/a.png", "/etc/a.png", "../a.png", "<file:///a.png>", "none.png", "<>"],
)
def test_pictures_outside_the_folder_are_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "doc"
    folder.mkdir()
    save_png(PIXELS, tmp_path / "a.png")
    (folder / "story.md").write_text(f"See ![x]({target}).")
    with pytest.raises(RequestError, match=r"story\.md: picture .*addresses are never fetched"):
        read_markdown(folder / "story.md")


def test_an_empty_or_missing_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot read document"):
        read_markdown(tmp_path / "none.md")
    (tmp_path / "empty.md").write_text("\n")
    with pytest.raises(RequestError, match="is empty"):
        read_markdown(tmp_path / "empty.md")
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    with pytest.raises(RequestError, match="not UTF-8"):
        read_markdown(tmp_path / "latin.md")
