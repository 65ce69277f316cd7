"""Outputs of other programs: what lies in a folder under the name of an item.

In: a folder that any program filled, an item. Out: an `Output`, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mogao.data.markdown import parse_markdown
from mogao.data.records import check_path
from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output


def document_places(item: Item, k: int) -> list[str]:
    """Where text and pictures together lie, or a text alone."""
    return [f"{item.id}/{k}.md", *([f"{item.id}/index.md", f"{item.id}.md"] if k == 0 else [])]


def find_output(folder: Path, item: Item, *, k: int = 0, places: Sequence[str]) -> Output | None:
    """Return output k of an item: the first file that is there, documents before all else.

    Of a Markdown file (".md") the pictures count that it names beside it; what is quoted was given
    and is left out. A file that ends in ".txt" is a text. All other files, and Markdown where the
    benchmark itself expects it, are handed over as they are.

    Args:
        folder: Of all outputs.
        item: What was asked for.
        k: Number of the output.
        places: Where the benchmark expects it, best first.

    Raises:
        DataError: The file cannot be read, or a document holds nothing.
    """
    names = [name for name in document_places(item, k) if name not in places] + [*places]
    name = next((name for name in names if (folder / name).is_file()), None)
    if name is None:
        return None
    path = folder / name
    is_document = path.suffix == ".md" and name not in places
    if not is_document and path.suffix != ".txt":
        return Output((path,))
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return Output((text.strip(),))
        parts = tuple(
            part if isinstance(part, str) else path.parent / check_path(part.target)
            for part, role in parse_markdown(text)
            if role == "model" and part
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read the answer: {error}") from None
    if not parts:
        raise DataError(f"{path} is empty")
    return Output(parts)
