"""Cosines of two pictures, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.errors import ConfigError
from mogao.evaluation.rules.round_trip import likeness


class Corner:
    """Takes the first pixel for the vector of a picture."""

    def __init__(self, name="corner", scale=1.0):
        self.name, self.scale = name, scale

    def embed(self, pictures):
        return np.array([self.scale * picture[0, 0] for picture in pictures], np.float32)


def plain(*rgb):
    return np.full((16, 16, 3), rgb, np.uint8)


@pytest.mark.parametrize(
    ("one", "other", "cosine"),
    [
        ((3, 4, 0), (3, 4, 0), 1.0),
        ((3, 4, 0), (30, 40, 0), 1.0),
        ((3, 4, 0), (0, 0, 9), 0.0),
        ((3, 4, 0), (4, 3, 0), 0.96),  # 24 / 25
        ((0, 0, 0), (4, 3, 0), 0.0),
    ],
)
def test_likeness_is_the_cosine_of_the_vectors(one, other, cosine):
    found = likeness(plain(*one), plain(*other), embedders=[Corner()])
    assert found == {"corner": pytest.approx(cosine)}


def test_each_embedder_has_its_own_figure():
    embedders = [Corner("a"), Corner("b", scale=-2.0)]
    found = likeness(plain(3, 4, 0), plain(4, 3, 0), embedders=embedders)
    assert found == {"a": pytest.approx(0.96), "b": pytest.approx(0.96)}


def test_two_embedders_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="different names, got a, a"):
        likeness(plain(1, 0, 0), plain(1, 0, 0), embedders=[Corner("a"), Corner("a")])
