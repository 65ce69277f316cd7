"""The command line: every verb with its options; the work is done in `mogao.commands`.

In: arguments. Out: exit code, text for people, or with `--json` one object on the last line of
standard output. Nothing heavy is imported before a verb runs, so `mogao --help` answers at once.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mogao.errors import MogaoError

EXIT_INTERNAL = 1
EXIT_SYSTEM = 6
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="mogao",
    help="One transformer that reads and writes interleaved text and pictures.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Validate, look at and make training data.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)

Model = Annotated[str, typer.Option("--model", "-m", help="Model folder, built-in name or hub id.")]
Dtype = Annotated[str, typer.Option(help="Compute type: auto, bfloat16 or float32.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Generation setting: image.num_steps=12."),
]
Pictures = Annotated[
    list[Path] | None, typer.Option("--image", metavar="FILE", help="Picture to show first.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Batch = Annotated[
    Path | None, typer.Option(metavar="FILE.jsonl", help="Do many: one JSON object a line.")
]


def _verb(function: Callable[..., None]) -> Callable[..., None]:
    """Turn errors of a verb into one line on standard error and an exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except (typer.Exit, BrokenPipeError):  # typer itself ends quietly when the reader is gone
            raise
        except KeyboardInterrupt:
            _fail(
                "interrupted; finished files are whole, unfinished ones were removed",
                EXIT_INTERRUPTED,
            )
        except MogaoError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            _fail(_system_message(error), EXIT_SYSTEM)
        except Exception as error:  # a process border: no traceback for users
            if os.environ.get("MOGAO_TRACEBACK"):
                raise
            name = type(error).__name__
            _fail(f"internal: {name}: {error} (MOGAO_TRACEBACK=1 shows where)", EXIT_INTERNAL)

    return run


def _fail(message: str, code: int) -> None:
    """Print one error line and end the process with an exit code."""
    typer.echo("mogao: error: " + " ".join(message.split()), err=True)
    raise typer.Exit(code)


def _system_message(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full{where}; nothing was half-written, free some space and run again"
    return f"{error.strerror or error}{where}"


def _version(value: bool) -> bool:
    if value:
        from mogao import __version__

        typer.echo(f"mogao {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One transformer that reads and writes interleaved text and pictures."""


@app.command()
@_verb
def generate(
    document: Annotated[Path | None, typer.Argument(metavar="DOC.md")] = None,
    *,
    out: Out,
    prompt: Annotated[str | None, typer.Option(help="Text of the user instead of a file.")] = None,
    image: Pictures = None,
    max_images: Annotated[int | None, typer.Option(min=0, help="Most pictures to draw.")] = None,
    force_image: Annotated[bool, typer.Option(help="Start with a picture at once.")] = False,
    no_images: Annotated[bool, typer.Option("--no-images", help="Write text only.")] = False,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of a picture.")] = None,
    settings: Settings = None,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Continue an interleaved document; write Markdown, a page, pictures and a trace."""
    from mogao.commands import generate as command

    command.run(
        command.Request(document=document, prompt=prompt, images=image or [], out=out),
        options=command.StreamOptions(
            max_images=max_images,
            force_image=force_image,
            forbid_images=no_images,
            size=command.parse_size(size),
        ),
        context=command.open_context(model, dtype=dtype, seed=seed, settings=settings),
        as_json=as_json,
    )


@app.command()
@_verb
def sample(
    prompts: Annotated[Path, typer.Argument(metavar="PROMPTS.jsonl")],
    *,
    out: Out,
    num: Annotated[int, typer.Option("--n", min=1, help="Pictures per prompt.")] = 1,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels of a picture.")] = None,
    settings: Settings = None,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Draw many pictures from rows {"id", "prompt", "images"?}; run again to resume."""
    from mogao.commands import sample as command

    context = command.open_context(model, dtype=dtype, seed=seed, settings=settings)
    command.run(prompts, out, context, num=num, size=command.parse_size(size), as_json=as_json)


@app.command()
@_verb
def ask(
    words: Annotated[list[str] | None, typer.Argument(metavar='IMAGE... "QUESTION"')] = None,
    *,
    batch: Batch = None,
    settings: Settings = None,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Answer a question about pictures in text."""
    from mogao.commands import ask as command

    rows = command.read_rows(words or [], batch)
    context = command.open_context(model, dtype=dtype, seed=seed, settings=settings)
    command.run(rows, context, as_json=as_json)


@app.command()
@_verb
def edit(
    words: Annotated[list[str] | None, typer.Argument(metavar='IMAGE "INSTRUCTION"')] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture, or folder with --batch.")],
    batch: Batch = None,
    force_image: Annotated[bool, typer.Option(help="Draw even where it would refuse.")] = False,
    settings: Settings = None,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Change a picture as told."""
    from mogao.commands import edit as command

    rows = command.read_rows(words or [], batch, out=out)
    context = command.open_context(model, dtype=dtype, seed=seed, settings=settings)
    command.run(rows, context, out=out, force_image=force_image, as_json=as_json)


@app.command()
@_verb
def chat(
    *,
    settings: Settings = None,
    model: Model = "nano",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Talk in the terminal; pictures are shown as coloured blocks."""
    from mogao.commands import chat as command

    context = command.open_context(model, dtype=dtype, seed=seed, settings=settings)
    command.run(context, as_json=as_json)


@app.command()
@_verb
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="key.path=value")] = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print the plan and stop.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Replaces the config's seed.")] = None,
    as_json: Json = False,
) -> None:
    """Train as a config says; key.path=value changes single settings."""
    from mogao.commands import train as command

    changes = [*(overrides or []), *([] if seed is None else [f"seed={seed}"])]
    loaded = command.load_run(config, changes)
    if dry_run:
        command.plan(loaded, as_json=as_json)
    else:
        command.run(loaded, out, resume=resume, as_json=as_json)


@app.command()
@_verb
def info(
    name: Annotated[str, typer.Argument(metavar="MODEL")] = "nano",
    *,
    seed: Seed = 0,  # noqa: ARG001  # every verb takes --seed
    as_json: Json = False,
) -> None:
    """Say what a model folder holds."""
    from mogao.commands import info as command

    command.run(name, as_json=as_json)


@data_app.command()
@_verb
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
@_verb
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
@_verb
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


Compiled = Annotated[
    bool, typer.Option("--compile/--eager", help="Compile where a compiler exists.")
]


@bench_app.command()
@_verb
def ectf(*, seed: Seed = 0, as_json: Json = False) -> None:
    """One packed sequence against one sequence per picture, seconds of a training step."""
    from mogao.commands import bench as command

    command.ectf(seed=seed, as_json=as_json)


@bench_app.command(name="train")
@_verb
def bench_train(
    *,
    compiled: Compiled = True,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Speed of a training step and its share of the machine's matrix rate."""
    from mogao.commands import bench as command

    command.train(compile_layers=compiled, seed=seed, as_json=as_json)


Peers = Annotated[bool, typer.Option("--peers", help="Also measure others at the same work.")]


@bench_app.command(name="decode")
@_verb
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
@_verb
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
@_verb
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
@_verb
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


app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Entry point of the console script."""
    app()
