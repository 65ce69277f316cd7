"""The layout of a document as a table: runs, positions, what sees what, what carries loss.

In: a sequence, a tokenizer and a model config. Out: plain rows and lines for `mogao data show`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mogao.config import ModelConfig
from mogao.packing.layout import Layout, TokenKind, lay_out
from mogao.packing.mask import MaskRule, RunView
from mogao.sequence import InterleavedSequence
from mogao.tokenizer import Tokenizer

_MARKS = {RunView.NONE: ".", RunView.ALL: "#", RunView.CAUSAL: "\\"}
LEGEND = "mask, row sees column: # all, \\ up to itself, . nothing"


@dataclass(frozen=True, slots=True)
class Shown:
    """One document as it is trained.

    Attributes:
        id: Name of the record.
        rows: One dictionary per run, JSON values.
        mask: One string per run; character j says how it sees run j.
    """

    id: str
    rows: list[dict[str, Any]]
    mask: list[str]


def show_document(
    sequence: InterleavedSequence, tokenizer: Tokenizer, config: ModelConfig
) -> list[Shown]:
    """Lay a document out as training does; an empty list means that nothing carries loss."""
    layouts = lay_out(sequence, tokenizer, config.transformer, token_pixels=config.token_pixels)
    rule = MaskRule.from_config(config.transformer.visibility)
    return [_show(sequence.id, item, tokenizer=tokenizer, rule=rule) for item in layouts]


def _show(name: str, layout: Layout, *, tokenizer: Tokenizer, rule: MaskRule) -> Shown:
    table = layout.table
    views = rule.run_views(table.kind, table.ordinal)
    mask = ["".join(_MARKS[RunView(view)] for view in row) for row in views]
    rows = []
    text_start = noisy_start = 0
    columns = (table.kind, table.source, table.start, table.length)
    for run, (kind, source, start, length) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        row = {"run": run, "kind": TokenKind(kind).name, "segment": int(table.ordinal[run])}
        row |= {"start": start, "tokens": length}
        row["time"] = _times(layout.positions[start : start + length])
        if source == TokenKind.TEXT:
            part = slice(text_start, text_start + length)
            row["loss_tokens"] = int(np.count_nonzero(layout.target_weights[part]))
            row["content"] = tokenizer.decode(layout.ids[part].tolist(), render_special=True)
            text_start += length
        else:
            image = layout.images[run]
            assert image is not None
            learned = layout.noisy_weights[noisy_start : noisy_start + length]
            row["loss_tokens"] = 0
            if kind == TokenKind.NOISY:
                row["loss_tokens"] = int(np.count_nonzero(learned))
                noisy_start += length
            row["content"] = "{1} x {0} pixels".format(*image.size)
        rows.append(row)
    return Shown(name, rows, mask)


def _times(positions: np.ndarray) -> str:
    """Time positions of a run: one for a picture, first and last for text."""
    first, last = (f"{time:g}" for time in positions[[0, -1], 0])
    return first if first == last else f"{first}-{last}"
