"""What an engine counts while it works.

In: nothing. Out: plain numbers, for logs and for the server's metrics.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class EngineMetrics:
    """What an engine has done so far.

    Attributes:
        jobs: Jobs that have ended.
        steps: Rounds of the worker that ran the transformer, mostly one forward pass each.
        joined: Steps of sessions in them; `joined / steps` is the mean batch.
        tokens: Tokens in them.
        seconds: Time spent in them and in calls.
        active: Jobs that run now.
        waiting: Jobs that wait for a place.
        cache_bytes: Memory for keys and values, free places included.
    """

    jobs: int = 0
    steps: int = 0
    joined: int = 0
    tokens: int = 0
    seconds: float = 0.0
    active: int = 0
    waiting: int = 0
    cache_bytes: int = 0
