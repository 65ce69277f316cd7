"""The verbs in groups: `mogao data ...`, `mogao arena ...` and `mogao bench ...`.

In: arguments. Out: what the modules of `mogao.commands` do with them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mogao.commands.options import Compiled, Dtype, Json, Model, Out, Peers, Seed, verb

data_app = typer.Typer(help="Validate, look at and make training data.", no_args_is_help=True)
arena_app = typer.Typer(help="Compare systems by blind pairs.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed, and judges, on this machine.", no_args_is_help=True)


def _asked(
    systems: Annotated[list[str], typer.Argument(metavar="NAME=FOLDER")],
    *,
    suite: Annotated[
        str | None, typer.Option(help="Benchmark that was asked; runs of `mogao eval` say it.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help='Or rows {"id", "prompt", "images"?}.'),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Record file of the benchmark.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder of the records' pictures.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of the benchmark.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Only this group; repeatable.")
    ] = None,
    num: Annotated[int | None, typer.Option("--n", min=1, help="Most items per group.")] = None,
) -> dict[str, Any]:
    """What is compared, as `mogao.commands.arena.Request` takes it."""
    return {
        "systems": systems, "suite": suite, "prompts": prompts, "data": data,
        "pictures": pictures, "options": option or (), "groups": group or (), "most": num,
    }  # fmt: skip


def _compares(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the arguments of `_asked`; it takes what that returns as its first one."""
    shared = inspect.signature(_asked, eval_str=True).parameters
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        asked = _asked(**{name: arguments.pop(name) for name in shared})
        function(asked, **arguments)

    signature = inspect.Signature([*shared.values(), *own])
    run.__signature__ = signature  # type: ignore[attr-defined]  # typer reads it
    return run


@data_app.command()
@verb
def check(
    path: Annotated[str, typer.Argument(metavar="FILE")],
    *,
    seed: Seed = 0,  # noqa: ARG001  # every verb takes --seed
    as_json: Json = False,
) -> None:
    """Check records: name file, line and field of every violation."""
    from mogao.commands import data as command

    command.check(path, as_json=as_json)


@data_app.command()
@verb
def show(
    path: Annotated[str, typer.Argument(metavar="FILE|world")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page with samples.")] = None,
    num: Annotated[int, typer.Option("--n", min=1, help="How many items.")] = 12,
    seed: Seed = 0,
    model: Model = "nano",
    as_json: Json = False,
) -> None:
    """Show the packed layout, the mask and what carries loss; for the world, a page."""
    from mogao.commands import data as command

    command.show(path, out, num=num, seed=seed, model=model, as_json=as_json)


@data_app.command()
@verb
def build(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.jsonl", help="Records.")],
    num: Annotated[int, typer.Option("--n", min=1, help="How many documents.")] = 100,
    heldout: Annotated[bool, typer.Option(help="Use what training never shows.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write documents of the offline world as records with pictures."""
    from mogao.commands import data as command

    command.build(out, num=num, heldout=heldout, seed=seed, as_json=as_json)


@arena_app.command()
@verb
@_compares
def page(
    asked: dict[str, Any],
    *,
    out: Out,
    repeats: Annotated[
        float, typer.Option(min=0, max=1, help="Share of pairs shown again, sides swapped.")
    ] = 0.1,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write one page of pairs to vote on, and the key that says who made what."""
    from mogao.commands import arena as command

    command.page(command.Request(**asked), out, repeats=repeats, seed=seed, as_json=as_json)


@arena_app.command()
@verb
def fit(
    votes: Annotated[list[Path], typer.Argument(metavar="VOTES.csv")],
    *,
    key: Annotated[
        Path | None, typer.Option(metavar="KEY.json", help="Beside the votes if not named.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Turn votes into strengths with intervals; say how much raters follow the side."""
    from mogao.commands import arena as command

    command.fit(votes, key, seed=seed, as_json=as_json)


@arena_app.command()
@verb
@_compares
def judge(
    asked: dict[str, Any],
    *,
    tool: Annotated[list[str] | None, typer.Option(metavar="judge=SPEC", help="Who votes.")] = None,
    record: Annotated[Path | None, typer.Option(help="File that keeps what it says.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Let a model vote on all pairs in both orders."""
    from mogao.commands import arena as command

    command.judge(command.Request(**asked), tool or (), record=record, seed=seed, as_json=as_json)


@bench_app.command()
@verb
def ectf(*, seed: Seed = 0, as_json: Json = False) -> None:
    """One packed sequence against one sequence per picture, seconds of a training step."""
    from mogao.commands import bench as command

    command.ectf(seed=seed, as_json=as_json)


@bench_app.command(name="train")
@verb
def bench_train(
    *,
    compiled: Compiled = True,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Speed of a training step and its share of the machine's matrix rate."""
    from mogao.commands import bench as command

    command.train(compile_layers=compiled, seed=seed, as_json=as_json)


@bench_app.command(name="decode")
@verb
def bench_decode(
    *,
    peers: Peers = False,
    compiled: Compiled = True,
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Tokens a second of text behind prompts of 256 to 4,096 tokens."""
    from mogao.commands import bench as command

    command.decode(peers=peers, compiled=compiled, dtype=dtype, seed=seed, as_json=as_json)


@bench_app.command(name="denoise")
@verb
def bench_denoise(
    *,
    peers: Peers = False,
    compiled: Compiled = True,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Seconds of a denoise step under one, two and three guidance branches."""
    from mogao.commands import bench as command

    command.denoise(
        peers=peers, compiled=compiled, model=model, dtype=dtype, seed=seed, as_json=as_json
    )


@bench_app.command(name="interleave")
@verb
def bench_interleave(
    *,
    peers: Peers = False,
    compiled: Compiled = True,
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Seconds of a document with two texts and two pictures."""
    from mogao.commands import bench as command

    command.interleave(peers=peers, compiled=compiled, dtype=dtype, seed=seed, as_json=as_json)


@bench_app.command(name="batch")
@verb
def bench_batch(
    *,
    compiled: Compiled = True,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Seconds of eight requests together and one after another."""
    from mogao.commands import bench as command

    command.batch(compiled=compiled, model=model, dtype=dtype, seed=seed, as_json=as_json)


@bench_app.command(name="judges")
@verb
def bench_judges(
    *,
    model: Model = "nano",
    num: Annotated[int, typer.Option("--n", min=1, help="Scenes of each kind.")] = 400,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """How often the world's judges are right, clean and behind a model's autoencoder."""
    from mogao.commands import bench as command

    command.judges(model=model, num=num, seed=seed, as_json=as_json)
