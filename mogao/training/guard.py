"""The guard against steps that would ruin a run.

In: loss and gradient norm of each step. Out: whether the step may be applied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mogao.errors import MogaoError

MEMORY = 0.98
FIRST_JUDGED = 20


class SpikeGuard:
    """Refuses steps whose loss or gradient norm is not finite or far above its running mean.

    The first steps are judged on finiteness only, because a fresh network settles fast. A refused
    step does not move the means.
    """

    def __init__(self, *, factor: float, max_bad_steps: int) -> None:
        self.factor = factor
        self.max_bad_steps = max_bad_steps
        self.num_accepted = 0
        self.num_refused = 0
        self.num_refused_in_a_row = 0
        self._means = {"loss": 0.0, "gradient norm": 0.0}

    def accepts(self, *, loss: float, norm: float, step: int) -> bool:
        """Judge one step.

        Raises:
            MogaoError: `max_bad_steps` steps in a row were refused.
        """
        values = {"loss": loss, "gradient norm": norm}
        reason = self._reason(values)
        if reason is None:
            self.num_accepted += 1
            self.num_refused_in_a_row = 0
            share = max(1 - MEMORY, 1 / self.num_accepted)
            for name, value in values.items():
                self._means[name] += share * (value - self._means[name])
            return True
        self.num_refused += 1
        self.num_refused_in_a_row += 1
        if self.num_refused_in_a_row >= self.max_bad_steps:
            raise MogaoError(
                f"training stopped at step {step}: {self.num_refused_in_a_row} steps in a row were "
                f"skipped, the last one because its {reason}; lower optim.learning_rate, look at "
                "the data, or raise spike_factor, then continue from the last checkpoint with "
                "--resume"
            )
        return False

    def _reason(self, values: Mapping[str, float]) -> str | None:
        for name, value in values.items():
            if not math.isfinite(value):
                return f"{name} is {value}"
            mean = self._means[name]
            if self.num_accepted >= FIRST_JUDGED and value > self.factor * mean > 0:
                return f"{name} {value:.4g} exceeds {self.factor:g} times its mean {mean:.4g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Counts and running means."""
        return {
            "num_accepted": self.num_accepted,
            "num_refused": self.num_refused,
            "num_refused_in_a_row": self.num_refused_in_a_row,
            "means": dict(self._means),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over counts and running means."""
        self.num_accepted = state["num_accepted"]
        self.num_refused = state["num_refused"]
        self.num_refused_in_a_row = state["num_refused_in_a_row"]
        self._means = dict(state["means"])
