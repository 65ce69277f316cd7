"""Options that verbs share, and the border where errors become messages and exit codes.

In: a verb. Out: the same, ending with one line on standard error and an exit code where it fails.
Nothing heavy is imported: the command line must answer at once.
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
Compiled = Annotated[
    bool, typer.Option("--compile/--eager", help="Compile where a compiler exists.")
]
Peers = Annotated[bool, typer.Option("--peers", help="Also measure others at the same work.")]


def verb(function: Callable[..., None]) -> Callable[..., None]:
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
