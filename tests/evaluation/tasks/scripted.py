"""A judge that says what a test wants, and the files that benchmarks read."""

from __future__ import annotations

import json

import numpy as np

from mogao.data.images import save_png
from mogao.evaluation.benchmark import Output, Row

SOURCE, RESULT = 50, 200  # shades of an edit's pictures


class Judge:
    """Replies by a function of the question, and keeps the question and what it was shown."""

    name = "scripted"

    def __init__(self, reply):
        self.reply, self.texts, self.shown, self.sizes = reply, [], [], []

    def ask(self, text, *, pictures=()):
        self.texts.append(text)
        self.shown.append([int(pixels[0, 0, 0]) for pixels in pictures])
        self.sizes.append([pixels.shape[:2] for pixels in pictures])
        return self.reply(text)


def picture(path, shade, size=(16, 16)):
    """Write a grey picture and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(np.full((*size, 3), shade, np.uint8), path)
    return path


def result(folder, size=(16, 16)):
    """Return the output of an edit."""
    return Output((picture(folder / "result.png", RESULT, size),))


def written(path, value):
    """Write a JSON file and return its path."""
    path.write_text(json.dumps(value))
    return path


def row(name, group, **values):
    """Return a row; "__" in the name of a value stands for "/"."""
    return Row(name, group, {key.replace("__", "/"): float(value) for key, value in values.items()})
