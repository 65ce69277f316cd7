"""mogao: one causal transformer that reads and writes interleaved text and pictures.

The public names load on first use, so `import mogao` imports neither torch nor pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mogao.config import GenerationConfig
    from mogao.errors import CheckpointError, ConfigError, DataError, MogaoError, RequestError
    from mogao.pipeline import Mogao
    from mogao.sequence import ImageSegment, InterleavedSequence, TextSegment

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "GenerationConfig",
    "ImageSegment",
    "InterleavedSequence",
    "Mogao",
    "MogaoError",
    "RequestError",
    "TextSegment",
    "__version__",
]

_HOMES = {
    "CheckpointError": "mogao.errors",
    "ConfigError": "mogao.errors",
    "DataError": "mogao.errors",
    "GenerationConfig": "mogao.config",
    "ImageSegment": "mogao.sequence",
    "InterleavedSequence": "mogao.sequence",
    "Mogao": "mogao.pipeline",
    "MogaoError": "mogao.errors",
    "RequestError": "mogao.errors",
    "TextSegment": "mogao.sequence",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mogao' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
