"""Windows average what they cover."""

from __future__ import annotations

import numpy as np

from mogao.evaluation.judges.windows import Grids, windows


def test_a_window_averages_and_counts_what_is_outside_as_zero():
    whole = windows(np.array([32.0]), np.array([64.0]), line=range(64), cells=4)[0]
    np.testing.assert_allclose(whole @ np.full(64, 3.0), 3.0, rtol=1e-6)
    half_outside = windows(np.array([0.0]), np.array([32.0]), line=range(64), cells=2)[0]
    np.testing.assert_allclose(half_outside @ np.ones(64), [0.0, 1.0], atol=1e-6)


def test_a_window_over_a_part_of_a_line_weighs_as_over_all_of_it():
    middles, sides = np.array([[20.5, 24.0], [30.25, 33.0]]), np.array([[18.0], [22.5]])
    whole = windows(middles, sides, line=range(64), cells=5)
    part = windows(middles, sides, line=range(9, 47), cells=5)
    assert whole.shape == (2, 2, 5, 64)
    assert np.array_equal(part, whole[..., 9:47])
    assert not whole[..., :9].any()


def test_grids_are_counted_by_side_then_row_then_column():
    grids = Grids.around(np.array([40.0, 50.0, 20.0]), scales=(1.0, 1.5), shifts=(-2.0, 0.0, 2.0))
    assert grids.window(0) == (38.0, 48.0, 20.0)
    assert grids.window(2) == (42.0, 48.0, 20.0)
    assert grids.window(3) == (38.0, 50.0, 20.0)
    assert grids.window(17) == (42.0, 52.0, 30.0)
    # The larger windows reach from 38 - 15 to 42 + 15 across and from 48 - 15 to 52 + 15 down.
    assert grids.lines(128) == (range(23, 57), range(33, 67))
    assert grids.lines(60) == (range(23, 57), range(33, 60))


def test_windows_beside_the_picture_touch_one_line_of_it():
    grids = Grids.around(np.array([-30.0, 90.0, 10.0]), scales=(1.0,), shifts=(0.0,))
    assert grids.lines(64) == (range(1), range(63, 64))
