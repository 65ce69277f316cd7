"""What the engine and its callers hold of one job: what it waits for, its result, its events.

In: a job, which is a plain function of a session. Out: a ticket to wait on or to cancel, a stream
of events.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from mogao.errors import CancelledError
from mogao.sampling.events import Event
from mogao.sampling.runner import Step, Task
from mogao.sampling.session import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """Work on another network than the transformer.

    Attributes:
        do: The work.
        num_tokens: What it takes of the budget of a round.
    """

    do: Callable[[], Any]
    num_tokens: int = 0


Work = Step | Call

_GLANCE = 0.2
"""Seconds after which a job that waits for its reader looks whether it was cancelled."""


def _nothing() -> None:
    """Do nothing."""


class Ask:
    """What a job waits for: a step, a call, or a task, which is one step after another.

    Attributes:
        ticket: The job.
        work: The step of the transformer or the call on another network that comes next; None
            once all is done.
        events: Of a task, as they come; None behind the last.
        result: What came of the work; in the end what the job is told.
        error: What went wrong instead.
        is_left: Whether the job wants no more of it. Set by the job, which must not wait: the
            garbage collector leaves streams in any thread and at any place.
    """

    def __init__(
        self,
        ticket: Ticket[Any],
        work: Work | Task[Any],
        *,
        room: int | None = None,
        on_room: Callable[[], None] = _nothing,
    ) -> None:
        """Ask for work; a task runs up to its first step at once.

        Args:
            ticket: The job.
            work: What it waits for.
            room: Events of a task that nobody has read, at which it goes no further; None is no
                limit.
            on_room: Called by the reader of a task that went no further.
        """
        self.ticket = ticket
        self._room, self._on_room = room, on_room
        self.work: Work | None = None
        self.events: SimpleQueue[Event | None] = SimpleQueue()
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_left = self._is_over = False
        self._task = work if isinstance(work, Generator) else None
        self._after: deque[Callable[[], None]] = deque()
        self._ended = threading.Event()
        if isinstance(work, Generator):
            self.advance()
        else:
            self.work = work

    @property
    def num_tokens(self) -> int:
        """What the work takes of the budget of a round; what nobody wants takes nothing."""
        return 0 if self.work is None or self.is_unwanted else self.work.num_tokens

    @property
    def is_task(self) -> bool:
        """Whether something may come behind the next step."""
        return self._task is not None

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody waits for the rest."""
        return self.is_left or self.ticket.is_cancelled or self.ticket.has_ended

    @property
    def is_full(self) -> bool:
        """Whether a task waits for the reader of its events."""
        is_full = self._room is not None and self.events.qsize() >= self._room
        return is_full and not self.is_unwanted

    def next_event(self) -> Event | None:
        """Wait for the next event of a task; None behind the last. Called by the job."""
        event = self.events.get()
        if self._room is not None and self.events.qsize() + 1 >= self._room:
            self._on_room()
        return event

    def advance(self) -> None:
        """Hand over `result`: a task goes on with it to its next step, all else has ended."""
        came, self.work = self.result, None
        if self._task is not None and self.error is None:
            try:
                while self.work is None:
                    item = self._task.send(came)
                    if isinstance(item, Step):
                        self.work = item
                    else:
                        self.events.put(item)
                        came = None
                return
            except StopIteration as end:
                self.result = end.value
            except BaseException as error:  # noqa: BLE001 - handed over to the job
                self.error = error
        self._end()

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.error = error
        self.advance()

    def then(self, work: Callable[[], None]) -> bool:
        """Have work done, without waiting, by whoever ends this; False if it has ended."""
        self._after.append(work)
        if not self._is_over:
            return True
        try:
            self._after.remove(work)
        except ValueError:
            return True
        return False

    def wait_end(self) -> None:
        """Wait until nobody works on it any more."""
        self._ended.wait()

    def wait(self) -> Any:
        """Wait for the end; return the result or raise the error. Called by the job."""
        self.wait_end()
        if self.error is not None:
            raise self.error
        return self.result

    def _end(self) -> None:
        if self._task is not None:
            self._task.close()
        self._is_over = True
        try:
            while (work := self._next_after()) is not None:
                work()
        finally:
            self.events.put(None)
            self._ended.set()

    def _next_after(self) -> Callable[[], None] | None:
        """Take work out of the line; `then` may take its own back at any moment."""
        try:
            return self._after.popleft()
        except IndexError:
            return None


class Ticket(Generic[T]):
    """One job in the engine.

    Attributes:
        number: Says when it came.
        num_late: How often the engine waited for it in vain.
        is_cancelled: Whether its result is not wanted any more.
        has_ended: Whether its sessions may not be used any more.
    """

    def __init__(
        self,
        job: Callable[[Session], T],
        make: Callable[[Ticket[T]], Session],
        *,
        on_cancel: Callable[[Ticket[T]], None],
        on_done: Callable[[], None] | None = None,
        number: int = 0,
    ) -> None:
        self.number, self.num_late = number, 0
        self.is_cancelled = False
        self.has_ended = False
        self._work: Callable[[], T] | None = lambda: job(make(self))
        self._on_cancel, self._on_done = on_cancel, on_done
        self._done = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._done.is_set()

    def result(self, *, timeout: float | None = None) -> T:
        """Wait for the job and return what it returned; its error is raised here.

        Raises:
            TimeoutError: The job takes longer than `timeout` seconds; it goes on.
            CancelledError: It was cancelled.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"the job is not done after {timeout} seconds")
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    def cancel(self) -> None:
        """End the job: at once where it waits in line, else where it next needs the model."""
        self.is_cancelled = True
        self._on_cancel(self)

    def run(self) -> None:
        """Do the job; called by the engine, followed by `finish`."""
        try:
            if self.is_cancelled or self._work is None:
                raise CancelledError("the job was cancelled before it began")
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - handed over to whoever asks for the result
            # The frames of the job hold its session, and that its caches.
            traceback.clear_frames(error.__traceback__)
            self._error = error
        self._work = None
        self.has_ended = True

    def finish(self) -> None:
        """Let those go on who wait for the result; called by the engine."""
        self._done.set()
        if self._on_done is not None:
            self._on_done()


class Pipe:
    """Events on their way from a job to its reader, a limited number of them.

    Attributes:
        ticket: The job, once it is known.
    """

    def __init__(self, room: int) -> None:
        self.ticket: Ticket[None] | None = None
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._room = threading.Semaphore(room)

    def put(self, event: Event) -> None:
        """Hand over an event, as soon as there is room. Called by the job.

        Raises:
            CancelledError: The job was cancelled while it waited.
        """
        # A stream that is dropped may take no lock, so nobody can wake who waits here.
        while not self._room.acquire(timeout=_GLANCE):
            if self.ticket is not None and self.ticket.is_cancelled:
                raise CancelledError("the job was cancelled")
        self._events.put(event)

    def end(self) -> None:
        """Say that nothing comes any more; never waits. Called by the engine."""
        self._events.put(None)

    def get(self) -> Event | None:
        """Wait for the next event; None behind the last. Called by the reader."""
        event = self._events.get()
        if event is not None:
            self._room.release()
        return event


class EventStream(Iterator[Event]):
    """The events of one job as they come; closing or dropping it cancels the job."""

    def __init__(self, pipe: Pipe, ticket: Ticket[None]) -> None:
        self._pipe: Pipe | None = pipe
        self._ticket = ticket

    def __next__(self) -> Event:
        """Wait for the next event; an error of the job is raised behind its last one."""
        event = self._pipe.get() if self._pipe else None
        if event is None:
            self._pipe = None
            self._ticket.result()
            raise StopIteration
        return event

    def close(self) -> None:
        """Cancel the job, unless it is done."""
        self._ticket.cancel()

    def __del__(self) -> None:
        """Cancel the job of a stream that nobody reads any more, without a lock.

        The garbage collector may do this in any thread, whatever that thread holds.
        """
        self._ticket.is_cancelled = True
