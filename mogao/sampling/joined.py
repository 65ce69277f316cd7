"""The runner of a session in an engine: what it is asked for, the engine's worker does.

In: a way to put work in line. Out: what came of it. Nothing here waits while a stream is left,
because the garbage collector may do that in the worker itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from torch import Tensor

from mogao.model.transformer import MogaoTransformer
from mogao.sampling.events import Event
from mogao.sampling.groups import CommitGroup, DenoiseGroup, Run
from mogao.sampling.runner import (
    Combine,
    CommitStep,
    DenoiseStep,
    Read,
    Runner,
    Task,
    as_they_are,
)
from mogao.sampling.slabs import SlabPool
from mogao.sampling.tickets import Ask, Call, Work

Result = TypeVar("Result")


class JoinedRunner(Runner):
    """Hands work over to the worker and waits for it; a task is handed over as a whole."""

    def __init__(
        self,
        transformer: MogaoTransformer,
        ask: Callable[[Work | Task[Any]], Ask],
        *,
        pool: SlabPool,
    ) -> None:
        super().__init__(transformer, pool=pool)
        self._ask = ask
        self._left: deque[Ask] = deque()

    def commit(self, groups: Sequence[CommitGroup]) -> Read:
        """Read what each group holds into its cache; see `Runner`."""
        return cast("Read", self._ask(CommitStep(groups)).wait())

    def velocity(
        self, group: DenoiseGroup, runs: Sequence[Run], *, combine: Combine = as_they_are
    ) -> Tensor:
        """Return the velocity of one picture, combined by the worker; see `Runner`."""
        group.runs = tuple(runs)
        return cast("Tensor", self._ask(DenoiseStep(group, combine)).wait())

    def play(self, task: Task[Result]) -> Generator[Event, None, Result]:
        """Run a task to its end; the worker needs no thread between its steps. See `Runner`."""
        ask = self._ask(task)
        try:
            while (event := ask.next_event()) is not None:
                yield event
        except BaseException:
            self._left.append(ask)
            ask.is_left = True
            raise
        return cast("Result", ask.wait())

    def settle(self) -> None:
        """Wait until no task that was left is worked on any more; see `Runner`."""
        while self._left:
            self._left[0].wait_end()
            self._left.popleft()

    def when_settled(self, work: Callable[[], None]) -> None:
        """Do work as soon as `settle` would not wait, in whatever thread; see `Runner`."""
        for ask in tuple(self._left):
            if ask.then(partial(self.when_settled, work)):
                return
        work()

    def call(self, work: Callable[[], Result], *, num_tokens: int = 0) -> Result:
        """Do other work on the model's networks; see `Runner`."""
        return cast("Result", self._ask(Call(work, num_tokens)).wait())
