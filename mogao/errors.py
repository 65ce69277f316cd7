"""Errors that a caller of mogao can meet; each carries the exit code of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MogaoError(Exception):
    """Base of all errors raised on purpose; the message says what was got and what to do."""

    exit_code = 1


class ConfigError(MogaoError):
    """A configuration value, key or combination is not valid."""

    exit_code = 2


class RequestError(MogaoError):
    """A prompt, picture or sampling option given by the user cannot be served."""

    exit_code = 3


class DataError(MogaoError):
    """A record or one of its pictures does not follow the record schema."""

    exit_code = 4


class CheckpointError(MogaoError):
    """A model folder or a training checkpoint is missing, incomplete or unsafe."""

    exit_code = 5


class BusyError(MogaoError):
    """A server or an engine takes no more work at the moment."""

    exit_code = 6


class CancelledError(MogaoError):
    """Work was cancelled before it was done."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the closest known name, or with all of them when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
