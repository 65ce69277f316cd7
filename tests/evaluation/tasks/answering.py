"""Takers of text benchmarks for tests, and the small files that they take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mogao.evaluation.benchmark import Benchmark, Item, Output, Row
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score

PIXELS = np.full((16, 16, 3), 200, np.uint8)


def taken(
    benchmark: Benchmark,
    answer: str | Callable[[Item], str],
    *,
    protocol: str = "",
    tools: Tools | None = None,
) -> list[Row]:
    """Rows of a model that answers always alike or as a function says; the first protocol."""
    return [
        benchmark.score(
            item,
            [Output((answer if isinstance(answer, str) else answer(item),))],
            tools=tools or Tools(),
            protocol=protocol or benchmark.protocols[0],
        )
        for item in benchmark.items()
    ]


def table(
    benchmark: Benchmark,
    answer: str | Callable[[Item], str],
    *,
    protocol: str = "",
    tools: Tools | None = None,
) -> dict[str, Score]:
    """Scores of such a model."""
    protocol = protocol or benchmark.protocols[0]
    rows = taken(benchmark, answer, protocol=protocol, tools=tools)
    return benchmark.table(rows, protocol=protocol)


def values(scores: dict[str, Score]) -> dict[str, float]:
    """Values alone, rounded to four places."""
    return {name: round(score.value, 4) for name, score in scores.items()}


def write_lines(path: Path, rows: list[Any]) -> Path:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write one JSON file."""
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
