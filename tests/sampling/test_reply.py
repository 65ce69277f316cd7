"""Events of a stream become segments again."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from mogao.sampling.events import (
    Event,
    Finished,
    ImageFinished,
    ImageStarted,
    ImageStep,
    TextDelta,
)
from mogao.sampling.reply import collect
from mogao.sequence import ImageSegment, TextSegment


def events() -> Generator[Event]:
    picture = ImageSegment(np.zeros((16, 32, 3), np.uint8))
    yield from (
        TextDelta("A f"),
        TextDelta("ox. "),
        ImageStarted(0, 16, 32),
        ImageStep(0, 0, 1),
        ImageFinished(0, picture, 3, 0.5),
        TextDelta(" Then."),
        Finished("end", 7, 1),
    )


def test_text_pieces_join_and_pictures_part_them() -> None:
    reply = collect(events())
    assert [s.text if isinstance(s, TextSegment) else s.size for s in reply.segments] == [
        "A fox. ",
        (16, 32),
        " Then.",
    ]
    assert reply.text == "A fox.\nThen."
    assert len(reply.images) == 1


def test_counts_and_reason_are_kept() -> None:
    reply = collect(events())
    assert (reply.reason, reply.text_tokens, reply.evaluations) == ("end", 7, 3)


def test_each_event_is_shown_once_and_in_order() -> None:
    shown: list[Event] = []
    collect(events(), show=shown.append)
    assert [type(event) for event in shown] == [type(event) for event in events()]


def test_an_interruption_closes_the_stream() -> None:
    closed = []

    def stream() -> Generator[Event]:
        try:
            yield from events()
        finally:
            closed.append(True)

    def interrupt(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(stream(), show=interrupt)
    assert closed
