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


def unanimous(num_items):
    return np.tile([[0.0, 1.0], [0.0, 0.0]], (num_items, 1, 1))


@pytest.mark.parametrize("num_items", [1, 3, 50])
def test_an_interval_of_unanimous_votes_is_as_wide_as_their_number_allows(num_items):
    found = strengths_with_intervals(unanimous(num_items))
    # Half of the standard error of log odds with half a win more on each side.
    error = math.sqrt(1 / (num_items + 0.5) + 1 / 0.5) / 2
    for one in found:
        assert min(one.value - one.low, one.high - one.value) > 1.8 * error
        # Three votes for one side are one of four coin games: nothing is known yet.
        assert (one.low < 0 < one.high) == (num_items < 50)


def test_ties_and_systems_that_never_met_leave_an_interval():
    tied = strengths_with_intervals(np.tile([[0.0, 0.5], [0.5, 0.0]], (50, 1, 1)))
    unmet = strengths_with_intervals(np.zeros((4, 2, 2)))
    for ties, none in zip(tied, unmet, strict=True):
        assert ties.value == none.value == 0
        assert -2.2 < none.low < -1.8
        assert -0.32 < ties.low < -0.24
        assert (ties.high, none.high) == pytest.approx((-ties.low, -none.low), rel=0.1)


def test_intervals_of_divided_votes_are_as_wide_as_those_of_the_bootstrap_alone():
    true = np.array([0.9, 0.3, -0.3, -0.9])
    widths = [
        one.high - one.low
        for seed in range(20)
        for one in strengths_with_intervals(simulated(true, num_items=100, seed=seed), seed=seed)
    ]
    # 0.2492 is the mean of these seeds without a least width.
    assert np.mean(widths) / 2 == pytest.approx(0.2492, rel=0.05)


def test_shares_have_exact_p_values_and_wilson_intervals():
    assert binomial_p_value(1, 5) == pytest.approx(2 * 6 / 32)
    assert binomial_p_value(3, 6) == 1.0
    share = Share.of(1, 10)
    assert (share.value, share.n, share.p_value) == (0.1, 10, None)
    assert (share.low, share.high) == pytest.approx((0.01788, 0.40415), abs=1e-4)
    assert Share.of(0, 0, against_half=True) == Share(0.0, 0.0, 1.0, 0, 1.0)
    assert Share.of(10, 10).high == pytest.approx(1.0)
