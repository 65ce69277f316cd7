"""What benchmarks with one short text a question have in common.

In: a record file or a folder of them, and where its pictures lie. Out: the base of these
benchmarks and the requests that public scripts put behind a question. All their scores are per
cent, but for `parse_failures`, a share in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mogao.evaluation.benchmark import Item, Output

SHORT_ANSWER = "Answer the question using a single word or phrase."
LETTER_ANSWER = "Answer with the option's letter from the given choices directly."


class TextBenchmark:
    """Questions about pictures that want a text.

    Attributes:
        data: The records.
        pictures: Folder below which the records name their pictures.
    """

    def __init__(self, data: Path, *, images: Path | None = None) -> None:
        """Remember where things lie; nothing is read.

        Args:
            data: Record file or folder.
            images: Folder of the pictures; None takes the folder of the records.
        """
        self.data = data
        self.pictures = images or (data if data.is_dir() else data.parent)

    def places(self, item: Item, k: int) -> Sequence[str]:
        """Return where answer k may lie as a text file."""
        return [f"{item.id}/{k}.txt", *([] if k else [f"{item.id}.txt"])]


def said(outputs: Sequence[Output]) -> str:
    """Return the answer without outer space, as public runners hand it to their rules."""
    return outputs[0].text.strip()


def with_options(question: str, options: Mapping[str, str], *, form: str = "{}. {}") -> str:
    """Return a question with its options, one a line, and the request for a letter."""
    lines = [form.format(letter, text) for letter, text in options.items()]
    return "\n".join([question, *lines, LETTER_ANSWER])
