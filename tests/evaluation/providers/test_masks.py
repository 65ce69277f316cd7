"""Things are cut out of pictures as GenEval does it."""

from __future__ import annotations

import numpy as np

from mogao.evaluation.providers.base import Detection
from mogao.evaluation.providers.masks import MaskedDetection, cut_out


def test_a_thing_is_cut_out_on_grey_where_its_outline_is_known():
    pixels = np.full((6, 8, 3), 10, np.uint8)
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:5] = True
    box = (2.6, 1.6, 5.4, 4.4)
    cut = cut_out(pixels, MaskedDetection("cat", box, mask=mask))
    assert cut.shape == (2, 2, 3)
    assert cut[:, :, 0].tolist() == [[10, 10], [10, 10]]
    wide = cut_out(pixels, MaskedDetection("cat", (2.0, 2.0, 4.0, 3.0), mask=mask))
    assert wide.tolist() == [[[153] * 3, [10] * 3]]
    assert cut_out(pixels, Detection("cat", (-3.0, -2.0, 2.0, 2.0))).shape == (2, 2, 3)
    assert cut_out(pixels, Detection("cat", (9.0, 7.0, 9.0, 7.0))).shape == (1, 1, 3)
