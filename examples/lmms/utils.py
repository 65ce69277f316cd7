"""What the two tasks of this folder tell lmms-eval about their records.

In: a record, and what a model made of it. Out: its pictures, and scores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from mogao.evaluation.benchmark import Item, Output
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.tables import CEILING
from mogao.evaluation.tasks.world.nano import NanoSuite
from mogao.sequence import InterleavedSequence, TextSegment


def visuals(doc: dict[str, Any]) -> list[Image.Image]:
    """Open the picture of a question."""
    with Image.open(doc["image"]) as picture:
        return [picture.convert("RGB")]


def judged(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Score a drawing by the rule of its task in the suite `nano`.

    Args:
        doc: The record.
        results: One answer: JSON with the paths of the pictures, as in the tasks of lmms-eval.
    """
    pictures = tuple(Path(path) for path in json.loads(results[0])["images"])
    given = InterleavedSequence((TextSegment(doc["prompt"]),))
    truth = json.loads(doc["truth"])
    item = Item(doc["id"], doc["group"], doc["prompt"], "picture", lambda: given, truth)
    suite = NanoSuite()
    row = suite.score(item, [Output(pictures)], tools=Tools(), protocol=suite.protocols[0])
    return {"right": row.values["right"], "ceiling": row.values[CEILING]}
