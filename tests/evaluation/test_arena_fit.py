"""Strengths and shares are right for voters whose strengths are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mogao.evaluation.arena_fit import (
    Share,
    binomial_p_value,
    bradley_terry,
    strengths_with_intervals,
)


def simulated(true, *, num_items, seed):
    """Votes of raters who follow Bradley and Terry, one for each two systems of each item."""
    chance = 1 / (1 + np.exp(true[None] - true[:, None]))
    drawn = np.random.default_rng(seed).random((num_items, len(true), len(true)))
    upper = np.triu(drawn < chance, 1).astype(float)
    return upper + np.triu(1 - upper, 1).swapaxes(1, 2)


def test_known_strengths_are_recovered_in_order_and_inside_their_intervals():
    true = np.array([0.9, 0.3, -0.3, -0.9])
    right = 0
    for seed in range(100):
        found = strengths_with_intervals(simulated(true, num_items=100, seed=seed), seed=seed)
        values = [one.value for one in found]
        inside = [one.low <= value <= one.high for one, value in zip(found, true, strict=True)]
        right += values == sorted(values, reverse=True) and all(inside)
    assert right >= 93


def test_two_systems_have_the_log_odds_of_their_wins():
    wins = np.array([[0.0, 30.0], [10.0, 0.0]])
    assert bradley_terry(wins) == pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=0.002)
    assert bradley_terry(wins.T) == pytest.approx(-bradley_terry(wins))


def test_a_batch_of_fits_equals_its_members():
    wins = np.stack([simulated(np.array([1.0, 0, -1]), num_items=20, seed=k) for k in range(3)])
    together = bradley_terry(wins.sum(1))
    for one, found in zip(wins.sum(1), together, strict=True):
        assert bradley_terry(one) == pytest.approx(found)


def test_a_system_that_won_every_vote_stays_finite():
    found = strengths_with_intervals(np.tile([[0.0, 1.0], [0.0, 0.0]], (50, 1, 1)))
    assert 1 < found[0].value < 10
    assert [one.value for one in strengths_with_intervals(np.zeros((0, 2, 2)))] == [0, 0]


def test_shares_have_exact_p_values_and_wilson_intervals():
    assert binomial_p_value(1, 5) == pytest.approx(2 * 6 / 32)
    assert binomial_p_value(3, 6) == 1.0
    share = Share.of(1, 10)
    assert (share.value, share.n, share.p_value) == (0.1, 10, None)
    assert (share.low, share.high) == pytest.approx((0.01788, 0.40415), abs=1e-4)
    assert Share.of(0, 0, against_half=True) == Share(0.0, 0.0, 1.0, 0, 1.0)
    assert Share.of(10, 10).high == pytest.approx(1.0)
