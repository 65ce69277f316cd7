"""`python -m mogao.evaluation`: the first suite on a model folder, results into a folder."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mogao.errors import MogaoError
from mogao.evaluation.nano import FULL, QUICK, evaluate, write_results
from mogao.evaluation.player import SessionPlayer, round_trip
from mogao.files import to_json
from mogao.pipeline import Mogao


def main(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model folder or name.")] = "nano",
    quick: Annotated[bool, typer.Option(help="About 40 prompts, for use during training.")] = False,
    most: Annotated[int | None, typer.Option("--n", min=1, help="Most items per task.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    num_steps: Annotated[int | None, typer.Option(min=1, help="Steps per picture.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, bfloat16 or float32.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of prompts and noise.")] = 0,
) -> None:
    """Score a model; the last line of standard output is the summary as JSON."""
    loaded = Mogao.from_pretrained(model, dtype=dtype)
    generation = loaded.generation
    if num_steps is not None:
        image = generation.image.model_copy(update={"num_steps": num_steps})
        generation = generation.model_copy(update={"image": image})
    sizes = {
        name: min(num, most or num)
        for name, num in (QUICK if quick else FULL).items()
        if not task or name in task
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bars = {name: progress.add_task(name, total=num) for name, num in sizes.items()}
        outcomes = evaluate(
            SessionPlayer(loaded, generation=generation, seed=seed),
            sizes=sizes,
            round_trip=partial(round_trip, loaded.parts.autoencoder),
            seed=seed,
            show=lambda name, number: progress.update(bars[name], completed=number),
        )
    summary = write_results(
        outcomes, out, model=model, seed=seed, dtype=str(loaded.dtype).removeprefix("torch.")
    )
    for name, score in summary["scores"].items():
        top = "" if score["ceiling"] is None else f", ceiling {score['ceiling']:.3f}"
        interval = f"[{score['low']:.3f}, {score['high']:.3f}]"
        console.print(f"{name:22} {score['value']:.3f} {interval} n={score['n']}{top}")
    typer.echo(to_json(summary))


if __name__ == "__main__":
    try:
        typer.run(main)
    except MogaoError as error:
        typer.echo(f"mogao: error: {error}", err=True)
        sys.exit(error.exit_code)
