"""The fast correlation is the obvious one."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.data.world import atlas
from mogao.evaluation.judges.bank import COARSE, FINE, load_bank


@pytest.mark.parametrize("cells", [FINE, COARSE])
def test_correlation_equals_that_of_drawings_put_on_the_background(
    cells: int, rng: np.random.Generator
):
    bank = load_bank(cells)
    among = rng.integers(len(bank.colours), size=7)
    crops = rng.normal(0, 60, (2, cells, cells, 3)).astype(np.float32)
    grounds = rng.uniform(0, 255, (2, cells, 3)).astype(np.float32)
    paint = bank.paint[among].reshape(-1, cells, cells, 3)
    alpha = bank.alpha[bank.shape_of[among]].reshape(-1, cells, cells, 1)
    straight, mirrored = bank.correlate(crops, grounds)
    for crop, ground, row, other in zip(crops, grounds, straight, mirrored, strict=True):
        shown = (paint - alpha * ground[:, None]).reshape(len(among), -1)
        length = np.linalg.norm(shown, axis=1) * np.linalg.norm(crop)
        np.testing.assert_allclose(row[among], shown @ crop.ravel() / length, atol=1e-4)
        np.testing.assert_allclose(other[among], shown @ crop[:, ::-1].ravel() / length, atol=1e-4)
    np.testing.assert_allclose(
        bank.correlate(crops, grounds, among), bank.correlate(crops, grounds)[..., among], atol=1e-5
    )


def test_the_bank_holds_every_concept_in_every_style():
    bank = load_bank(COARSE)
    expected = {(name, style) for name in atlas.concepts() for style in atlas.STYLES}
    assert set(bank.shapes) == expected
    assert len(bank.shape_of) == len(bank.colours) == len(bank.paint)
