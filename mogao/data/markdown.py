r"""Markdown with pictures as an interleaved document, and back.

In: Markdown with `![alt](relative/path.png)`; a block quote (`> ...`) is said by the user,
everything else by the model. Out: an `InterleavedSequence`. Text is kept as it is: a blank line
on either side of a picture or a quote separates and is no text; `\![` and a leading `\>` are text.
Writing and reading again gives the same texts, roles and pixels (neighbouring texts of one role
become one, line ends become `\n`, the system is read back as the user).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote

from mogao.data.images import DEFAULT_MAX_PIXELS, read_image, save_png
from mogao.data.records import check_path
from mogao.data.tables import FolderReader
from mogao.errors import DataError, RequestError
from mogao.files import atomic_write
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment

_PICTURE = re.compile(
    r"""(?<!\\)!\[[^\]\n]*\]\(\s*
        (?:<(?P<angled>[^<>\n]*)>|(?P<path>[^()\s]+))
        (?:\s+"[^"\n]*")?\s*\)""",
    re.VERBOSE,
)
_QUOTE = re.compile(r"^ {0,3}> ?")
_GAP = "\n\n"


@dataclass(frozen=True, slots=True)
class PictureLink:
    """A picture in Markdown: the path between the parentheses, percent signs decoded."""

    target: str


Part = tuple[str | PictureLink, Role]


def read_markdown(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> InterleavedSequence:
    """Read a Markdown file and its pictures, which keep their size.

    Args:
        path: The file; pictures must lie in its folder or below.
        max_pixels: Largest height x width of a picture.

    Raises:
        RequestError: The file is missing, empty or not UTF-8; a picture is missing, an address,
            outside the folder, or refused by `read_image`.
    """
    path = Path(path)
    try:
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot read document {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"document {path} is not UTF-8 text: {error.reason}") from None
    read = FolderReader(path.parent)
    segments: list[Segment] = []
    for part, role in parse_markdown(source):
        if isinstance(part, str):
            segments.append(TextSegment(part, role))
            continue
        where = f"{path}: picture {part.target!r:.80}"
        try:
            data = read(check_path(part.target))
        except (DataError, ValueError) as error:
            raise RequestError(f"{where}: {error}; addresses are never fetched") from None
        segments.append(ImageSegment(read_image(data, max_pixels=max_pixels, where=where), role))
    if not segments:
        raise RequestError(f"document {path} is empty: write some text or a picture to continue")
    return InterleavedSequence(tuple(segments), path.stem)


def write_markdown(sequence: InterleavedSequence, path: Path) -> list[Path]:
    """Write a document as Markdown with `001.png`, `002.png`, ... beside it; return these."""
    names = [f"{number:03d}.png" for number in range(1, len(sequence.images) + 1)]
    pictures = [path.with_name(name) for name in names]
    for image, picture in zip(sequence.images, pictures, strict=True):
        save_png(image.pixels, picture)
    atomic_write(path, to_markdown(sequence.segments, names=names))
    return pictures


def parse_markdown(source: str) -> list[Part]:
    """Split Markdown into texts and picture links, each with its role, in reading order."""
    lines = source.removesuffix("\n").split("\n")
    blocks: list[tuple[bool, list[str]]] = [
        (quoted, list(group)) for quoted, group in groupby(lines, key=_is_quote)
    ]
    parts: list[Part] = []
    for index, (quoted, block) in enumerate(blocks):
        if quoted:
            text = "\n".join(_QUOTE.sub("", line) for line in block)
        else:
            leads = index > 0 and block[0] == ""
            trails = index + 1 < len(blocks) and block[-1] == "" and len(block) > leads
            text = "\n".join(block[leads : len(block) - trails])
        parts += [(part, "user" if quoted else "model") for part in _split_pictures(text)]
    return parts


def to_markdown(segments: Sequence[Segment], *, names: Sequence[str], title: str = "") -> str:
    """Write segments as Markdown; `parse_markdown` gives them back.

    Args:
        segments: Text and pictures.
        names: One picture file name per image segment.
        title: Heading above the text; empty for none.
    """
    remaining = iter(names)
    blocks = [f"# {title}"] if title else []
    for quoted, turn in groupby(segments, key=lambda segment: segment.role != "model"):
        pieces: list[str] = []
        for is_picture, run in groupby(turn, key=lambda segment: isinstance(segment, ImageSegment)):
            if is_picture:
                pieces += [_link(next(remaining)) for _ in run]
            else:
                pieces.append(_escaped("".join(s.text for s in run if isinstance(s, TextSegment))))
        block = _GAP.join(piece for piece in pieces if piece)
        if block and quoted:
            block = "\n".join(f"> {line}" if line else ">" for line in block.split("\n"))
        blocks += [block] if block else []
    return _GAP.join(blocks) + "\n"


def _is_quote(line: str) -> bool:
    return bool(_QUOTE.match(line))


def _split_pictures(text: str) -> list[str | PictureLink]:
    parts: list[str | PictureLink] = []
    start = 0
    for match in _PICTURE.finditer(text):
        parts.append(_unescaped(text[start : match.start()].removesuffix(_GAP)))
        target = match["angled"] if match["path"] is None else unquote(match["path"])
        parts.append(PictureLink(target))
        start = match.end() + len(_GAP) * text.startswith(_GAP, match.end())
    parts.append(_unescaped(text[start:]))
    return [part for part in parts if part != ""]


def _link(name: str) -> str:
    return f"![](<{name}>)" if re.search(r"[\s()%]", name) else f"![]({name})"


def _escaped(text: str) -> str:
    text = text.replace("![", "\\![")
    return re.sub(r"^( {0,3}\\*)>", r"\1\\>", text, flags=re.MULTILINE)


def _unescaped(text: str) -> str:
    text = re.sub(r"^( {0,3}\\*)\\>", r"\1>", text, flags=re.MULTILINE)
    return text.replace("\\![", "![")
