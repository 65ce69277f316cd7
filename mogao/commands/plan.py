"""`mogao plan`: what a model costs, before anything is trained, loaded or bought.

In: a run's file, a model folder or a preset, and devices. Out: tables for people, or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mogao.commands.output import finish
from mogao.plan.activations import backend_of
from mogao.plan.facts import Machine, make_plan
from mogao.plan.subject import Subject, open_subject
from mogao.provenance import provenance

__all__ = ["Machine", "Shown", "open_subject", "run"]

COLUMNS = 100
GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Shown:
    """Which halves of a plan are printed."""

    train: bool
    serve: bool


def run(subject: Subject, machine: Machine, shown: Shown, *, as_json: bool) -> None:
    """Print the plan of a model on some devices."""
    # The devices are not those of this machine: nothing is asked of it.
    dtype = torch.float32 if subject.run.dtype == "float32" else torch.bfloat16
    backend = backend_of(subject.task.attention, on_cuda=True)
    facts = make_plan(subject, machine, dtype=dtype, backend=backend)
    name = str(dtype).removeprefix("torch.")
    if not as_json:
        console = Console(highlight=False, width=COLUMNS)
        console.print(_assumptions(facts, name))
        tables = [_parameters(facts), _flops(facts)]
        tables += [_training(facts), _counts(facts)] if shown.train else []
        tables += [_serving(facts)] if shown.serve else []
        for table in tables:
            console.print(table)
        if shown.train:
            console.print(_budgets(facts))
        if shown.serve:
            console.print(_serving_facts(facts))
    finish(provenance(name) | facts, [], as_json=as_json)


def _assumptions(facts: dict[str, Any], dtype: str) -> str:
    document, machine = facts["document"], facts["assumed"]
    return (
        f"{facts['name']} on {machine['devices']} devices of {machine['memory_bytes'] / GIGA:g} GB "
        f"({machine['reserve']:.0%} of it left alone), {dtype}, attention {machine['attention']}\n"
        f"reckoned with documents of {document['pictures']} pictures of {document['width']} x "
        f"{document['height']} pixels, {document['text_tokens']} text tokens before each\n"
        f"speed: {machine['device_tflops']:g} TFLOP/s a device, of which a step reaches "
        f"{machine['efficiency']:.0%} (both assumed, not measured)"
    )


def _parameters(facts: dict[str, Any]) -> Table:
    *parts, (_, total) = facts["parameters"].items()
    rows = [(name, f"{count:,}", f"{count / total:.1%}") for name, count in parts]
    return _table("parameters", ("part", "number", "share"), [*rows, ("all", f"{total:,}", "")])


def _flops(facts: dict[str, Any]) -> Table:
    flops, tokens = facts["flops_per_token"], facts["document"]["tokens"]
    rows = [
        (
            name,
            f"{tokens[name]:,}" if name in tokens else "",
            f"{one['keys']:,.0f}" if "keys" in one else "",
            f"{one['forward'] / GIGA:,.3f}",
            f"{one['training'] / GIGA:,.3f}",
        )
        for name, one in flops.items()
        if name != "key"
    ]
    rows.append(("1,000 more keys", "", "", *_thousand(flops["key"])))
    heads = ("a token of", "in a document", "keys it sees", "forward", "training")
    return _table("GFLOPs of a token", heads, rows)


def _thousand(key: dict[str, float]) -> tuple[str, str]:
    return f"{1000 * key['forward'] / GIGA:,.3f}", f"{1000 * key['training'] / GIGA:,.3f}"


def _training(facts: dict[str, Any]) -> Table:
    kept, again = (facts["memory_bytes"]["train"][name] for name in ("kept", "recomputed"))
    rows = [(name.replace("_", " "), _gb(kept[name]), _gb(again[name])) for name in kept]
    fits = facts["fits"]
    rows.append(("fits", _yes(fits["train"]), _yes(fits["train_recompute"])))
    title = f"training, GB a device, packs of {facts['train']['token_budget']:,} tokens"
    return _table(title, ("part", "layers kept", "layers recomputed"), rows)


def _counts(facts: dict[str, Any]) -> Table:
    rows = [
        (
            str(row["devices"]),
            "recomputed" if row["recompute"] else "kept",
            _gb(row["device_bytes"]),
            _yes(row["fits"]),
            f"{row['tokens_per_second']:,.0f}",
        )
        for row in facts["train"]["rows"]
    ]
    heads = ("devices", "layers", "GB a device", "fits", "tokens a second")
    return _table("training by number of devices", heads, rows)


def _serving(facts: dict[str, Any]) -> Table:
    one, shared = (facts["memory_bytes"]["serve"][name] for name in ("replicated", "sharded"))
    rows = [(name.replace("_", " "), _gb(one[name]), _gb(shared[name])) for name in one]
    fits = facts["fits"]
    counts = [f"{count:,}" for count in facts["serve"]["documents"].values()]
    rows.append(("documents at a time, all devices", counts[0], counts[1]))
    rows.append(("fits", _yes(fits["serve"]), _yes(fits["serve_sharded"])))
    heads = ("part", "weights on each device", "weights divided")
    return _table("serving, GB a device", heads, rows)


def _budgets(facts: dict[str, Any]) -> str:
    most = facts["train"]["largest_token_budget"]
    return (
        f"largest pack of a device: {most['kept']:,} tokens with layers kept, "
        f"{most['recomputed']:,} with layers recomputed (task.recompute_layers=true)"
    )


def _serving_facts(facts: dict[str, Any]) -> str:
    cache, serve = facts["memory_bytes"]["cache"], facts["serve"]
    return (
        f"cache: {cache['thousand_tokens'] / 1e6:,.2f} MB for a thousand tokens, "
        f"{cache['picture'] / 1e6:,.2f} MB for a picture, {cache['document'] / 1e6:,.2f} MB for a "
        "document with its guidance branches\n"
        f"a picture: {serve['evaluations']} evaluations, {serve['picture_flops'] / 1e12:,.2f} "
        f"TFLOPs, about {serve['picture_seconds']:,.2f} s on one device; reading text: about "
        f"{serve['read_tokens_per_second']:,.0f} tokens a second on all"
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _gb(count: int) -> str:
    return f"{count / GIGA:,.2f}"


def _yes(fits: bool) -> str:
    return "yes" if fits else "no"
