"""Many sessions on one model: what they need next runs together, in whatever phase each of them is.

In: jobs, plain functions that are handed a session. Out: tickets with their results. A job runs in
a thread of its own and knows nothing of the others; where it needs the model it waits, and one
worker runs what all of them wait for as one forward pass (prefill, decode and denoise alike). A
text goes from token to token in the worker, its job only reads what comes of it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar, cast

import torch

from mogao.config import EngineConfig, GenerationConfig
from mogao.errors import BusyError, CancelledError, RequestError
from mogao.model.hardware import compute_alone, release_threads
from mogao.sampling.codes import Parts
from mogao.sampling.events import Event
from mogao.sampling.joined import JoinedRunner
from mogao.sampling.metrics import EngineMetrics
from mogao.sampling.runner import (
    Step,
    Task,
    run_together,
    slab_pool,
)
from mogao.sampling.session import Session
from mogao.sampling.tickets import Ask, Call, EventStream, Pipe, Ticket, Work

PATIENCE = 0.02
"""Seconds that jobs wait for one that computes something of its own, before they go on without."""
MOST_LATE = 3
"""How often one job is waited for in vain; later nobody waits for it any more."""
PAGE_SLOTS = 8
"""Texts that are decoded as one batch lie on one page of so many; memory is taken by the page."""

T = TypeVar("T")


class Engine:
    """One worker that owns a model, and the jobs that share it. A context manager.

    Jobs are plain functions of a session, so everything a session can do can be done here. Results
    do not depend on the company: each session draws from its own generator, and batching changes
    sums of products by rounding only (invariant 10).
    """

    def __init__(
        self,
        parts: Parts,
        *,
        generation: GenerationConfig,
        config: EngineConfig | None = None,
    ) -> None:
        """Start the worker.

        Args:
            parts: The model; nothing else may run it while the engine is open.
            generation: Default settings of the sessions.
            config: Limits.
        """
        self._parts, self._generation = parts, generation
        self._config = config or EngineConfig()
        self._pool = slab_pool(
            parts.transformer, num_slots=min(PAGE_SLOTS, self._config.max_active)
        )
        self._changed = threading.Condition()
        self._waiting: deque[Ticket[Any]] = deque()
        self._asked: list[Ask] = []
        self._active: set[Ticket[Any]] = set()
        self._slow: set[Ticket[Any]] = set()  # active, but not waited for
        # Steady rounds do not depend on how fast a job reads.
        self._room = None if self._config.steady else self._config.max_events
        self._is_closed = self._has_stopped = self._is_held = False
        self._num_jobs = self._num_left = 0
        self._metrics = EngineMetrics()
        self._worker = threading.Thread(target=self._work, name="mogao-engine", daemon=True)
        release_threads()  # from now on the worker computes
        self._worker.start()

    def __enter__(self) -> Engine:  # noqa: PYI034 (beartype cannot check Self in a method)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(
        self,
        job: Callable[[Session], T],
        *,
        seed: int = 0,
        generation: GenerationConfig | None = None,
        wait: bool = False,
        on_done: Callable[[], None] | None = None,
    ) -> Ticket[T]:
        """Put a job in the queue.

        Args:
            job: Is called with a new session, in a thread of its own.
            seed: Of the session.
            generation: Settings of the session; None takes the engine's.
            wait: Whether to wait for a place in a full queue.
            on_done: Called when the job has ended in whatever way, in a thread of the engine.

        Raises:
            BusyError: The queue is full, or the engine is closed.
        """

        def make(ticket: Ticket[T]) -> Session:
            runner = JoinedRunner(
                self._parts.transformer, lambda work: self._ask(ticket, work), pool=self._pool
            )
            settings = generation or self._generation
            return Session(self._parts, generation=settings, seed=seed, runner=runner)

        with self._changed:
            number = self._num_jobs = self._num_jobs + 1
            ticket = Ticket(job, make, on_cancel=self._forget, on_done=on_done, number=number)
            self._admit()
            while wait and self._is_full and not self._is_closed:
                self._is_held = False  # nothing would ever leave the queue
                self._changed.notify_all()
                self._changed.wait()
            if self._is_closed:
                raise BusyError("the engine is closed")
            if self._is_full:
                raise BusyError(
                    f"{len(self._waiting)} jobs wait already (max_waiting of the engine); try later"
                )
            self._waiting.append(ticket)
            self._admit()
            self._changed.notify_all()
        return ticket

    def map(self, jobs: Iterable[Callable[[Session], T]], *, seeds: Iterable[int]) -> Iterator[T]:
        """Yield the results of many jobs in their order; the queue is kept full, no more.

        Leaving early, by an error of a job too, cancels the rest. A `steady` engine takes as many
        jobs as may wait at a time, begins with them once all are there, and ends them all.
        """
        steady, tickets = self._config.steady, deque[Ticket[T]]()
        most = 0 if steady else self._config.max_active + self._config.max_waiting
        pairs = zip(jobs, seeds, strict=False)
        try:
            while lot := list(islice(pairs, self._config.max_waiting if steady else 1)):
                self._hold(steady)
                for job, seed in lot:
                    tickets.append(self.submit(job, seed=seed, wait=True))
                self._hold(False)
                while tickets and (tickets[0].is_done or len(tickets) > most):
                    yield tickets.popleft().result()
            while tickets:
                yield tickets.popleft().result()
        finally:
            self._hold(False)
            for ticket in tickets:
                ticket.cancel()

    def stream(
        self,
        events: Callable[[Session], Iterator[Event]],
        *,
        seed: int = 0,
        generation: GenerationConfig | None = None,
    ) -> EventStream:
        """Return the events of one session as they come; closing the stream cancels it.

        A session that is `max_events` ahead of its reader waits; the others go on without it.

        Args:
            events: Prepares the session and returns its stream.
            seed: Of the session.
            generation: Settings of the session; None takes the engine's.

        Raises:
            BusyError: The queue is full, or the engine is closed.
        """
        pipe = Pipe(self._config.max_events)

        def job(session: Session) -> None:
            for event in events(session):
                pipe.put(event)

        pipe.ticket = self.submit(job, seed=seed, generation=generation, on_done=pipe.end)
        return EventStream(pipe, pipe.ticket)

    def metrics(self) -> EngineMetrics:
        """Return what has been done so far."""
        with self._changed:
            return replace(
                self._metrics,
                active=len(self._active),
                waiting=len(self._waiting),
                cache_bytes=self._pool.bytes,
            )

    def close(self) -> None:
        """Cancel everything and stop the worker; safe to call twice."""
        with self._changed:
            self._is_closed = True
            tickets = (*self._waiting, *self._active)
            self._changed.notify_all()
        for ticket in tickets:
            ticket.cancel()
        if threading.current_thread() is not self._worker:
            self._worker.join()

    def _hold(self, is_held: bool) -> None:
        """Let no round begin, or go on."""
        with self._changed:
            self._is_held = is_held
            self._changed.notify_all()

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= self._config.max_waiting

    def _ask(self, ticket: Ticket[Any], work: Work | Task[Any]) -> Ask:
        """Put work in line for the worker; called in the job's thread."""
        if threading.current_thread() is self._worker:
            raise RequestError("the worker of an engine cannot wait for itself: a grammar used it")
        if ticket.is_cancelled:
            raise CancelledError("the job was cancelled")
        if ticket.has_ended:
            raise RequestError("the session belongs to a job of an engine that has ended")
        ask = Ask(ticket, work, room=self._room, on_room=self._look_again)
        if ask.work is not None:
            with self._changed:
                if self._has_stopped:
                    raise CancelledError("the engine has stopped")
                is_known = self._some_are_ready()
                self._asked.append(ask)
                if ticket.num_late < MOST_LATE:
                    self._slow.discard(ticket)
                # Between the first and the last that it waits for, the worker need not look.
                if not is_known or self._all_wait():
                    self._changed.notify_all()
        return ask

    def _forget(self, ticket: Ticket[Any]) -> None:
        """Take a cancelled job out of the line."""
        with self._changed:
            is_waiting = ticket in self._waiting
            if is_waiting:
                self._waiting.remove(ticket)
            self._changed.notify_all()
        if is_waiting:
            ticket.run()
            ticket.finish()

    def _work(self) -> None:
        """The worker's loop: once every job waits, do what it waits for."""
        with torch.inference_mode():
            while (chosen := self._next()) is not None:
                try:
                    self._serve(chosen)
                except Exception as error:  # noqa: BLE001 - nobody else may wait for ever
                    self._stop(chosen, error)
                    return
                del chosen  # it holds caches

    def _stop(self, chosen: Sequence[Ask], error: Exception) -> None:
        """End everything after an error that belongs to no job."""
        with self._changed:
            self._is_closed = self._has_stopped = True
            left, self._asked = [*chosen, *self._asked], []
            waiting = list(self._waiting)
        for ask in left:
            ask.fail(error)
        for ticket in waiting:
            ticket.cancel()

    def _next(self) -> list[Ask] | None:
        """Wait until there is something to do; None once the engine is closed and empty."""
        with self._changed:
            deadline: float | None = None
            while (self._is_held and not self._is_closed) or not self._all_wait():
                if self._is_closed and not (self._active or self._waiting or self._asked):
                    return None
                if self._some_are_ready() and deadline is None and not self._config.steady:
                    deadline = time.monotonic() + PATIENCE
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    # Whoever computes or waits for something else is not waited for until it asks.
                    for ticket in self._active - self._slow - self._asking():
                        ticket.num_late += 1
                        self._slow.add(ticket)
                    break
                self._changed.wait(left)
            return self._choose()

    def _all_wait(self) -> bool:
        """Whether all that can be joined is there."""
        return self._some_are_ready() and self._active - self._slow <= self._asking()

    def _asking(self) -> set[Ticket[Any]]:
        """The jobs that wait for the worker or, in the middle of a task, for their reader."""
        return {ask.ticket for ask in self._asked}

    def _some_are_ready(self) -> bool:
        """Whether anything that was asked for can be done now."""
        return any(not ask.is_full for ask in self._asked)

    def _look_again(self) -> None:
        """Wake the worker: a reader has made room."""
        with self._changed:
            self._changed.notify_all()

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self._config.max_active:
            ticket = self._waiting.popleft()
            self._active.add(ticket)
            threading.Thread(target=self._run, args=(ticket,), daemon=True).start()

    def _run(self, ticket: Ticket[Any]) -> None:
        compute_alone()
        ticket.run()
        with self._changed:
            self._active.discard(ticket)
            self._slow.discard(ticket)
            self._metrics.jobs += 1
            self._admit()
            self._changed.notify_all()
        ticket.finish()

    def _choose(self) -> list[Ask]:
        """Take what has waited longest, within the budget of tokens; the rest stays in line."""
        if self._config.steady:  # jobs ask in any order, behind those that were left in line
            self._asked[self._num_left :] = sorted(
                self._asked[self._num_left :], key=lambda ask: ask.ticket.number
            )
        chosen: list[Ask] = []
        room = self._config.step_tokens
        left: list[Ask] = []
        for ask in self._asked:
            if not ask.is_full and (not chosen or ask.num_tokens <= room):
                chosen.append(ask)
                room -= ask.num_tokens
            else:
                left.append(ask)
        self._asked, self._num_left = left, len(left)
        return chosen

    def _serve(self, chosen: Sequence[Ask]) -> None:
        started = time.perf_counter()
        wanted = [ask for ask in chosen if not ask.is_unwanted]
        steps = [ask for ask in wanted if isinstance(ask.work, Step)]
        for ask in wanted:
            if isinstance(ask.work, Call):
                self._settle([ask])
        if steps:
            self._settle(steps)
        with self._changed:
            metrics = self._metrics
            metrics.steps += bool(steps)
            metrics.joined += len(steps)
            metrics.tokens += sum(ask.num_tokens for ask in steps)
            metrics.seconds += time.perf_counter() - started
        for ask in sorted(chosen, key=lambda ask: ask.is_task):  # those that wait for it first
            if ask.is_unwanted:
                ask.fail(CancelledError("the job was cancelled"))
            else:
                ask.advance()
        with self._changed:
            self._asked += [ask for ask in chosen if ask.work is not None]

    def _settle(self, asks: Sequence[Ask]) -> None:
        """Do what some jobs wait for; an error goes to the job that it belongs to."""
        try:
            for ask, result in zip(asks, self._do([ask.work for ask in asks]), strict=True):
                ask.result = result
            return
        except Exception as error:  # noqa: BLE001 - the worker serves the others
            if len(asks) == 1:
                asks[0].error = error
        # Outside of the handler: no job's error may hold on to what all of them had in hand.
        for ask in asks if len(asks) > 1 else ():
            self._settle([ask])

    def _do(self, works: Sequence[Work | None]) -> list[Any]:
        if isinstance(works[0], Call):
            return [works[0].do()]
        return list(run_together(self._parts.transformer, cast("Sequence[Step]", works)))
