"""The record schema: what is accepted, how each violation is named, and the way back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mogao.data.images import png_bytes
from mogao.data.records import (
    PictureOptions,
    check_record,
    from_sequence,
    parse_record,
    to_sequence,
    write_records,
)
from mogao.data.tables import open_table
from mogao.data.violations import RecordError
from mogao.errors import DataError
from mogao.sequence import ImageSegment, InterleavedSequence, Role, TextSegment

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
PNG = png_bytes(PIXELS)


def read(name: str) -> bytes:
    if name != "a/b.png":
        raise DataError(f"cannot read {name!r}: no such file")
    return PNG


def sequence_of(*segments: dict[str, Any], **extra: Any) -> InterleavedSequence:
    record = parse_record({"id": "r", "segments": list(segments), **extra}, where="f:1")
    return to_sequence(record, read=read, where="f:1")


def test_every_key_of_the_schema_reaches_the_sequence() -> None:
    grey = np.zeros((32, 48, 3), np.uint8)
    grey[:, 16:32] = 255
    sequence = sequence_of(
        {"text": "Look", "from": "user", "tags": ["ask"]},
        {"image": "a/b.png", "from": "user", "vit": False, "weight": 2},
        {
            "image": {"base64": base64.b64encode(PNG).decode()},
            "latents": False,
            "loss_map": {"base64": base64.b64encode(png_bytes(grey)).decode()},
        },
        {"text": "no loss", "loss": False},
        meta={"licence": "CC0"},
    )
    look, shown, drawn, last = sequence.segments
    assert look == TextSegment("Look", "user", None, 1.0, ("ask",))
    assert last == TextSegment("no loss", "model", loss=False)
    assert isinstance(shown, ImageSegment)
    assert isinstance(drawn, ImageSegment)
    assert (shown.role, shown.vit, shown.latents, shown.weight) == ("user", False, True, 2.0)
    assert (drawn.role, drawn.vit, drawn.latents) == ("model", True, False)
    assert np.array_equal(shown.pixels, PIXELS)
    assert np.array_equal(drawn.pixels, PIXELS)
    assert drawn.loss_map is not None
    assert drawn.loss_map.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert [s.has_loss for s in sequence] == [False, False, True, False]
    assert sequence.meta == {"licence": "CC0"}


def test_unknown_top_level_keys_become_metadata() -> None:
    sequence = sequence_of({"text": "x"}, title="A tale", split="val", meta={"n": 1})
    assert sequence.meta == {"n": 1, "title": "A tale", "split": "val"}


def test_nulls_count_as_absent_and_parquet_forms_are_read() -> None:
    sequence = sequence_of(
        {"text": None, "image": {"bytes": PNG, "path": None}, "from": None, "loss": None},
        {"text": "x", "image": None, "vit": None},
        meta='{"n": 1}',
    )
    assert len(sequence.images) == 1
    assert sequence.meta == {"n": 1}


def test_scaled_pictures_are_noted_in_the_metadata() -> None:
    record = parse_record({"id": "r", "segments": [{"image": "a/b.png"}]}, where="f:1")
    options = PictureOptions(pixel_budget=4 * 256)
    sequence = to_sequence(record, read=read, where="f:1", options=options)
    assert sequence.images[0].size == (32, 32)
    assert sequence.meta == {"fitted": {"0": {"from": [32, 48], "to": [32, 32]}}}


@pytest.mark.parametrize(
    ("segment", "field", "message"),
    [
        ({"txt": "x"}, "segments[1].txt", "unknown key (did you mean 'text'?)"),
        ({"text": 3}, "segments[1].text", "must be a valid string, got 3"),
        ({"text": "\ud800"}, "segments[1].text", "lone surrogate"),
        ({}, "segments[1]", "exactly one of 'text' and 'image'"),
        ({"text": "x", "image": "a.png"}, "segments[1]", "exactly one of 'text' and 'image'"),
        ({"text": "x", "vit": True}, "segments[1]", "only a picture can have vit"),
        ({"text": "x", "from": "bot"}, "segments[1].from", "must be 'user', 'model' or 'system'"),
        ({"text": "x", "loss": 1}, "segments[1].loss", "must be a valid boolean, got 1"),
        ({"text": "x", "weight": -1}, "segments[1].weight", "greater than or equal to 0"),
        ({"text": "x", "tags": "a"}, "segments[1].tags", "must be a valid tuple"),
        ("x", "segments[1]", "must be a valid dictionary"),
        ({"image": "http://a.org/b.png"}, "segments[1].image", "is a URL or a drive"),
        ({"image": "data:image/png;base64,AA"}, "segments[1].image", "is a URL or a drive"),
        ({"image": "C:\\b.png"}, "segments[1].image", "is a URL or a drive"),
        ({"image": "../b.png"}, "segments[1].image", "must be a relative path below"),
        ({"image": "a/../../b.png"}, "segments[1].image", "must be a relative path below"),
        ({"image": "/etc/b.png"}, "segments[1].image", "must be a relative path below"),
        ({"image": "//host/b.png"}, "segments[1].image", "must be a relative path below"),
        ({"image": "a\\..\\b.png"}, "segments[1].image", "must be a relative path below"),
        ({"image": ""}, "segments[1].image", "must be a relative path below"),
        ({"image": {"base64": "!!"}}, "segments[1].image", "not valid base64"),
        ({"image": {"url": "x"}}, "segments[1].image", 'must be {"base64": text}'),
        ({"image": 7}, "segments[1].image", "must be a path, bytes or base64, got int"),
    ],
)
def test_each_violation_is_named_with_its_field(segment: Any, field: str, message: str) -> None:
    data = {"id": "r", "segments": [{"text": "fine"}, segment]}
    record, violations = check_record(data, where="data.jsonl:7")
    assert record is None
    assert [(v.where, v.field) for v in violations] == [("data.jsonl:7", field)]
    assert message in violations[0].message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "f:1: must be an object, got list"),
        ({"segments": [{"text": "x"}]}, "f:1: id: is missing"),
        ({"id": 3, "segments": [{"text": "x"}]}, "f:1: id: must be a valid string, got 3"),
        ({"id": "r", "segmens": []}, "f:1: segments: is missing; the record has segmens"),
        ({"id": "r", "segments": []}, "f:1: segments: needs at least one segment"),
        ({"id": "r", "segments": [{"text": "x"}], "meta": 3}, "f:1: meta: must be an object"),
        ({"id": "r", "segments": [{"text": "x"}], "meta": "{"}, "f:1: meta: is text but no JSON"),
        ({"id": "r", "segments": [{"text": "x"}], "n": 1, "meta": {"n": 2}}, "meta: n stand both"),
    ],
)
def test_a_broken_record_is_refused_with_the_reason(data: Any, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse_record(data, where="f:1")
    assert message in str(caught.value)


def test_all_violations_of_a_record_are_named_at_once() -> None:
    _, violations = check_record({"id": 1, "segments": [{"a": 1}, {"text": 2}]}, where="f:1")
    assert {v.field for v in violations} == {"id", "segments[0].a", "segments[1].text"}


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ({"image": "no.png"}, r"f:1: segments\[0\].image: cannot read 'no.png'"),
        ({"image": {"base64": "AAAA"}}, r"f:1: segments\[0\].image: picture: not a picture"),
        (
            {"image": "a/b.png", "loss_map": {"base64": "AAAA"}},
            r"f:1: segments\[0\].image: loss_map: not a picture",
        ),
    ],
)
def test_a_picture_that_cannot_be_read_is_named(segment: Any, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        sequence_of(segment)


ROLES: tuple[Role, ...] = ("system", "user", "model")


def document() -> InterleavedSequence:
    loss_map = np.array([[0, 1, 0.2], [1, 0, 0]], np.float32)
    picture = ImageSegment(PIXELS, "user", tags=("shown",), vit=False, latents=False)
    return InterleavedSequence(
        (
            *(TextSegment(f"a {role}", role) for role in ROLES),
            picture,
            ImageSegment(PIXELS[::-1], loss=True, weight=0.5, loss_map=loss_map),
            TextSegment("x", loss=False),
        ),
        id="doc",
        meta={"licence": "CC0"},
    )


def assert_same(left: InterleavedSequence, right: InterleavedSequence) -> None:
    assert (left.id, left.meta, len(left)) == (right.id, right.meta, len(right))
    for a, b in zip(left, right, strict=True):
        assert (a.role, a.loss, a.weight, a.tags) == (b.role, b.loss, b.weight, b.tags)
        if isinstance(a, TextSegment):
            assert a == b
            continue
        assert isinstance(b, ImageSegment)
        assert (a.vit, a.latents) == (b.vit, b.latents)
        assert np.array_equal(a.pixels, b.pixels)
        assert (a.loss_map is None) == (b.loss_map is None)
        if a.loss_map is not None and b.loss_map is not None:
            assert np.array_equal(a.loss_map, b.loss_map)


def test_a_sequence_round_trips_through_a_record() -> None:
    data = json.loads(json.dumps(from_sequence(document())))
    again = to_sequence(parse_record(data, where="f:1"), read=read, where="f:1")
    assert_same(again, document())


def test_written_records_read_back_with_their_pictures(tmp_path: Path) -> None:
    assert write_records([document(), document()], tmp_path / "d.jsonl") == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d-images", "d.jsonl"]
    table = open_table(str(tmp_path / "d.jsonl"))
    assert len(table) == 2
    row = table.row(1)
    again = to_sequence(parse_record(row.data, where=row.where), read=row.read, where=row.where)
    assert_same(again, document())


def test_a_loss_map_outside_the_range_of_a_picture_is_refused() -> None:
    segment = ImageSegment(PIXELS, loss_map=np.full((2, 3), 1.5, np.float32))
    with pytest.raises(DataError, match="only weights in"):
        from_sequence(InterleavedSequence((segment,), id="doc"))
