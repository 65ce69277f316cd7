"""Unified-Bench: a picture is described, drawn again from the description, and compared.

In: a folder of reference pictures; any will do, so name them beside the score. Out: the mean
cosine of both pictures under each embedder and over all of them, out of 100.

Source: arXiv 2509.09666; repository AIFrontierLab/TorchUMM, `eval/generation/unified_bench`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Made, Output, Row, Turn, picture_places
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.rules.round_trip import likeness
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import over_items
from mogao.evaluation.tasks.pictures import Judged, picture_row
from mogao.evaluation.tasks.records import distinct, document, picture_file, safe_id
from mogao.evaluation.tasks.statistics import PERCENT
from mogao.sequence import InterleavedSequence, Pixels

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_PROMPT = "Describe this picture in full detail and quote any text in it."


class UnifiedBench:
    """The benchmark Unified-Bench.

    Args:
        data: Folder of reference pictures.
    """

    name = "unified_bench"
    protocols: tuple[str, ...] = ("round-trip",)

    def __init__(self, data: Path) -> None:
        self._data = data

    def items(self) -> Sequence[Item]:
        """Return one item for each reference picture: numbers first, in their own order.

        Raises:
            DataError: The folder is missing or holds no pictures.
        """
        if not self._data.is_dir():
            raise DataError(f"{self._data}: not a folder of pictures")
        paths = [path for path in self._data.iterdir() if path.suffix.lower() in _SUFFIXES]
        items = []
        for path in sorted(paths, key=_order):
            picture = picture_file(self._data, path.name, where=str(self._data))
            given = partial(document, _PROMPT, pictures=[picture])
            truth = {"reference": path.name}
            item = Item(safe_id(path.stem), "pictures", _PROMPT, "text", given, truth)
            items.append(replace(item, turns=(DRAW_OWN_WORDS,)))
        return distinct(items, path=self._data)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where pictures lie; the public script writes them to `images`."""
        own = [] if k else [f"images/{item.id}{suffix}" for suffix in _SUFFIXES]
        return [*picture_places(item, k), *own]

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Compare the last picture that was drawn with the reference.

        Raises:
            ConfigError: There is no embedder.
            DataError: The reference cannot be read.
            RequestError: The picture that was drawn cannot be read.
        """
        embedders = tools.need("embedders")
        reference = picture_file(self._data, item.truth["reference"], where=item.id)()

        def rule(pixels: Pixels) -> Judged:
            found = likeness(reference, pixels, embedders=embedders)
            return Judged({"overall": sum(found.values()) / len(found), **found})

        return picture_row(item, outputs, rule, names=["overall", *(one.name for one in embedders)])

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the mean over the embedders, then each embedder, out of 100."""
        names = dict.fromkeys(name for row in rows for name in row.values)
        return {name: over_items(rows, name, scale=PERCENT) for name in names}


def _own_words(made: Made) -> InterleavedSequence:
    """A new document with nothing but the description; one word where the model said nothing."""
    said = " ".join(part for part in made if isinstance(part, str)).strip()
    return document(said or "picture", role="model")


DRAW_OWN_WORDS = Turn("picture", _own_words, is_fresh=True)
"""What follows a description in a round trip: it alone is the prompt of a drawing."""


def _order(path: Path) -> tuple[bool, int, str]:
    """Sort 10 after 9, and words after numbers."""
    is_number = path.stem.isdecimal()
    return not is_number, int(path.stem) if is_number else 0, path.name
