"""A finished reply: the events of one stream put together again.

In: the events of `Session.stream`. Out: segments that a sequence can hold, counts and timings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from mogao.sampling.events import Event, Finished, ImageFinished, TextDelta
from mogao.sequence import ImageSegment, Segment, TextSegment


@dataclass(slots=True)
class Reply:
    """What one run of `Session.stream` gave.

    Attributes:
        segments: Text and pictures of the model in order.
        reason: Why it ended.
        text_tokens: Text tokens written.
        evaluations: Network evaluations of all pictures.
        seconds: Duration of the whole run.
    """

    segments: list[Segment] = field(default_factory=list)
    reason: str = ""
    text_tokens: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    @property
    def images(self) -> list[ImageSegment]:
        """The pictures that were drawn, in order."""
        return [segment for segment in self.segments if isinstance(segment, ImageSegment)]

    @property
    def text(self) -> str:
        """All text, pieces around pictures joined by line ends."""
        texts = [s.text.strip() for s in self.segments if isinstance(s, TextSegment)]
        return "\n".join(text for text in texts if text)


def collect(events: Iterator[Event], *, show: Callable[[Event], None] | None = None) -> Reply:
    """Run a stream to its end and put its events together.

    Args:
        events: What `Session.stream` returns; it is closed even when `show` raises, so that the
            session can go on.
        show: Called with each event as it comes.
    """
    reply = Reply()
    start = time.perf_counter()
    try:
        for event in events:
            if show is not None:
                show(event)
            _take(reply, event)
    finally:
        if isinstance(events, Generator):
            events.close()
    reply.seconds = time.perf_counter() - start
    return reply


def _take(reply: Reply, event: Event) -> None:
    """Add one event to a reply."""
    if isinstance(event, TextDelta):
        last = reply.segments[-1] if reply.segments else None
        if isinstance(last, TextSegment):
            reply.segments[-1] = TextSegment(last.text + event.text)
        else:
            reply.segments.append(TextSegment(event.text))
    elif isinstance(event, ImageFinished):
        reply.segments.append(event.image)
        reply.evaluations += event.evaluations
    elif isinstance(event, Finished):
        reply.reason = event.reason
        reply.text_tokens = event.text_tokens
