"""Optimisers, learning-rate curve and averaged weights.

In: a module, the names of its hidden matrices, an `OptimConfig`. Out: an `Optimiser` with one
`step`, and a `MovingAverage`; both keep their state by parameter name, so that it can be stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mogao.config import OptimConfig
from mogao.errors import CheckpointError, ConfigError, nearest
from mogao.training import parallel

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95
MAX_STACK_ENTRIES = 64 * 2**20


def learning_rate_scale(step: int, config: OptimConfig, *, max_steps: int) -> float:
    """Factor on the learning rate of a step: warm-up, constant, linear decay.

    Args:
        step: 0-based index of the step.
        config: Lengths of warm-up and decay.
        max_steps: Length of the run.

    Returns:
        A value in (0, 1]; the last step has at least `final_share`.
    """
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    decay_steps = config.decay_share * max_steps
    left = (max_steps - step) / decay_steps if decay_steps > 0 else 1.0
    decay = config.final_share + (1 - config.final_share) * min(1.0, max(left, 0.0))
    return min(warmup, decay)


def orthogonalise(matrices: Float[Tensor, "stack rows cols"]) -> Float[Tensor, "stack rows cols"]:
    """Replace the singular values of each matrix by values near 1 (roughly 0.7 to 1.2).

    Source: https://kellerjordan.github.io/posts/muon/ (quintic Newton-Schulz iteration, bfloat16).
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    norm = torch.linalg.vector_norm(wide, dim=(-2, -1), keepdim=True, dtype=torch.float32)
    x = (wide / norm.clamp(min=1e-7)).bfloat16()
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon:
    """Momentum whose direction is orthogonalised, for hidden matrices and convolutions.

    A convolution counts as one matrix [outputs, inputs x kernel].

    Blocks of equal shape go through the iteration together: on two cores a fifth faster than one
    after another, and a fused projection is cut into its parts at no cost. The update is scaled
    to the usual size of an AdamW update, 0.2 per entry, so both share a range of rates.
    Source: https://kellerjordan.github.io/posts/muon/; scale: arXiv 2502.16982, section 2.2.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        heights: Mapping[str, tuple[int, ...]],
        weight_decay: float,
    ) -> None:
        self.parameters = dict(parameters)
        self.momenta = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.weight_decay = weight_decay
        self._stacks: list[list[tuple[str, int, int]]] = []  # (name, first row, rows) per stack
        by_shape: dict[tuple[int, int], list[tuple[str, int, int]]] = {}
        for name, parameter in self.parameters.items():
            first = 0
            for height in heights[name] or (parameter.shape[0],):
                shape = (height, parameter[0].numel())
                by_shape.setdefault(shape, []).append((name, first, height))
                first += height
            if first != parameter.shape[0]:
                raise ConfigError(f"row blocks of {name} add up to {first} of {parameter.shape[0]}")
        for (rows, cols), blocks in by_shape.items():
            size = max(1, MAX_STACK_ENTRIES // (rows * cols))
            self._stacks += [blocks[i : i + size] for i in range(0, len(blocks), size)]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Apply one update from the parameters' gradients."""
        names = list(self.parameters)
        parameters: list[Tensor] = [self.parameters[name] for name in names]
        momenta = [self.momenta[name] for name in names]
        grads = [_gradient(parameter) for parameter in parameters]
        torch._foreach_lerp_(momenta, grads, 1 - MOMENTUM)
        directions = {
            name: grad.lerp(momentum, MOMENTUM).contiguous()
            for name, grad, momentum in zip(names, grads, momenta, strict=True)
        }
        if self.weight_decay:
            torch._foreach_mul_(parameters, 1 - rate * self.weight_decay)
        for stack in self._stacks:
            blocks = [_rows(directions[name], first, rows) for name, first, rows in stack]
            scale = 0.2 * math.sqrt(max(blocks[0].shape))
            updates = _orthogonalise_shared(torch.stack(blocks)).float()
            targets = [_rows(self.parameters[name], first, rows) for name, first, rows in stack]
            torch._foreach_add_(targets, list(updates.unbind()), alpha=-rate * scale)


class Optimiser:
    """Muon on the hidden matrices where the config says so, fused AdamW on everything else.

    Weight decay acts on matrices only. Frozen parameters belong to neither.
    """

    def __init__(
        self, module: nn.Module, *, matrices: Mapping[str, tuple[int, ...]], config: OptimConfig
    ) -> None:
        """Split the trainable parameters.

        Raises:
            ConfigError: `matrices` names something that is not a parameter, a block does not fit,
                or nothing is trainable.
        """
        self.config = config
        known = dict(module.named_parameters())
        for name in matrices:
            if name not in known:
                raise ConfigError(f"no parameter {name!r} ({nearest(name, known)})")
        self.trainable = {name: p for name, p in known.items() if p.requires_grad}
        if not self.trainable:
            raise ConfigError("nothing to train: every parameter is frozen")
        hidden = matrices if config.kind == "muon" else {}
        self.muon = Muon(
            {name: p for name, p in self.trainable.items() if name in hidden},
            heights=hidden,
            weight_decay=config.weight_decay,
        )
        self.rest = {name: p for name, p in self.trainable.items() if name not in hidden}
        decayed = [p for name, p in self.rest.items() if name in matrices]
        others = [p for name, p in self.rest.items() if name not in matrices]
        groups = [
            {"params": params, "weight_decay": decay}
            for params, decay in ((decayed, config.weight_decay), (others, 0.0))
            if params
        ]
        self.adamw = (
            torch.optim.AdamW(
                groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True
            )
            if groups
            else None
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.trainable.values():
            parameter.grad = None

    def clip(self) -> float:
        """Scale the gradients to the norm `clip_norm` at most; return their norm before that."""
        norm = nn.utils.clip_grad_norm_(self.trainable.values(), self.config.clip_norm)
        return float(norm)

    def step(self, scale: float) -> None:
        """Apply one update; `scale` is the value of the learning-rate curve."""
        if self.adamw is not None:
            for group in self.adamw.param_groups:
                group["lr"] = self.config.learning_rate * scale
            self.adamw.step()
        if self.muon.parameters:
            self.muon.step(self.config.muon_learning_rate * scale)

    def state_dict(self) -> dict[str, Any]:
        """Momenta by parameter name."""
        adamw = {} if self.adamw is None else self.adamw.state
        return {
            "muon": dict(self.muon.momenta),
            "adamw": {name: dict(adamw[p]) for name, p in self.rest.items() if p in adamw},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over momenta.

        Raises:
            CheckpointError: The state belongs to other parameters or another kind of optimiser.
        """
        if set(state["muon"]) != set(self.muon.momenta):
            raise CheckpointError(_mismatch("muon", state["muon"], self.muon.momenta))
        unknown = set(state["adamw"]) - set(self.rest)
        if unknown:
            raise CheckpointError(_mismatch("adamw", state["adamw"], self.rest))
        for name, momentum in state["muon"].items():
            self.muon.momenta[name].copy_(momentum)
        for name, values in state["adamw"].items():
            assert self.adamw is not None
            parameter = self.rest[name]
            self.adamw.state[parameter] = {
                key: value.to(device=value.device if key == "step" else parameter.device).clone()
                for key, value in values.items()
            }


class MovingAverage:
    """Exponential moving average of the trainable weights; the weights that are exported.

    The decay warms up as (1 + n) / (10 + n), so that a short run forgets its first weights too.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._live = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach().clone() for name, p in self._live.items()} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        if not self.decay:
            return
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        live: list[Tensor] = [self._live[name] for name in self.weights]
        torch._foreach_lerp_(list(self.weights.values()), live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the module for a while."""
        backup = {name: self._live[name].detach().clone() for name in self.weights}
        self._write(self.weights)
        try:
            yield
        finally:
            self._write(backup)

    def state_dict(self) -> dict[str, Any]:
        """Averaged weights by parameter name."""
        return {"num_updates": self.num_updates, "weights": dict(self.weights)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over an average.

        Raises:
            CheckpointError: The average belongs to other parameters.
        """
        if set(state["weights"]) != set(self.weights):
            raise CheckpointError(_mismatch("average", state["weights"], self.weights))
        self.num_updates = int(state["num_updates"])
        for name, weight in state["weights"].items():
            self.weights[name].copy_(weight)

    @torch.no_grad()
    def _write(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            self._live[name].copy_(weight)


def _orthogonalise_shared(
    matrices: Float[Tensor, "stack rows cols"],
) -> Float[Tensor, "stack rows cols"]:
    """`orthogonalise`, each rank doing its share of the stack; bit-equal on all ranks."""
    count, left = divmod(len(matrices), parallel.num_ranks())
    first = parallel.rank() * count
    mine = orthogonalise(matrices[first : first + count])
    shared = parallel.join_rows(mine)
    return torch.cat([shared, orthogonalise(matrices[-left:])]) if left else shared


def _rows(tensor: Tensor, first: int, count: int) -> Float[Tensor, "rows cols"]:
    """A block of rows of a parameter seen as a matrix, sharing its memory."""
    return tensor.view(tensor.shape[0], -1)[first : first + count]


def _gradient(parameter: Tensor) -> Tensor:
    """The gradient, or zeros where a step did not touch the parameter."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _mismatch(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    odd = sorted(set(found) ^ set(expected))
    return (
        f"the checkpoint's {what} state has {len(found)} parameters, the run has {len(expected)}; "
        f"they differ in {', '.join(odd[:3])}; resume with the configuration that wrote it"
    )
