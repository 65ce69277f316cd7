"""Unified-Bench: which picture is compared with which."""

from __future__ import annotations

import numpy as np
import pytest

from mogao.data.images import save_png
from mogao.errors import DataError
from mogao.evaluation.benchmark import Output, Row
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tasks.unified_bench import UnifiedBench
from mogao.sequence import TextSegment


class Corner:
    """Takes the first pixel for the vector of a picture."""

    def __init__(self, name, channels):
        self.name, self.channels = name, channels

    def embed(self, pictures):
        return np.array([picture[0, 0, : self.channels] for picture in pictures], np.float32)


def picture(path, *rgb):
    save_png(np.full((16, 16, 3), rgb, np.uint8), path)
    return path


def test_references_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("b.png", "10.png", "9.png"):
        picture(tmp_path / name, 1, 2, 3)
    (tmp_path / "captions.jsonl").write_text("{}")
    items = UnifiedBench(tmp_path).items()
    assert [item.id for item in items] == ["9", "10", "b"]
    assert items[0].want == "text"
    (turn,) = items[0].turns
    assert (turn.want, turn.is_fresh) == ("picture", True)
    (segment,) = turn.given(["a red cat"])
    assert isinstance(segment, TextSegment)
    assert segment.text == "a red cat"
    assert items[0].given().images[0].pixels[0, 0].tolist() == [1, 2, 3]
    assert items[0].given().text == items[0].prompt


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="not a folder of pictures"):
        UnifiedBench(tmp_path / "none").items()
    with pytest.raises(DataError, match="no records"):
        UnifiedBench(tmp_path).items()


def test_the_last_picture_is_compared_under_each_embedder(tmp_path):
    folder, made = tmp_path / "references", tmp_path / "made"
    picture(folder / "1.png", 3, 4, 12)
    bench = UnifiedBench(folder)
    output = Output(
        ("a cat", picture(made / "draft.png", 0, 0, 0), picture(made / "end.png", 4, 3, 0))
    )
    tools = Tools(embedders=(Corner("two", 2), Corner("three", 3)))
    row = bench.score(bench.items()[0], [output], tools=tools, protocol="round-trip")
    # 24 / (5 * 5) and 24 / (13 * 5).
    assert row.values["two"] == pytest.approx(0.96)
    assert row.values["three"] == pytest.approx(24 / 65)
    assert row.values["overall"] == pytest.approx((0.96 + 24 / 65) / 2)


def test_scores_are_out_of_a_hundred(tmp_path):
    rows = [
        Row("1", "pictures", {"overall": 0.5, "clip": 0.25}),
        Row("2", "pictures", {"overall": 0.7, "clip": 0.75}),
    ]
    table = UnifiedBench(tmp_path).table(rows, protocol="round-trip")
    assert {name: score.value for name, score in table.items()} == {
        "overall": pytest.approx(60),
        "clip": pytest.approx(50),
    }


def test_a_reference_that_is_gone_is_named(tmp_path):
    picture(tmp_path / "1.png", 1, 1, 1)
    bench = UnifiedBench(tmp_path)
    item = bench.items()[0]
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"1.png"):
        bench.score(item, [Output(())], tools=Tools(embedders=(Corner("a", 3),)), protocol="x")
