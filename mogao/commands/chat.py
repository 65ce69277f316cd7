"""`mogao chat`: talk with the model in the terminal.

In: lines typed by the user. Out: text and pictures in the terminal; `/save DIR` writes the talk as
Markdown, a page and pictures. Ctrl-C ends the reply that is running, not the talk.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.text import Text

from mogao.commands.output import finish
from mogao.commands.support import Context, Show, open_context
from mogao.data.images import read_image
from mogao.errors import MogaoError, RequestError
from mogao.render import write_document
from mogao.sampling.events import Event, ImageFinished
from mogao.sampling.reply import collect
from mogao.sequence import ImageSegment, Pixels, Segment, TextSegment

__all__ = ["Chat", "half_blocks", "open_context", "run"]

HELP = """Type a message, or:
  /image FILE   show a picture with your next message
  /draw [TEXT]  let the model draw at once
  /save DIR     write the talk as index.md, index.html and pictures
  /help         this list
  /quit         end (or Ctrl-D)
Ctrl-C stops a reply; its unfinished part is forgotten."""


def run(context: Context, *, as_json: bool) -> None:
    """Read lines until `/quit` or the end of the input."""
    chat = Chat(context, Console(stderr=as_json, highlight=False))
    if sys.stdin.isatty():
        import readline  # noqa: F401  # gives input() line editing and history

        chat.console.print(f"{context.name}. {HELP}", markup=False)
    start = time.perf_counter()
    while (line := _read_line()) is not None:
        try:
            if not chat.take(line):
                break
        except MogaoError as error:
            chat.console.print(f"error: {error}", markup=False, style="red")
    document = chat.session.sequence
    result = context.provenance() | {
        "segments": len(document),
        "pictures": len(document.images),
        "seconds": time.perf_counter() - start,
    }
    finish(result, [], as_json=as_json)


class Chat:
    """One talk: the session holds what was said; pictures wait for the next message."""

    def __init__(self, context: Context, console: Console) -> None:
        self.context = context
        self.console = console
        self.session = context.session()
        self.pending: list[ImageSegment] = []

    def take(self, line: str) -> bool:
        """Do what one line says; False ends the talk.

        Raises:
            RequestError: The command is unknown or incomplete, or a picture cannot be read.
        """
        line = line.strip()
        command, _, rest = line.partition(" ")
        match command:
            case "":
                return True
            case "/quit":
                return False
            case "/help":
                self.console.print(HELP, markup=False)
            case "/image":
                self._show_picture(_one_path(rest, "/image FILE"))
            case "/save":
                self._save(_one_path(rest, "/save DIR"))
            case "/draw":
                self._say(rest.strip(), force_image=True)
            case _ if command.startswith("/"):
                raise RequestError(f"unknown command {command!r}; /help lists them")
            case _:
                self._say(line, force_image=False)
        return True

    def _show_picture(self, path: Path) -> None:
        limit = self.context.generation.limits.max_input_pixels
        picture = ImageSegment(read_image(path, max_pixels=limit), role="user")
        self.pending.append(picture)
        self._print_picture(picture.pixels)

    def _say(self, text: str, *, force_image: bool) -> None:
        """Send a message and show the reply; Ctrl-C stops the reply."""
        said: list[Segment] = [*self.pending]
        if text:
            said.append(TextSegment(text, role="user"))
        if said:
            self.session.extend(said)
            self.pending.clear()
        try:
            self._reply(force_image=force_image)
        except KeyboardInterrupt:
            self.console.print("(stopped)", style="dim")

    def _reply(self, *, force_image: bool) -> None:
        progress = Show(self.console)

        def show(event: Event) -> None:
            progress(event)
            if isinstance(event, ImageFinished):
                self._print_picture(event.pixels)

        try:
            collect(self.session.stream(force_image=force_image), show=show)
        finally:
            progress.close()

    def _print_picture(self, pixels: Pixels) -> None:
        if not self.console.is_terminal:
            self.console.print("[picture {1} x {0}]".format(*pixels.shape), markup=False)
            return
        columns = max(1, min(self.console.width, 48))
        self.console.print(half_blocks(pixels, columns=columns))

    def _save(self, out: Path) -> None:
        if not len(self.session.sequence):
            raise RequestError("nothing was said yet")
        trace = {
            "model": self.context.name,
            **self.session.trace(),
            "provenance": self.context.provenance(),
        }
        write_document(out, self.session.sequence, title="A talk with mogao", trace=trace)
        self.console.print(f"wrote {out / 'index.html'}", markup=False)


def half_blocks(pixels: Pixels, *, columns: int) -> Text:
    """A picture as text: each character shows two pixels, one above the other, in true colour.

    Args:
        pixels: The picture.
        columns: Characters per line, at least 1; the picture is scaled to it.
    """
    height, width = pixels.shape[:2]
    rows = max(1, round(height / width * columns / 2))
    small = Image.fromarray(pixels).resize((columns, 2 * rows), Image.Resampling.BOX)
    data = np.asarray(small).tolist()
    text = Text(no_wrap=True, end="")
    for upper, lower in zip(data[::2], data[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("\u2580", style=f"rgb{_triple(above)} on rgb{_triple(below)}")
        text.append("\n")
    return text


def _triple(colour: list[int]) -> str:
    return "({},{},{})".format(*colour)


def _one_path(rest: str, usage: str) -> Path:
    try:
        words = shlex.split(rest)
    except ValueError:
        words = []
    if len(words) != 1:
        raise RequestError(f"expected {usage}; put quotes around a name with spaces")
    return Path(words[0]).expanduser()


def _read_line() -> str | None:
    """One line of the user; None at the end of the input, an empty line for Ctrl-C."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        return ""
