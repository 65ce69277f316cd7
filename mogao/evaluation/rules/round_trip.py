"""Round trip: how alike are a picture and what was drawn from a description of it?

In: two pictures, embedders. Out: one cosine for each embedder. No labels and no judge are needed;
the same function scores benchmarks and rewards.

Source: arXiv 2509.09666; repository AIFrontierLab/TorchUMM,
`eval/generation/unified_bench/run_scoring.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mogao.errors import ConfigError
from mogao.evaluation.providers.base import Embedder
from mogao.sequence import Pixels


def likeness(picture: Pixels, copy: Pixels, *, embedders: Sequence[Embedder]) -> dict[str, float]:
    """Return the cosine of the vectors of two pictures under each embedder, by its name.

    A vector of zeros is like nothing: its cosine is 0.

    Raises:
        ConfigError: Two embedders have the same name.
    """
    names = [one.name for one in embedders]
    if len(set(names)) < len(names):
        raise ConfigError(f"embedders must have different names, got {', '.join(names)}")
    return {one.name: _cosine(*one.embed([picture, copy])) for one in embedders}


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
