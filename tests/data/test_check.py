"""Checking files of records: everything is counted and every violation is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mogao.data.check import check_file, read_first
from mogao.data.images import save_png
from mogao.data.records import PictureOptions
from mogao.errors import DataError


def write(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def stories(tmp_path: Path, rng: Any) -> list[dict[str, Any]]:
    """Illustrated stories with extra keys beside the segments, and pictures to be scaled."""
    rows = []
    for number in range(3):
        names = [f"images/{number:04d}/{page:02d}.png" for page in (1, 2)]
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            save_png(rng.integers(0, 256, (150, 192, 3), dtype="uint8"), tmp_path / name)
        rows.append(
            {
                "id": f"{number:04d}",
                "title": "A tall man",
                "licence": "CC BY 4.0",
                "attribution": "by A. N. Author",
                "split": "train",
                "segments": [
                    {"text": "A tall man"},
                    {"image": names[0]},
                    {"image": names[1]},
                    {"text": "His bed was\ntoo short."},
                ],
            }
        )
    return rows


def test_a_pack_of_stories_passes(tmp_path: Path, stories: list[dict[str, Any]]) -> None:
    seen: list[tuple[int, int]] = []
    report = check_file(
        write(tmp_path / "stories.jsonl", stories),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert report.passed
    assert report.violations == []
    counts = (report.num_records, report.num_bad, report.num_segments, report.num_images)
    assert counts == (3, 0, 12, 6)
    assert (report.num_words, report.num_fitted, report.num_learned) == (24, 6, 3)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_every_violation_is_named_and_the_rest_is_still_checked(
    tmp_path: Path, stories: list[dict[str, Any]]
) -> None:
    stories[0]["segments"][1]["image"] = "https://example.org/1.png"
    stories[1]["segments"][2]["image"] = "images/none.png"
    (tmp_path / "images" / "0002" / "01.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = write(tmp_path / "stories.jsonl", [*stories, "{broken", {"id": "x", "segmnets": []}])
    report = check_file(path)
    assert not report.passed
    assert (report.num_records, report.num_bad, report.num_images) == (5, 5, 0)
    assert [(v.where.removeprefix(path), v.field) for v in report.violations] == [
        (":1", "segments[1].image"),
        (":2", "segments[2].image"),
        (":3", "segments[1].image"),
        (":4", ""),
        (":5", "segments"),
    ]
    reasons = ["a URL", "cannot read 'images/none.png'", "not a picture", "not valid JSON"]
    for violation, reason in zip(report.violations, reasons, strict=False):
        assert reason in violation.message


def test_limits_of_pictures_are_those_of_training(
    tmp_path: Path, stories: list[dict[str, Any]]
) -> None:
    path = write(tmp_path / "stories.jsonl", stories[:1])
    report = check_file(path, options=PictureOptions(max_pixels=1000))
    assert "at most 1000 are allowed" in report.violations[0].message


def test_an_empty_file_does_not_pass(tmp_path: Path) -> None:
    report = check_file(write(tmp_path / "d.jsonl", []))
    assert not report.passed
    assert report.violations[0].message == "there are no records"


def test_a_few_records_can_be_read_to_look_at(
    tmp_path: Path, stories: list[dict[str, Any]]
) -> None:
    path = write(tmp_path / "stories.jsonl", [*stories, "{broken"])
    assert [s.id for s in read_first(path, count=2, start=1)] == ["0001", "0002"]
    assert read_first(path, count=2, start=9) == []
    with pytest.raises(DataError, match=r"stories\.jsonl:4: not valid JSON"):
        read_first(path, count=4)
