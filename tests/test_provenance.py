"""Every result says where it comes from."""

from __future__ import annotations

from mogao import __version__
from mogao.provenance import provenance


def test_all_keys_are_there() -> None:
    facts = provenance("bfloat16")
    assert list(facts) == ["machine", "threads", "dtype", "commit", "versions"]
    assert facts["dtype"] == "bfloat16"
    assert facts["threads"] >= 1
    assert facts["versions"]["mogao"] == __version__
    assert facts["versions"]["torch"]
