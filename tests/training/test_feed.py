"""The feed: exact resume although the packer looks ahead."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mogao.config import TransformerConfig
from mogao.errors import DataError
from mogao.packing.layout import lay_out
from mogao.packing.pack import Packer, num_tokens
from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment
from mogao.training.feed import PackFeed


class Numbers:
    """A source of documents of varying length; every eighth carries no loss at all."""

    def __init__(self):
        self.position = 0

    def next(self):
        number = self.position
        self.position += 1
        loss = number % 8 != 0
        words = 1 + (number * 7919) % 23
        pixels = np.full((16, 16, 3), number % 256, np.uint8)
        segments = (TextSegment("x" * words, loss=loss), ImageSegment(pixels, loss=loss))
        return InterleavedSequence(segments, id=str(number))

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


class Letters:
    """One id per letter."""

    begin, end, image_open, image_close, user, model, system = range(1, 8)

    def encode(self, text):
        return [8 + ord(letter) % 50 for letter in text]


def make_feed(budget=64, lookahead=8):
    def one(number, sequence):
        rng = np.random.default_rng([3, number])
        end_loss = bool(rng.random() < 0.5)
        return lay_out(sequence, Letters(), TransformerConfig(), end_loss=end_loss)

    return PackFeed(Numbers(), Packer(budget, lookahead=lookahead), one)


def content(layouts):
    pictures = [next(i for i in layout.images if i is not None) for layout in layouts]
    return [
        (layout.ids.tolist(), int(picture.pixels[0, 0, 0]))
        for layout, picture in zip(layouts, pictures, strict=True)
    ]


@pytest.mark.parametrize("stop", [0, 1, 7, 30])
def test_a_resumed_feed_gives_the_same_packs(stop):
    whole = make_feed()
    expected = [content(whole.next()) for _ in range(stop + 20)]
    first = make_feed()
    for _ in range(stop):
        first.next()
    state = json.loads(json.dumps(first.state_dict()))
    second = make_feed()
    second.load_state_dict(state)
    assert [content(second.next()) for _ in range(20)] == expected[stop:]


def test_every_document_with_loss_is_used_once():
    feed = make_feed()
    seen = [value for _ in range(40) for _, value in content(feed.next())]
    assert len(seen) == len(set(seen))
    oldest = min(feed.state_dict()["waiting"])
    assert set(range(oldest)) - {n for n in range(oldest) if n % 8 == 0} <= set(seen)


def test_a_document_beyond_the_budget_is_named_and_skipped(caplog):
    feed = make_feed(budget=24, lookahead=2)
    with pytest.raises(DataError, match=r"exceed the token budget.*raise the budget"):
        [feed.next() for _ in range(40)]
    assert "skipped: document 3 takes 27 tokens, more than token_budget = 24" in caplog.text


def test_packs_keep_to_the_budget_and_are_counted():
    feed = make_feed()
    for _ in range(20):
        layouts = feed.next()
        assert num_tokens(layouts) <= 64
        assert feed.num_documents == len(layouts)
