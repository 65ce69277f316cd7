"""A benchmark has one name: on the command line, in its results and in its messages."""

from __future__ import annotations

from importlib import import_module

import pytest

from mogao.evaluation.registry import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_called_as_it_is_asked_for(name):
    module, _, attribute = BENCHMARKS[name].partition(":")
    made = getattr(import_module(f"mogao.evaluation.tasks.{module}"), attribute)
    assert made.name == name
