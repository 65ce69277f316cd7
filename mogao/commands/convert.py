"""`mogao convert`: foreign weights to a model folder, the way back, a model from parts.

In: words and options as typed. Out: a folder and a report; the work is done in `mogao.convert`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from mogao import config as configs
from mogao.commands.output import finish, progress_bar
from mogao.convert.assemble import Options
from mogao.convert.export import plan_export
from mogao.convert.run import Job, plan_composition, plan_conversion
from mogao.convert.target import File, Finished
from mogao.errors import ConfigError
from mogao.model.weights.rules import some
from mogao.provenance import provenance

DTYPES = ("keep", "bfloat16", "float32")
BRANCHES = ("text", "none")


@dataclass(frozen=True, slots=True)
class Request:
    """What the user typed.

    Attributes:
        words: Paths, `key.path=value`, and further parts of `--compose`.
        from_family: `--from`.
        to_family: `--to`.
        compose: `--compose`, one part.
        config: `--config`.
        visual_from: `--visual-from`.
        dtype: `--dtype`.
        max_shard_gb: `--max-shard-gb`.
        seed: `--seed`.
        restart: `--restart`.
    """

    words: Sequence[str]
    from_family: str | None = None
    to_family: str | None = None
    compose: str | None = None
    config: Path | None = None
    visual_from: str = "text"
    dtype: str = "keep"
    max_shard_gb: float = 4.0
    seed: int = 0
    restart: bool = False


@dataclass(slots=True)
class Words:
    """The words of a request, told apart."""

    paths: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


def run(request: Request, *, as_json: bool) -> None:
    """Convert, compose or export, and report.

    Raises:
        ConfigError: The options do not say one of the three, or a value is not valid.
        CheckpointError: A folder is missing, damaged, unsafe or does not fit; or there is one
            already under the new name.
    """
    words = _sort_words(request)
    what = [request.from_family, request.to_family, request.compose]
    if sum(one is not None for one in what) != 1:
        raise ConfigError("say one of --from FAMILY, --to FAMILY, --compose llm=PATH ...")
    count = 1 if request.compose is not None else 2
    if len(words.paths) != count:
        wanted = "one folder: DST" if count == 1 else "two folders: SRC DST"
        raise ConfigError(f"mogao convert needs {wanted}; got {' '.join(words.paths) or 'none'}")
    folder = Path(words.paths[-1]).expanduser()
    if request.to_family is not None:
        _export(request, words, folder, as_json=as_json)
        return
    limit, options = _max_shard_bytes(request), _options(request, words.changes)
    if request.from_family is not None:
        job = plan_conversion(words.paths[0], request.from_family, options, max_shard_bytes=limit)
    else:
        job = plan_composition(words.parts, options, max_shard_bytes=limit)
    _convert(job, folder, request, as_json=as_json)


def _convert(job: Job, folder: Path, request: Request, *, as_json: bool) -> None:
    with _Bar(job.files, quiet=as_json) as finished:
        report = job.run(folder, restart=request.restart, finished=finished)
    facts = {
        "out": str(folder),
        "families": report.kinds,
        "files": report.files,
        "reused": report.reused,
        "bytes": report.num_bytes,
        "taken": report.taken,
        "new": report.new,
        "new_tokens": report.new_tokens,
    }
    size = f"{report.num_bytes / 1e9:.2f} GB in {len(report.files)} files"
    lines = [
        f"{folder}: {report.taken} weights taken over, {size}",
        *([f"{len(report.reused)} files were there already"] if report.reused else []),
        *([f"{len(report.new)} start anew: {some(report.new)}"] if report.new else []),
    ]
    finish(provenance() | facts, lines, as_json=as_json)


def _export(request: Request, words: Words, folder: Path, *, as_json: bool) -> None:
    if words.changes or request.config is not None:
        raise ConfigError("--to writes a model as it is; give no config")
    limit = _max_shard_bytes(request)
    job = plan_export(words.paths[0], str(request.to_family), max_shard_bytes=limit)
    with _Bar(job.files, quiet=as_json) as finished:
        target = job.run(folder, restart=request.restart, finished=finished)
    num_bytes = sum(file.num_bytes for file in job.files)
    facts = {
        "out": str(folder),
        "family": request.to_family,
        "files": [file.path for file in job.files],
        "reused": target.reused,
        "bytes": num_bytes,
        "left": job.left,
    }
    lines = [f"{folder}: {num_bytes / 1e9:.2f} GB in {len(job.files)} files"]
    if job.left:
        lines.append(f"{len(job.left)} weights have no place in this family: {some(job.left)}")
    finish(provenance() | facts, lines, as_json=as_json)


def _sort_words(request: Request) -> Words:
    """Tell paths, parts and changes apart; `key.path=value` has a dot, a part has none."""
    found = Words()
    given = [*request.words, *([] if request.compose is None else [request.compose])]
    for word in given:
        key, sign, value = word.partition("=")
        if not sign:
            found.paths.append(word)
        elif request.compose is not None and key in ("llm", "vision", "vae"):
            if key in found.parts or not value:
                raise ConfigError(f"part {word!r}: each part must be given once, as {key}=PATH")
            found.parts[key] = value
        else:
            found.changes.append(word)
    return found


def _options(request: Request, changes: Sequence[str]) -> Options:
    data: dict[str, Any] = {}
    if request.config is not None:
        data = configs.read_mapping(request.config)
    dtype: Literal["keep", "bfloat16", "float32"]
    branch: Literal["text", "none"]
    match request.dtype:
        case "keep" | "bfloat16" | "float32" as dtype:
            pass
        case _:
            raise ConfigError(f"--dtype {request.dtype!r} must be one of {', '.join(DTYPES)}")
    match request.visual_from:
        case "text" | "none" as branch:
            pass
        case _:
            raise ConfigError(
                f"--visual-from {request.visual_from!r} must be one of {', '.join(BRANCHES)}"
            )
    return Options(dtype, branch, configs.override(data, changes), request.seed)


def _max_shard_bytes(request: Request) -> int:
    if not 0 < request.max_shard_gb < 1e6:
        raise ConfigError(f"--max-shard-gb {request.max_shard_gb} must be above 0")
    return int(request.max_shard_gb * 1e9)


class _Bar:
    """A bar that counts finished files on standard error."""

    def __init__(self, files: Sequence[File], *, quiet: bool) -> None:
        console = Console(stderr=True)
        # Where nobody watches, the bar would leave empty lines.
        console.quiet = quiet or not console.is_terminal
        self._progress = progress_bar(console)
        self._task = self._progress.add_task("files", total=len(files))

    def __enter__(self) -> Finished:
        self._progress.start()
        return lambda _: self._progress.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
