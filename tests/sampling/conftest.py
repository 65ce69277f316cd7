"""One tiny model for all tests of a file."""

from __future__ import annotations

import pytest

from mogao.pipeline import Mogao
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def model() -> Mogao:
    return tiny_model()
