"""Files of records as tables with random access: any record by number, each with its place.

In: JSON Lines, parquet, tar shards, folders, `datasets` folders. Out: `Row`s of decoded data that
`mogao.data.records` checks. Random access is what makes shuffling complete and resuming exact
(docs/decisions.md). Files are only ever read below the folder of the record that names them.
"""

from __future__ import annotations

import json
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from mogao.data.violations import RecordError, Violation
from mogao.errors import DataError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Row:
    """One record as decoded data.

    Attributes:
        data: What the file holds; not checked yet.
        where: File and line, row or member, for messages.
        read: Returns the bytes of a picture by the path that the record gives.
    """

    data: Any
    where: str
    read: Callable[[str], bytes]


@runtime_checkable
class Table(Protocol):
    """Numbered records in any order."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def row(self, index: int) -> Row:
        """Return one record; raises RecordError where its line is no JSON."""
        ...


class FolderReader:
    """Reads files below one folder by relative path; symbolic links may not lead out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def __call__(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            DataError: It is missing or lies outside the folder.
        """
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder):
            raise DataError(f"{name!r} lies outside {self.folder}; copy the file below it")
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {name!r}: {error.strerror}") from None


class JsonLines:
    """A JSON Lines file; blank lines are skipped. The index takes 16 bytes a record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = FolderReader(path.parent)
        starts, numbers, offset = [], [], 0
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    starts.append(offset)
                    numbers.append(number)
                offset += len(line)
        self._starts: Int64[np.ndarray, " records"] = np.array(starts, np.int64)
        self._numbers: Int64[np.ndarray, " records"] = np.array(numbers, np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, index: int) -> Row:
        """Return one record."""
        where = f"{self.path}:{self._numbers[index]}"
        with _open(self.path) as file:
            file.seek(self._starts[index])
            return Row(_json(file.readline(), where=where), where, self._read)


class Tar:
    """An uncompressed tar shard in WebDataset form.

    A sample is `<key>.json` (a record whose pictures are members, by path relative to it), or
    `<key>.txt` beside `<key>.<picture suffix>` (a caption and its picture). Members are only read
    in place, never unpacked; links and devices are ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with tarfile.open(path, "r:") as archive:
                members = [m for m in archive if m.isreg() and not m.issparse()]
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        except tarfile.TarError as error:
            raise DataError(
                f"{path} is no uncompressed tar file or is cut off ({error}); unpack .gz first"
            ) from None
        self._members = {PurePosixPath(m.name).as_posix(): (m.offset_data, m.size) for m in members}
        self._records = [name for name in self._members if name.endswith(".json")]
        self._pairs = caption_pairs(list(self._members))

    def __len__(self) -> int:
        return len(self._records) + len(self._pairs)

    def row(self, index: int) -> Row:
        """Return one record."""
        if index >= len(self._records):
            text, picture = self._pairs[index - len(self._records)]
            where = f"{self.path}:{text}"
            data = pair_record(text, self.member(text), picture=picture, where=where)
            return Row(data, where, self.member)
        name = self._records[index]
        where = f"{self.path}:{name}"
        folder = PurePosixPath(name).parent
        return Row(
            _json(self.member(name), where=where),
            where,
            lambda path: self.member((folder / path).as_posix()),
        )

    def member(self, name: str) -> bytes:
        """Return the bytes of a member.

        Raises:
            DataError: There is no such regular file in the archive.
        """
        if name not in self._members:
            raise DataError(f"no member {name!r} in {self.path}")
        start, size = self._members[name]
        with _open(self.path) as file:
            file.seek(start)
            return file.read(size)


class CaptionFolder:
    """A folder of pictures, each beside a `.txt` of the same stem that describes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = FolderReader(folder)
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        self._pairs = caption_pairs(files)

    def __len__(self) -> int:
        return len(self._pairs)

    def row(self, index: int) -> Row:
        """Return one record."""
        text, picture = self._pairs[index]
        where = str(self.folder / text)
        data = pair_record(text, self._read(text), picture=picture, where=where)
        return Row(data, where, self._read)


class ArrowDataset:
    """A map-style dataset of the `datasets` library; needs the `train` extra.

    A parquet file (the library keeps an Arrow copy in its cache), a folder written by
    `save_to_disk`, or `hub:NAME[:SPLIT]`. Pictures stay bytes; nothing is decoded here.
    """

    def __init__(self, path: str) -> None:
        try:
            import datasets
        except ImportError:
            raise DataError(
                f"{path}: this needs the datasets library; install mogao with the 'train' extra"
            ) from None
        self._read: Callable[[str], bytes] = FolderReader(Path(path).parent)
        try:
            if path.startswith("hub:"):
                name, _, split = path.removeprefix("hub:").partition(":")
                dataset = datasets.load_dataset(name, split=split or "train")
                self._read = _no_files
            elif path.endswith(".parquet"):
                dataset = datasets.Dataset.from_parquet(path)
            else:
                dataset = datasets.load_from_disk(path)
                self._read = FolderReader(Path(path))
        except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
            raise DataError(f"cannot read {path} as a dataset: {error}") from None
        if isinstance(dataset, dict):
            raise DataError(f"{path} holds splits {', '.join(dataset)}; name the folder of one")
        self.path = path
        self._rows = dataset.with_format("arrow")

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        """Return one record."""
        data = self._rows[index : index + 1].to_pylist()[0]
        return Row(data, f"{self.path}:row {index + 1}", self._read)


class Joined:
    """Several tables as one."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._ends = np.cumsum([len(table) for table in tables]).tolist()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def row(self, index: int) -> Row:
        """Return one record."""
        number = bisect_right(self._ends, index)
        before = self._ends[number - 1] if number else 0
        return self._tables[number].row(index - before)


def open_table(path: str) -> Table:
    """Open a file, a folder, a pattern with `*`, or `hub:NAME` as a table of records.

    Raises:
        DataError: Nothing is there, or it is in none of the forms of docs/data.md.
    """
    if path.startswith("hub:"):
        return ArrowDataset(path)
    target = Path(path)
    if target.is_dir():
        return _open_folder(target)
    if target.exists():
        return _open_file(target)
    if "*" in target.name:
        return _join(sorted(target.parent.glob(target.name)), path)
    raise DataError(f"{path}: there is no such file or folder")


def caption_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (text file, picture) for each `.txt` with exactly one picture of its stem."""
    pictures: dict[PurePosixPath, list[str]] = {}
    for name in map(PurePosixPath, names):
        if name.suffix.lower() in PICTURE_SUFFIXES:
            pictures.setdefault(name.with_suffix(""), []).append(name.as_posix())
    texts = [name for name in map(PurePosixPath, names) if name.suffix == ".txt"]
    found = [(name.as_posix(), pictures.get(name.with_suffix(""), [])) for name in texts]
    return [(text, pictures[0]) for text, pictures in found if len(pictures) == 1]


def pair_record(name: str, text: bytes, *, picture: str, where: str) -> dict[str, Any]:
    """Return the record of a caption and its picture: text, then the picture it describes.

    Raises:
        RecordError: The caption is not UTF-8.
    """
    try:
        caption = text.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise RecordError([Violation(where, "", f"not UTF-8: {error}")]) from None
    id_ = PurePosixPath(name).with_suffix("").as_posix()
    return {"id": id_, "segments": [{"text": caption}, {"image": picture}]}


def _open_file(path: Path) -> Table:
    if path.suffix in {".jsonl", ".ndjson"}:
        return JsonLines(path)
    if path.suffix == ".parquet":
        return ArrowDataset(str(path))
    if path.suffix == ".tar":
        return Tar(path)
    raise DataError(
        f"{path}: got {path.suffix or 'no suffix'!r}; records are read from .jsonl, .parquet and "
        ".tar files, a folder, a pattern with '*', or hub:NAME"
    )


def _open_folder(folder: Path) -> Table:
    if (folder / "state.json").exists() and (folder / "dataset_info.json").exists():
        return ArrowDataset(str(folder))
    files = sorted(p for s in ("jsonl", "parquet", "tar") for p in folder.glob(f"*.{s}"))
    if files:
        return _join(files, str(folder))
    table = CaptionFolder(folder)
    if not len(table):
        raise DataError(
            f"{folder}: found neither .jsonl, .parquet or .tar files, nor a saved dataset, nor "
            "pictures with a .txt of the same name"
        )
    return table


def _join(files: Sequence[Path], path: str) -> Table:
    if not files:
        raise DataError(f"{path}: no file matches")
    tables = [_open_file(file) for file in files]
    return tables[0] if len(tables) == 1 else Joined(tables)


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _json(line: bytes, *, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError([Violation(where, "", f"not valid JSON: {error}")]) from None


def _no_files(name: str) -> bytes:
    raise DataError(f"{name!r}: a hub dataset must hold its pictures as bytes, not as paths")
