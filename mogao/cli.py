"""The command line: every verb with its options; the work is done in `mogao.commands`.

In: arguments. Out: exit code, text for people, or with `--json` one object on the last line of
standard output. Nothing heavy is imported before a verb runs, so `mogao --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mogao.commands.groups import arena_app, bench_app, data_app
from mogao.commands.options import Batch, Dtype, Json, Model, Out, Pictures, Seed, Settings, verb

app = typer.Typer(
    name="mogao",
    help="One transformer that reads and writes interleaved text and pictures.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
@verb
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
@verb
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
@verb
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
@verb
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
@verb
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
@verb
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
@verb
def plan(
    target: Annotated[str, typer.Argument(metavar="CONFIG.yaml|PRESET|MODEL_FOLDER")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="key.path=value")] = None,
    *,
    devices: Annotated[int, typer.Option(min=1, help="How many, all alike.")] = 1,
    memory: Annotated[float, typer.Option(min=0.001, help="GB (10^9 bytes) of each.")] = 80.0,
    train_only: Annotated[bool, typer.Option("--train", help="Only training.")] = False,
    serve_only: Annotated[bool, typer.Option("--serve", help="Only serving.")] = False,
    device_tflops: Annotated[
        float, typer.Option(min=0.001, help="Of each; 312 is an A100 in bfloat16.")
    ] = 312.0,
    efficiency: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Share of that rate that a step reaches.")
    ] = 0.4,
    picture: Annotated[
        int | None, typer.Option(min=1, help="Pixels a side; else what the model draws, or 512.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of a document.")] = 4,
    text_tokens: Annotated[int, typer.Option(min=1, help="Text tokens before each.")] = 128,
    seed: Seed = 0,  # noqa: ARG001  # every verb takes --seed
    as_json: Json = False,
) -> None:
    """Say what a model costs: parameters, FLOPs, memory, what fits, about how fast."""
    from mogao.commands import plan as command

    subject = command.open_subject(
        target,
        overrides or [],
        side_pixels=picture,
        pictures=pictures,
        text_tokens=text_tokens,
    )
    both = train_only == serve_only
    command.run(
        subject,
        command.Machine(devices, memory * 1e9, tflops=device_tflops, efficiency=efficiency),
        command.Shown(train=both or train_only, serve=both or serve_only),
        as_json=as_json,
    )


@app.command(name="eval")
@verb
def evaluate(
    suite: Annotated[str, typer.Argument(metavar="SUITE")],
    *,
    out: Out,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pictures that any program made.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Who answers instead (world): perfect or shuffled.")
    ] = None,
    stage: Annotated[str, typer.Option(help="all, generate or score.")] = "all",
    data: Annotated[Path | None, typer.Option(help="Record file of the benchmark.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of the records' pictures.")] = None,
    templates: Annotated[Path | None, typer.Option(help="Texts for a judge, JSON.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the benchmark: language=cn.")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option(metavar="KIND=SPEC", help="Who judges: detector=world.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="File that keeps what tools say.")] = None,
    protocol: Annotated[str | None, typer.Option(help="How to score.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Only this group; repeatable.")] = None,
    num: Annotated[int | None, typer.Option("--n", min=1, help="Most items per group.")] = None,
    settings: Settings = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="As of other verbs; that of the run there.")
    ] = None,
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Score a model, or pictures of any program, on a benchmark."""
    from mogao.commands import evaluate as command

    options = {"data": data, "images": pictures, "templates": templates}
    request = command.Request(
        suite,
        out,
        stage=stage,
        options={name: value for name, value in options.items() if value is not None}
        | command.read_options(option or []),
        images=images,
        control=control,
        groups=group or [],
        most=num,
        protocol=protocol,
        tools=tool or [],
        record=record,
    )
    context = None
    if images is None:
        name = model or command.model_of(request)
        context = command.open_context(name, dtype=dtype, seed=seed, settings=settings)
    command.run(request, context, seed=seed, as_json=as_json)


@app.command()
@verb
def sweep(
    config: Annotated[Path, typer.Argument(metavar="SWEEP.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="key.path=value")] = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of all runs.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Print arms, steps and FLOPs, and stop.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Run only this seed; the table keeps the others.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train and evaluate a grid of runs at equal compute; run again to go on."""
    from mogao.commands import sweep as command

    changes = [*(overrides or []), *([] if seed is None else [f"seeds=[{seed}]"])]
    loaded = command.load_sweep(config, changes)
    if dry_run:
        command.plan(loaded, config, as_json=as_json)
    else:
        command.run(loaded, config, out, as_json=as_json)


@app.command()
@verb
def convert(
    words: Annotated[
        list[str], typer.Argument(metavar="SRC DST [key.path=value]", help="DST with --compose.")
    ],
    *,
    from_family: Annotated[
        str | None, typer.Option("--from", metavar="FAMILY", help="SRC is a folder of FAMILY.")
    ] = None,
    to_family: Annotated[
        str | None, typer.Option("--to", metavar="FAMILY", help="DST becomes one of FAMILY.")
    ] = None,
    compose: Annotated[
        str | None,
        typer.Option(metavar="llm=PATH [vision=PATH] [vae=PATH]", help="A model from parts."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Changes of the model's config.")
    ] = None,
    visual_from: Annotated[
        str, typer.Option(help="Visual branch: a copy of text, or none: new weights.")
    ] = "text",
    dtype: Annotated[str, typer.Option(help="Stored type: keep, bfloat16 or float32.")] = "keep",
    max_shard_gb: Annotated[float, typer.Option(help="Largest weight file.")] = 4.0,
    restart: Annotated[
        bool, typer.Option(help="Start over where unfinished work had other settings.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make a model from the weights of others, or write them back; run again to go on."""
    from mogao.commands import convert as command

    request = command.Request(
        words,
        from_family=from_family,
        to_family=to_family,
        compose=compose,
        config=config,
        visual_from=visual_from,
        dtype=dtype,
        max_shard_gb=max_shard_gb,
        seed=seed,
        restart=restart,
    )
    command.run(request, as_json=as_json)


@app.command()
@verb
def info(
    name: Annotated[str, typer.Argument(metavar="MODEL")] = "nano",
    *,
    seed: Seed = 0,  # noqa: ARG001  # every verb takes --seed
    as_json: Json = False,
) -> None:
    """Say what a model folder holds."""
    from mogao.commands import info as command

    command.run(name, as_json=as_json)


app.add_typer(data_app, name="data")
app.add_typer(arena_app, name="arena")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Entry point of the console script."""
    app()
