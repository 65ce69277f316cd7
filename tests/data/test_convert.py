"""Common dataset rows become records; a row that does not fit its form is named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mogao.data.check import check_file, read_first
from mogao.data.convert import FORMS, convert_file, convert_row
from mogao.data.images import png_bytes, save_png
from mogao.errors import ConfigError, DataError
from mogao.sequence import ImageSegment

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
BASE64 = base64.b64encode(png_bytes(PIXELS)).decode()

ROWS: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": "a.png"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64," + BASE64}},
                    {"type": "text", "text": "Which is red?"},
                ],
            },
            {"role": "assistant", "content": "The first."},
        ]
    },
    "llava": {
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "What is it?\n<image>"},
            {"from": "gpt", "value": "A fox."},
        ],
    },
    "caption": {"image": "a.png", "caption": "a red fox"},
    "vqa": {"image": "a.png", "question": "How many?", "answer": "two"},
    "edit": {"source": "a.png", "instruction": "Add a hat.", "target": "b.png"},
    "preference": {"prompt": "Draw a fox.", "chosen": {"image": "a.png"}, "rejected": "no"},
}
SHAPES = {
    "chat": [["system:text", "user:image", "user:image", "user:text", "model:text"]],
    "llava": [["user:text", "user:image", "model:text"]],
    "caption": [["model:text", "model:image"]],
    "vqa": [["user:image", "user:text", "model:text"]],
    "edit": [["user:image", "user:text", "model:image"]],
    "preference": [["user:text", "model:image"], ["user:text", "model:text"]],
}


def test_every_form_has_a_case_here() -> None:
    assert set(ROWS) == set(SHAPES) == set(FORMS)


@pytest.mark.parametrize("form", ROWS)
def test_a_converted_file_passes_the_check(tmp_path: Path, form: str) -> None:
    for name in ("a.png", "b.png"):
        save_png(PIXELS, tmp_path / name)
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[form]) + "\n")
    target = tmp_path / "records.jsonl"
    assert convert_file(str(tmp_path / "rows.jsonl"), target, form=form) == len(SHAPES[form])
    assert check_file(str(target)).passed
    shapes = [
        [f"{s.role}:{'image' if isinstance(s, ImageSegment) else 'text'}" for s in sequence]
        for sequence in read_first(str(target), count=9)
    ]
    assert shapes == SHAPES[form]


def test_pictures_go_into_records_that_are_written_elsewhere(tmp_path: Path) -> None:
    save_png(PIXELS, tmp_path / "a.png")
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS["caption"]) + "\n")
    target = tmp_path / "else" / "where.jsonl"
    convert_file(str(tmp_path / "rows.jsonl"), target, form="caption")
    image = json.loads(target.read_text())["segments"][1]["image"]
    assert image == {"base64": BASE64}
    assert np.array_equal(read_first(str(target))[0].images[0].pixels, PIXELS)


def test_ids_are_kept_or_made_from_the_place() -> None:
    row = ROWS["preference"]
    records = convert_row({**row, "id": 7}, form="preference", name="f-000001", where="f:1")
    assert [r["id"] for r in records] == ["7-chosen", "7-rejected"]
    assert {r["meta"]["pair"] for r in records} == {"7"}
    assert [r["segments"][-1]["tags"] for r in records] == [["chosen"], ["rejected"]]
    made = convert_row(ROWS["vqa"], form="vqa", name="f-000001", where="f:1")
    assert made[0]["id"] == "f-000001"


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        ("caption", {"caption": None}, "not a caption row: 'caption' is missing; the row has"),
        ("vqa", {"answer": 2}, "'answer' must be text, got 2"),
        ("edit", {"target": "../b.png"}, r"segments\[2\].image: '../b.png' must be a relative"),
        ("chat", {"messages": "hi"}, "'messages' must be a list of objects"),
        ("chat", {"messages": [{"role": "usr", "content": "x"}]}, "did you mean 'user'"),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "content part"),
        (
            "chat",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "https://a.org/b"}}],
                    }
                ]
            },
            "is a URL",
        ),
        ("llava", {"image": None}, "more <image> than the 0 given"),
        ("llava", {"images": ["a.png", "b.png"]}, "1 of 2 images have no <image> mark"),
    ],
)
def test_a_row_that_does_not_fit_is_named(form: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^rows.jsonl:3: .*{message}"):
        convert_row({**ROWS[form], **change}, form=form, name="x", where="rows.jsonl:3")


def test_a_failed_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS["vqa"]) + "\n{}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not a vqa row"):
        convert_file(str(tmp_path / "rows.jsonl"), tmp_path / "records.jsonl", form="vqa")
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'caption'"):
        convert_row({}, form="captions", name="x", where="f:1")
