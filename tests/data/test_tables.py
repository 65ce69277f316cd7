"""Files of records: every form is read, every bad one is named, nothing outside is touched."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from mogao.data.images import png_bytes
from mogao.data.records import parse_record, to_sequence
from mogao.data.tables import Table, open_table
from mogao.errors import DataError
from mogao.sequence import InterleavedSequence

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
PNG = png_bytes(PIXELS)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the Arrow copies of the datasets library out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()


def records(count: int, **image: Any) -> list[dict[str, Any]]:
    image = image or {"image": "pictures/a.png"}
    return [{"id": f"r{i}", "segments": [{"text": f"text {i}"}, image]} for i in range(count)]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sequences(table: Table) -> Iterator[InterleavedSequence]:
    for index in range(len(table)):
        row = table.row(index)
        yield to_sequence(parse_record(row.data, where=row.where), read=row.read, where=row.where)


def assert_reads(path: Path | str, ids: list[str]) -> None:
    found = list(sequences(open_table(str(path))))
    assert [s.id for s in found] == ids
    assert all(np.array_equal(s.images[0].pixels, PIXELS) for s in found)


def picture(folder: Path, name: str = "pictures/a.png") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(PNG)


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_json_lines_with_pictures_beside_them(tmp_path: Path) -> None:
    picture(tmp_path)
    assert_reads(write_jsonl(tmp_path / "d.jsonl", records(3)), ["r0", "r1", "r2"])


def test_lines_are_numbered_as_in_an_editor(tmp_path: Path) -> None:
    first, second = (json.dumps(r) for r in records(2))
    text = f"\ufeff{first}\r\n\n   \n{second}"
    (tmp_path / "d.jsonl").write_text(text, encoding="utf-8", newline="")
    table = open_table(str(tmp_path / "d.jsonl"))
    assert [table.row(i).data["id"] for i in range(len(table))] == ["r0", "r1"]
    assert [table.row(i).where.rsplit(":", 1)[1] for i in range(2)] == ["1", "4"]


@pytest.mark.parametrize(
    "line", [b"{broken", b'{"id": "caf\xe9"}', b"[" * 100_000, b'{"id": "x"} {}']
)
def test_a_broken_line_is_named_and_its_neighbours_are_read(tmp_path: Path, line: bytes) -> None:
    good = json.dumps(records(1)[0]).encode()
    (tmp_path / "d.jsonl").write_bytes(good + b"\n" + line + b"\n" + good)
    table = open_table(str(tmp_path / "d.jsonl"))
    assert table.row(0).data == table.row(2).data
    with pytest.raises(DataError, match=r"d\.jsonl:2: not valid JSON"):
        table.row(1)


def test_parquet_with_pictures_as_bytes(tmp_path: Path) -> None:
    rows = records(3, image={"bytes": PNG, "path": None})
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "d.parquet")
    assert_reads(tmp_path / "d.parquet", ["r0", "r1", "r2"])
    assert open_table(str(tmp_path / "d.parquet")).row(1).where.endswith("d.parquet:row 2")


def test_a_dataset_saved_with_the_image_type_is_not_decoded(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "segments": datasets.List(
                {"text": datasets.Value("string"), "image": datasets.Image()}
            ),
        }
    )
    rows = [{"id": "r0", "segments": [{"text": "a", "image": None}, {"text": None, "image": PNG}]}]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "d")
    assert_reads(tmp_path / "d", ["r0"])


def test_tar_shards_with_records_and_with_captions(tmp_path: Path) -> None:
    record = {"id": "r0", "segments": [{"text": "a"}, {"image": "0.png"}]}
    members = {
        "x/0.json": json.dumps(record).encode(),
        "x/0.png": PNG,
        "./y/1.txt": b" a red fox \n",
        "./y/1.png": PNG,
        "lonely.txt": b"no picture",
    }
    path = write_tar(tmp_path / "d.tar", members)
    assert_reads(path, ["r0", "y/1"])
    captioned = list(sequences(open_table(str(path))))[1]
    assert captioned.text == "a red fox"
    assert open_table(str(path)).row(0).where == f"{path}:x/0.json"


def test_a_tar_never_reads_files_around_it(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    link = tarfile.TarInfo("b.png")
    link.type, link.linkname = tarfile.SYMTYPE, "a.png"
    names = ("a.png", "b.png")
    path = tmp_path / "d.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(link)
        for name in names:
            data = json.dumps({"id": name, "segments": [{"image": name}]}).encode()
            info = tarfile.TarInfo(name.replace("png", "json"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    table = open_table(str(path))
    for index, name in enumerate(names):
        with pytest.raises(DataError, match="no member"):
            table.row(index).read(name)


def test_a_folder_of_pictures_with_captions(tmp_path: Path) -> None:
    picture(tmp_path, "b/2.png")
    picture(tmp_path, "1.PNG")
    (tmp_path / "1.txt").write_text("one")
    (tmp_path / "b" / "2.txt").write_text("two")
    assert_reads(tmp_path, ["1", "b/2"])


def test_a_folder_or_a_pattern_joins_its_files(tmp_path: Path) -> None:
    picture(tmp_path)
    write_jsonl(tmp_path / "s-1.jsonl", records(2))
    write_jsonl(tmp_path / "s-0.jsonl", records(1))
    write_jsonl(tmp_path / "t.jsonl", [])
    assert_reads(tmp_path, ["r0", "r0", "r1"])
    assert_reads(tmp_path / "s-*.jsonl", ["r0", "r0", "r1"])


def test_a_symbolic_link_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    picture(tmp_path, "secret.png")
    (folder / "a.png").symlink_to(tmp_path / "secret.png")
    write_jsonl(folder / "d.jsonl", records(1, image="a.png"))
    with pytest.raises(DataError, match=r"segments\[1\].image: 'a.png' lies outside"):
        list(sequences(open_table(str(folder / "d.jsonl"))))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "there is no such file or folder"),
        ("no-*.jsonl", None, "no file matches"),
        ("d.csv", b"a,b", "got '.csv'; records are read from"),
        ("d.tar", b"not a tar file at all", "no uncompressed tar file"),
        ("d.parquet", b"not a parquet file", "as a dataset"),
        ("folder/x.bin", b"x", "found neither"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, *, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_table(str(path.parent if name.startswith("folder") else path))


def test_a_truncated_tar_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "d.tar", {"a.json": b"{}", "a.png": PNG * 20})
    path.write_bytes(path.read_bytes()[:2500])
    with pytest.raises(DataError, match="cut off"):
        open_table(str(path))
