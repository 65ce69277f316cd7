"""The example of docs/sampling.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_model

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model().save_pretrained(tmp_path / "tiny", dtype=torch.float32)
    text = (DOCS / "sampling.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    code = example.replace('"nano"', repr(str(tmp_path / "tiny")))
    exec(compile(code, "sampling.md", "exec"), {})  # noqa: S102  # our own text
    printed = re.search(r"(\d+)\n$", capsys.readouterr().out)
    assert printed is not None
    assert int(printed[1]) == 2 * 2  # steps x branches of the one picture
