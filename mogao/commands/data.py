"""`mogao data`: check records, look at them as training sees them, make records of the world.

In: record files, or the world. Out: violations by file, line and field; tables; pages; records.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mogao.commands.output import finish, printable, progress_bar
from mogao.config import WorldConfig
from mogao.data.check import CheckReport, check_file, read_first
from mogao.data.records import write_records
from mogao.data.world.page import write_samples_page
from mogao.data.world.source import World
from mogao.errors import ConfigError, DataError
from mogao.provenance import provenance

WORLD = "world"
_MOST_SHOWN = 50


def check(path: str, *, as_json: bool) -> None:
    """Check every record; the exit code is that of a `DataError` where one is broken."""
    with progress_bar(Console(stderr=True, quiet=as_json)) as bar:
        task = bar.add_task("records", total=None)
        report = check_file(
            path, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    violations = [
        {"where": v.where, "field": v.field, "message": v.message} for v in report.violations
    ]
    result = provenance() | {"path": path, "passed": report.passed, **_counts(report)}
    finish(result | {"violations": violations}, _report_lines(path, report), as_json=as_json)
    if not report.passed:
        raise typer.Exit(DataError.exit_code)


def show(path: str, out: Path | None, *, num: int, seed: int, model: str, as_json: bool) -> None:
    """Show records as tables; of the world, write a page."""
    if path == WORLD:
        target = out or Path("out/world.html")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_samples_page(target, config=WorldConfig(seed=seed), num_items=num)
        result = provenance() | {"out": str(target), "items": num}
        finish(result, [f"wrote {target}"], as_json=as_json)
        return
    if out is not None:
        raise ConfigError("--out goes with 'mogao data show world'; records are shown here")
    _show_records(path, num=num, model=model, as_json=as_json)


def build(out: Path, *, num: int, heldout: bool, seed: int, as_json: bool) -> None:
    """Write documents of the world as records with pictures."""
    config = WorldConfig(seed=seed, split="heldout" if heldout else "train")
    count = write_records(islice(World(config).items(), num), out)
    result = provenance() | {"out": str(out), "records": count}
    finish(result, [f"wrote {count} records to {out}"], as_json=as_json)


def _show_records(path: str, *, num: int, model: str, as_json: bool) -> None:
    from mogao.commands.show import LEGEND, show_document
    from mogao.pipeline import load_config, load_tokenizer

    tokenizer, config = load_tokenizer(model), load_config(model)
    documents = read_first(path, count=num)
    shown = [item for document in documents for item in show_document(document, tokenizer, config)]
    if not as_json:
        console = Console(highlight=False)
        for item in shown:
            console.print(_layout_table(item.id, item.rows, item.mask))
        console.print(LEGEND, markup=False)
        silent = len(documents) - len({item.id for item in shown})
        if silent:
            console.print(f"{silent} records carry no loss and teach nothing", style="yellow")
    rows = [{"id": item.id, "runs": item.rows, "mask": item.mask} for item in shown]
    finish(provenance() | {"documents": rows}, [], as_json=as_json)


def _layout_table(name: str, rows: list[dict[str, Any]], mask: list[str]) -> Table:
    table = Table(title=printable(name))
    for column in ("run", "kind", "segment", "tokens", "time", "loss"):
        table.add_column(column, justify="left" if column == "kind" else "right", no_wrap=True)
    table.add_column("content", overflow="fold")
    table.add_column("mask", no_wrap=True)
    for row, marks in zip(rows, mask, strict=True):
        names = ("run", "kind", "segment", "tokens", "time", "loss_tokens")
        content = Text(_shortened(printable(row["content"])))
        table.add_row(*(str(row[name]) for name in names), content, marks)
    return table


def _shortened(text: str) -> str:
    return text if len(text) <= 160 else text[:120] + " ... " + text[-30:]


def _counts(report: CheckReport) -> dict[str, int]:
    return {
        "records": report.num_records,
        "bad": report.num_bad,
        "segments": report.num_segments,
        "images": report.num_images,
        "words": report.num_words,
        "fitted_images": report.num_fitted,
        "learned_records": report.num_learned,
    }


def _report_lines(path: str, report: CheckReport) -> list[str]:
    lines = [printable(str(violation)) for violation in report.violations[:_MOST_SHOWN]]
    if len(report.violations) > _MOST_SHOWN:
        lines.append(f"... and {len(report.violations) - _MOST_SHOWN} more (--json lists all)")
    facts = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in _counts(report).items()
    )
    return [*lines, f"{path}: {'passed' if report.passed else 'FAILED'}: {facts}"]
