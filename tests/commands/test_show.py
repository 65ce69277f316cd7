"""What `mogao data show` tells about a document agrees with its layout."""

from __future__ import annotations

import numpy as np

from mogao.commands.show import show_document
from mogao.config import ModelConfig
from mogao.packing.layout import lay_out
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from mogao.tokenizer import Tokenizer

PIXELS = np.zeros((32, 48, 3), np.uint8)
TOKENIZER = Tokenizer.train([], vocab_size=264)
DOCUMENT = InterleavedSequence(
    (
        ImageSegment(PIXELS, "user"),
        TextSegment("Draw it", "user"),
        ImageSegment(PIXELS, weight=0.5),
        TextSegment("Done"),
        ImageSegment(PIXELS),
    ),
    id="doc",
)


def test_runs_masks_and_learned_tokens_are_named() -> None:
    config = ModelConfig()
    (shown,) = show_document(DOCUMENT, TOKENIZER, config)
    (layout,) = lay_out(DOCUMENT, TOKENIZER, config.transformer)
    kinds = [row["kind"] for row in shown.rows]
    assert kinds == ["TEXT", "VIT", "CLEAN", "TEXT", "VIT", "CLEAN", "NOISY", "TEXT", "VIT",
                     "NOISY", "TEXT"]  # fmt: skip
    assert shown.id == "doc"
    assert shown.rows[0]["content"] == "<begin><user><image>"
    assert shown.rows[3]["content"] == "</image>Draw it<model><image>"
    assert shown.rows[6]["loss_tokens"] == 6
    learned = sum(row["loss_tokens"] for row in shown.rows if row["kind"] == "TEXT")
    assert learned == np.count_nonzero(layout.target_weights)
    assert sum(row["tokens"] for row in shown.rows) == layout.table.num_tokens
    assert shown.mask[6] == "####..#...."
    assert shown.mask[3] == "##.\\......."


def test_a_document_without_loss_shows_nothing() -> None:
    silent = InterleavedSequence((TextSegment("x", "user"), ImageSegment(PIXELS, "user")))
    assert show_document(silent, TOKENIZER, ModelConfig()) == []
