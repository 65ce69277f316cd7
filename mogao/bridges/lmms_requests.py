"""What lmms-eval asks and what it is answered, without lmms-eval.

In: its generation settings, chat messages, texts with pictures. Out: items with the settings of
their sessions, and answers in its form: a text, or JSON that names picture files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

from PIL import Image

from mogao.config import EngineConfig, GenerationConfig, override, parse
from mogao.data.images import read_image, rgb_pixels, save_png
from mogao.errors import RequestError, nearest
from mogao.evaluation.benchmark import Item, Want
from mogao.sampling.reply import Reply, collect
from mogao.sampling.session import Session
from mogao.sequence import ImageSegment, InterleavedSequence, Role, Segment, TextSegment

IMAGE_MARK = "<image>"
"""Where a picture stands in the text of a request."""
_ROLES: dict[str, Role] = {"user": "user", "assistant": "model", "system": "system"}
# Name in lmms-eval (that of `transformers`) to name in `TextSamplingConfig`.
_TEXT_SETTINGS = {"max_new_tokens": "max_tokens", "repetition_penalty": "repetition_penalty"}
_DRAW_SETTINGS = {"top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}
_READ = {*_TEXT_SETTINGS, *_DRAW_SETTINGS, "until", "temperature", "do_sample", "num_beams", "want"}


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One answer that is wanted.

    Attributes:
        item: What is asked; its id names task and document.
        k: Number of the answer, where the same question is asked several times.
        generation: Settings of the session.
    """

    item: Item
    k: int
    generation: GenerationConfig


def request_of(
    place: tuple[str, int, int],
    segments: Sequence[Segment],
    *,
    asked: Mapping[str, Any],
    generation: GenerationConfig,
    want: Want,
) -> Request:
    """Return what a session is to do.

    Args:
        place: Task, number of the document, number of the answer.
        segments: What the model is given.
        asked: Generation settings of the task, its `want` among them.
        generation: Settings of the model.
        want: What the model is to make where the task does not say.

    Raises:
        RequestError: `want` is none of text, picture, document, or beam search is asked for.
        ConfigError: A setting is unknown or out of bounds.
    """
    task, document, k = place
    name = f"{quote(task, safe='')}/{document}"
    given = InterleavedSequence(tuple(segments), id=name)
    chosen = want_of(asked.get("want", want), where=name)
    item = Item(name, task, given.text, chosen, lambda: given)
    return Request(item, k, settings_of(asked, generation, where=name))


def want_of(value: object, *, where: str) -> Want:
    """Return what a model is to make.

    Raises:
        RequestError: It is no kind of answer.
    """
    for known in get_args(Want):
        if value == known:
            return known
    raise RequestError(f"{where}: want = {value!r}; {nearest(str(value), get_args(Want))}")


def settings_of(
    asked: Mapping[str, Any], generation: GenerationConfig, *, where: str
) -> GenerationConfig:
    """Return the settings of a session under the generation settings of a task.

    Names are those of `transformers`; a name with a dot is one of ours, such as
    `image.num_steps`. What is missing or null stays as the model has it.

    Args:
        asked: Settings of the task.
        generation: Settings of the model.
        where: What to call the request in messages.

    Raises:
        RequestError: Beam search is asked for.
        ConfigError: A setting of ours is unknown, or a value is out of bounds.
    """
    if (asked.get("num_beams") or 1) != 1:
        raise RequestError(
            f"{where}: num_beams = {asked['num_beams']}, but mogao has no beam search; "
            "run with --gen_kwargs num_beams=1 to score its plain decoding"
        )
    changes = [f"{name}={json.dumps(value)}" for name, value in asked.items() if "." in name]
    data = override(generation.model_dump(mode="json"), changes)
    data["text"] |= _text_settings(asked)
    return parse(GenerationConfig, data, where=f"generation settings of {where}")


def ignored_settings(asked: Mapping[str, Any]) -> list[str]:
    """Return the names of generation settings that have no meaning here."""
    return [name for name in asked if name not in _READ and "." not in name]


def from_messages(
    messages: Sequence[Mapping[str, Any]], *, max_pixels: int, where: str
) -> list[Segment]:
    """Return the messages of a chat as segments, pictures where they stand.

    Args:
        messages: Each with a role and its content: a text, or a list of texts and pictures.
        max_pixels: A larger picture is refused.
        where: What to call the request in messages.

    Raises:
        RequestError: A role is unknown, something is neither text nor picture, or a picture
            cannot be read.
    """
    segments: list[Segment] = []
    for message in messages:
        role = _ROLES.get(message["role"])
        if role is None:
            raise RequestError(f"{where}: role {message['role']!r}; {nearest('', _ROLES)}")
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text":
                segments += _text(part["text"], role)
            elif part["type"] == "image":
                segments.append(_picture(part["url"], role, max_pixels=max_pixels, where=where))
            else:
                raise RequestError(
                    f"{where}: content of type {part['type']!r}; mogao reads text and pictures"
                )
    return segments


def from_context(
    context: str, visuals: Sequence[Any] | None, *, max_pixels: int, where: str
) -> list[Segment]:
    """Return a text and its pictures as a user's segments.

    Pictures stand where the text has `IMAGE_MARK`, if there are as many marks as pictures; else
    all stand before the text, which stays as it is.

    Args:
        context: The text.
        visuals: Pillow pictures or paths; None is no picture.
        max_pixels: A larger picture is refused.
        where: What to call the request in messages.

    Raises:
        RequestError: Something is no picture, or cannot be read.
    """
    pictures: list[Segment] = [
        _picture(visual, "user", max_pixels=max_pixels, where=where) for visual in visuals or ()
    ]
    texts = context.split(IMAGE_MARK)
    if len(texts) != len(pictures) + 1:
        return pictures + _text(context, "user")
    segments = _text(texts[0], "user")
    for picture, text in zip(pictures, texts[1:], strict=True):
        segments += [picture, *_text(text, "user")]
    return segments


def engine_config(batch_size: int | str, *, most: int | None = None) -> EngineConfig:
    """Return how many requests share the model's steps.

    Args:
        batch_size: A number, or "auto", also with a number behind a colon.
        most: What "auto" means; None takes the default of an engine.

    Raises:
        ConfigError: It is neither, or below 1.
    """
    if str(batch_size).partition(":")[0] == "auto":
        batch_size = most or EngineConfig().max_active
    return parse(EngineConfig, {"max_active": batch_size}, where="batch_size")


def told(request: Request, session: Session) -> None:
    """Give a session what a request holds.

    Raises:
        RequestError: It is empty, too long, or holds a picture that is too small.
    """
    session.generation = request.generation
    try:
        session.extend(request.item.given())
    except RequestError as error:
        raise RequestError(f"{request.item.id}: {error}") from None


def played(request: Request, session: Session) -> Reply:
    """Let a session make what a request wants.

    Raises:
        RequestError: The session cannot be given what the request holds, or a limit is reached
            before a picture is drawn.
    """
    told(request, session)
    want = request.item.want
    if want == "picture":
        return Reply([session.generate_image()])
    return collect(session.stream(forbid_images=want == "text"))


def answer_text(request: Request, reply: Reply, *, folder: Path) -> str:
    """Save the pictures of a reply; return it as the tasks of lmms-eval take it.

    That is the text alone where no picture was wanted and none was drawn, else JSON: {"text": str,
    "images": [paths of PNG files]}.

    Args:
        request: What was asked.
        reply: What was made.
        folder: Files lie in it as TASK/DOCUMENT/ANSWER-NUMBER.png.
    """
    if request.item.want != "picture" and not reply.images:
        return reply.text
    paths = []
    for number, image in enumerate(reply.images):
        path = folder.resolve() / request.item.id / f"{request.k}-{number}.png"
        save_png(image.pixels, path)
        paths.append(str(path))
    return json.dumps({"text": reply.text, "images": paths}, ensure_ascii=False)


def _text_settings(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `TextSamplingConfig` that a task changes."""
    settings: dict[str, Any] = {}
    temperature = asked.get("temperature")
    if asked.get("do_sample") is False:
        temperature = 0.0
    elif temperature is None and asked.get("do_sample"):
        temperature = 1.0
    if temperature is not None:
        settings["temperature"] = temperature
    stop = asked.get("until")
    if stop is not None:
        settings["stop"] = [stop] if isinstance(stop, str) else list(stop)
    # The most likely token needs no share; tasks then give values like top_p = 0.
    names = _TEXT_SETTINGS | ({} if temperature == 0 else _DRAW_SETTINGS)
    for name, own in names.items():
        if asked.get(name) is not None:
            settings[own] = asked[name]
    return settings


def _text(text: str, role: Role) -> list[Segment]:
    return [TextSegment(text, role)] if text.strip() else []


def _picture(source: object, role: Role, *, max_pixels: int, where: str) -> ImageSegment:
    if isinstance(source, Image.Image):
        return ImageSegment(rgb_pixels(source, max_pixels=max_pixels, where=where), role)
    if isinstance(source, str | Path) and Path(source).is_file():
        return ImageSegment(read_image(Path(source), max_pixels=max_pixels), role)
    raise RequestError(
        f"{where}: {source!r:.80} is no picture; mogao reads Pillow pictures and image files"
    )
