"""Record files: what is read, and what the message says where it cannot be."""

from __future__ import annotations

import base64
import csv

import numpy as np
import pytest

from mogao.data.images import png_bytes, save_png
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item
from mogao.evaluation.tasks.records import (
    distinct,
    document,
    field,
    name_field,
    picture_base64,
    picture_file,
    picture_of,
    read_json,
    read_json_lines,
    read_records,
    read_table,
    safe_id,
)

PIXELS = np.full((16, 20, 3), 7, np.uint8)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def item(name):
    return Item(name, "all", "", "text", lambda: document(""))


def test_json_lines_pass_over_empty_lines_and_keep_line_separators(tmp_path):
    path = written(tmp_path / "a.jsonl", '\ufeff{"a": 1}\n\n{"b": "x\u2028y"}\r\n')
    assert read_json_lines(path) == [{"a": 1}, {"b": "x\u2028y"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a"', r"a\.jsonl: line 2: not JSON"),
        ('{"a": 1}\n[1]', r"a\.jsonl: line 2: expected an object, got list \[1\]"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_json_lines(written(tmp_path / "a.jsonl", text))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot read the records: No such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"bytes\.json: not UTF-8 text"):
        read_json(tmp_path / "bytes.json")
    with pytest.raises(DataError, match=r"half\.json: not JSON: .* at line 2, column"):
        read_json(written(tmp_path / "half.json", "[1,\n2"))


def test_records_may_be_lines_a_list_or_an_object_by_key(tmp_path):
    rows = [{"id": "x", "n": 1}, {"id": "y", "n": 2}]
    lines = written(tmp_path / "a.jsonl", '{"id": "x", "n": 1}\n{"id": "y", "n": 2}')
    listed = written(tmp_path / "b.json", '[{"id": "x", "n": 1}, {"id": "y", "n": 2}]')
    keyed = written(tmp_path / "c.json", '{"x": {"n": 1}, "y": {"n": 2}}')
    assert [read_records(path, key="id") for path in (lines, listed, keyed)] == [rows] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "expected a list or an object of records, got int 3"),
        ('[{"a": 1}, 4]', "record 2: expected an object, got int 4"),
        ('{"x": "y"}', "record 1: expected an object, got str 'y'"),
    ],
)
def test_records_of_another_form_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_records(written(tmp_path / "a.json", text), key="id")


def test_tables_hold_quotes_line_breaks_and_large_cells(tmp_path):
    before = csv.field_size_limit()
    large = "x" * 200_000
    path = written(tmp_path / "a.tsv", f'id\ttext\n1\t"two\nlines ""quoted"""\n\n2\t{large}\n')
    rows = read_table(path, delimiter="\t")
    assert rows == [{"id": "1", "text": 'two\nlines "quoted"'}, {"id": "2", "text": large}]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", r"line 3: 1 cells, expected 2 as in the first line"),
        ("a,b\n1,2,3\n", r"line 2: 3 cells, expected 2"),
        ('a,b\n1,"open\n', r"unexpected end of data"),
    ],
)
def test_a_bad_row_of_a_table_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(written(tmp_path / "a.csv", text), delimiter=",")


def test_a_field_has_the_type_that_was_asked_for():
    row = {"n": 3, "x": 0.5, "s": "t", "b": True, "none": None}
    assert field(row, "n", int, where="f") == 3
    assert field(row, "n", float, where="f") == 3.0
    assert field(row, "b", bool, where="f") is True
    assert name_field(row, "n", where="f") == "3"
    assert name_field(row, "s", where="f") == "t"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("m", int, r"f: row 2: field 'm' is missing; there are n, b, none"),
        ("n", str, r"f: row 2: field 'n': expected str, got int 3"),
        ("b", int, r"expected int, got bool True"),
        ("none", str, r"expected str, got nothing"),
    ],
)
def test_a_missing_or_wrong_field_is_named(name, kind, message):
    with pytest.raises(DataError, match=message):
        field({"n": 3, "b": True, "none": None}, name, kind, where="f: row 2")


def test_a_field_of_something_else_than_an_object_is_refused():
    with pytest.raises(DataError, match="f: expected an object, got list"):
        field([1], "n", int, where="f")
    with pytest.raises(DataError, match="expected str, got float"):
        name_field({"id": 1.5}, "id", where="f")


def test_pictures_are_read_when_the_document_is_made(tmp_path):
    save_png(PIXELS, tmp_path / "in" / "a.png")
    text = base64.b64encode(png_bytes(PIXELS)).decode()
    pictures = [
        picture_file(tmp_path, "in/a.png", where="f"),
        picture_base64(text, where="f"),
        picture_of("in/a.png", tmp_path, where="f"),
        picture_of({"base64": text}, None, where="f"),
    ]
    made = document("What?", pictures=pictures)
    assert made.text == "What?"
    assert all(np.array_equal(image.pixels, PIXELS) for image in made.images)
    assert {segment.role for segment in made} == {"user"}
    assert len(made) == 5


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("../a.png", "below the folder"),
        ("/a.png", "below the folder"),
        ("http://a/b.png", "is a URL"),
        ("a.png", "cannot read the picture"),
        ({"base64": "%%"}, "not valid base64"),
        ({"base64": "AAAA"}, "not a picture"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named_only_then(tmp_path, value, message):
    picture = picture_of(value, tmp_path, where="f: row 1")
    with pytest.raises(DataError, match=f"f: row 1.*{message}"):
        document("", pictures=[picture])


def test_a_picture_outside_the_records_needs_a_folder():
    with pytest.raises(DataError, match=r"f: picture 'a\.png' lies outside .* name its folder"):
        document("", pictures=[picture_file(None, "a.png", where="f")])


def test_a_picture_of_another_form_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"f: expected a path or .*, got nothing"):
        picture_of(None, tmp_path, where="f")


def test_ids_fit_for_file_names_and_stay_different():
    assert safe_id("v1_0.a-b") == "v1_0.a-b"
    assert safe_id("a b") != safe_id("a/b")
    assert safe_id("a b").startswith("a_b-")
    assert safe_id("../x").startswith("_x-")
    assert safe_id("").startswith("-")
    assert len(safe_id("long " * 100)) == 89
    assert safe_id("x" * 81) != safe_id("x" * 82)


def test_items_need_different_ids(tmp_path):
    assert len(distinct([item("a"), item("b")], path=tmp_path)) == 2
    with pytest.raises(DataError, match="two records have the id 'a'"):
        distinct([item("a"), item("a")], path=tmp_path)
    with pytest.raises(DataError, match="no records"):
        distinct([], path=tmp_path)
