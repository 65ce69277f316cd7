"""`mogao info`: what a model folder holds.

In: a model. Out: parameters by part, bytes, hash and config, as tables or as JSON.
"""

from __future__ import annotations

from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from mogao.commands.output import finish
from mogao.config import RuntimeConfig
from mogao.pipeline import Mogao
from mogao.provenance import provenance


def run(name: str, *, as_json: bool) -> None:
    """Load a model, which checks every file, and describe it."""
    facts = Mogao.from_pretrained(name, device="cpu", runtime=RuntimeConfig()).info()
    if not as_json:
        console = Console(highlight=False, soft_wrap=True)
        console.print(_table(name, facts))
        console.print(yaml.safe_dump(facts["config"], sort_keys=False), markup=False, emoji=False)
    finish(provenance() | facts, [], as_json=as_json)


def _table(name: str, facts: dict[str, Any]) -> Table:
    table = Table(title=f"{name}: {facts['bytes'] / 1e6:.1f} MB, sha256 {facts['sha256']}")
    table.add_column("part")
    table.add_column("parameters", justify="right")
    parts = facts["parameters"]
    for part, count in parts.items():
        table.add_row(part, f"{count:,}")
    table.add_section()
    table.add_row("all", f"{sum(parts.values()):,}")
    table.add_section()
    for what, count in facts["cache_bytes"].items():
        table.add_row(f"cache of one {what}, bytes", f"{count:,}")
    return table
