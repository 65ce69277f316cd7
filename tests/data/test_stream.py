"""The stream of records: every record once an epoch, exact resume, bad records counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mogao.config import RecordsConfig
from mogao.data.images import save_png
from mogao.data.stream import Records
from mogao.errors import CheckpointError, DataError
from mogao.sequence import Pixels, TextSegment


@pytest.fixture
def pixels(rng: Any) -> Pixels:
    made: Pixels = rng.integers(0, 256, (16, 16, 3), dtype="uint8")
    return made


def write(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def texts(count: int, **meta: Any) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "segments": [{"text": f"text {i}"}], **meta} for i in range(count)]


def take(source: Records, count: int) -> list[str]:
    return [source.next().id for _ in range(count)]


def test_each_epoch_holds_every_record_once_in_a_new_order(tmp_path: Path) -> None:
    source = Records(RecordsConfig(path=write(tmp_path / "d.jsonl", texts(20))))
    first, second = take(source, 20), take(source, 20)
    assert sorted(first) == sorted(second) == sorted(f"r{i}" for i in range(20))
    assert first != second
    assert first != [f"r{i}" for i in range(20)]


def test_without_shuffle_the_file_order_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", texts(3))
    assert take(Records(RecordsConfig(path=path, shuffle=False)), 5) == [
        "r0",
        "r1",
        "r2",
        "r0",
        "r1",
    ]


@pytest.mark.parametrize("before", [0, 3, 7, 12])
def test_resume_continues_exactly(tmp_path: Path, before: int) -> None:
    rows: list[Any] = texts(7)
    rows[2] = "{broken"
    config = RecordsConfig(path=write(tmp_path / "d.jsonl", rows), max_bad_share=0.5)
    source = Records(config)
    take(source, before)
    state = json.loads(json.dumps(source.state_dict()))
    expected = take(source, 15)
    resumed = Records(config)
    resumed.load_state_dict(state)
    assert take(resumed, 15) == expected
    assert resumed.state_dict() == source.state_dict()


def test_ranks_share_each_epoch(tmp_path: Path) -> None:
    config = RecordsConfig(path=write(tmp_path / "d.jsonl", texts(10)))
    parts = [take(Records(config, rank=rank, num_ranks=3), n) for rank, n in enumerate((4, 3, 3))]
    assert sorted(id_ for part in parts for id_ in part) == [f"r{i}" for i in range(10)]


def test_changed_data_or_ranks_refuse_to_resume(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", texts(5))
    state = Records(RecordsConfig(path=path)).state_dict()
    with pytest.raises(CheckpointError, match="num_ranks was 1 in the checkpoint and is 2"):
        Records(RecordsConfig(path=path), num_ranks=2).load_state_dict(state)
    write(tmp_path / "d.jsonl", texts(6))
    with pytest.raises(CheckpointError, match="num_records was 5 in the checkpoint and is 6"):
        Records(RecordsConfig(path=path)).load_state_dict(state)


def test_bad_records_are_counted_named_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[Any] = texts(150)
    rows[41] = {"id": "bad", "segments": [{"imgae": "x.png"}]}
    source = Records(RecordsConfig(path=write(tmp_path / "d.jsonl", rows)))
    with caplog.at_level(logging.WARNING):
        assert "bad" not in take(source, 149)
    assert (source.num_read, source.num_bad) == (150, 1)
    assert "d.jsonl:42: segments[0].imgae: unknown key (did you mean 'image'?)" in caplog.text


def test_too_many_bad_records_stop_the_stream(tmp_path: Path) -> None:
    rows: list[Any] = texts(150)
    rows[5], rows[6] = "{broken", "{broken"
    path = write(tmp_path / "d.jsonl", rows)
    source = Records(RecordsConfig(path=path, shuffle=False))
    with pytest.raises(DataError, match=r"2 of 7 records read .* broken.*d\.jsonl:7: not valid"):
        take(source, 149)
    strict = Records(RecordsConfig(path=path, shuffle=False, max_bad_share=0))
    with pytest.raises(DataError, match=r"1 of 6 records read .* share of 0\.0 allowed"):
        take(strict, 149)


def test_keep_selects_by_metadata(tmp_path: Path) -> None:
    rows = texts(3, split="val") + [{**r, "id": "t" + r["id"]} for r in texts(2, split="train")]
    config = RecordsConfig(path=write(tmp_path / "d.jsonl", rows), keep={"split": "train"})
    assert set(take(Records(config), 4)) == {"tr0", "tr1"}
    none = RecordsConfig(path=config.path, keep={"split": "test"})
    with pytest.raises(DataError, match=r"no usable record .*keep is \{'split': 'test'\}"):
        Records(none).next()


def test_long_documents_are_cut_behind_the_last_allowed_picture(
    tmp_path: Path, pixels: Pixels
) -> None:
    save_png(pixels, tmp_path / "a.png")
    picture = {"image": "a.png"}
    segments = [{"text": "t"}, picture, {"text": "u"}, picture, {"text": "v"}, picture]
    path = write(tmp_path / "d.jsonl", [{"id": "r", "segments": segments}])
    source = Records(RecordsConfig(path=path, max_images=2))
    cut = source.next()
    assert len(cut.images) == 2
    assert cut.segments[-1] == TextSegment("v")
    assert source.num_cut == 1


def test_an_empty_file_or_fewer_records_than_ranks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [])
    with pytest.raises(DataError, match="has 0 records; at least 1"):
        Records(RecordsConfig(path=path))
    write(tmp_path / "d.jsonl", texts(1))
    with pytest.raises(DataError, match="has 1 records; at least 2"):
        Records(RecordsConfig(path=path), num_ranks=2)
