"""Rectified flow: times, noise, targets and schedules. Pure functions, float32.

t is the flow time in [0, 1]; 0 = clean, 1 = noise; noisy = (1 - t) * clean + t * noise and
velocity = noise - clean, so a step is noisy += (t_next - t) * velocity. The paper counts the
other way (its t is 1 - ours).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from mogao.config import FlowConfig


@dataclass(frozen=True, slots=True)
class FlowInputs:
    """A corruption of the NOISY tokens of a pack.

    Attributes:
        noisy: Noisy latent patches.
        t: Flow time of each NOISY run.
        velocity: What the network must predict.
    """

    noisy: Float32[Tensor, "noisy latent_dim"]
    t: Float32[Tensor, " noisy_runs"]
    velocity: Float32[Tensor, "noisy latent_dim"]


def shift_time(t: Float[Tensor, "*shape"], shift: float) -> Float[Tensor, "*shape"]:
    """Return t' = shift * t / (1 + (shift - 1) * t): more weight on noise where shift > 1.

    Raises:
        ValueError: `shift` is not positive.

    Source: arXiv 2403.03206, section 5.3.2.
    """
    if shift <= 0:
        raise ValueError(f"shift must be above 0, got {shift}")
    return shift * t / (1 + (shift - 1) * t)


def draw_times(
    num: int, config: FlowConfig, *, generator: torch.Generator
) -> Float32[Tensor, " num"]:
    """Draw logit-normal flow times, shifted. Source: arXiv 2403.03206, equation 19."""
    normal = torch.randn(num, generator=generator, device=generator.device)
    return shift_time(torch.sigmoid(config.mean + config.std * normal), config.shift)


def interpolate(
    clean: Float[Tensor, "tokens latent_dim"],
    noise: Float[Tensor, "tokens latent_dim"],
    t: Float[Tensor, " tokens"],
) -> Float[Tensor, "tokens latent_dim"]:
    """Return (1 - t) * clean + t * noise, with one time per token."""
    return torch.lerp(clean, noise, t[:, None])


def corrupt(
    clean: Float[Tensor, "noisy latent_dim"],
    lengths: tuple[int, ...],
    config: FlowConfig,
    *,
    generator: torch.Generator,
) -> FlowInputs:
    """Draw one time per run and noise per value, and return the corrupted tokens.

    Args:
        clean: Clean latent patches of the NOISY tokens.
        lengths: Tokens of each run, in order.
        config: How times are drawn.
        generator: Source of every draw, on the device of `clean`.
    """
    clean = clean.float()
    t = draw_times(len(lengths), config, generator=generator)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    per_token = t.repeat_interleave(torch.tensor(lengths, dtype=torch.long, device=clean.device))
    return FlowInputs(interpolate(clean, noise, per_token), t, noise - clean)


def schedule(num_steps: int, *, shift: float = 1.0) -> list[float]:
    """Return num_steps + 1 falling times from 1 to 0, evenly spaced before the shift.

    Raises:
        ValueError: `num_steps` is below 1 or `shift` is not positive.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    times = torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64)
    return [1.0, *(float(t) for t in shift_time(times, shift)[1:-1]), 0.0]
