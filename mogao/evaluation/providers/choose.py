"""From the command line to tools: `--tool KIND=SPEC` says who answers which questions.

In: texts such as `judge=endpoint:http://localhost:8000/v1#model`. Out: `Tools`. A model that serves
several kinds is opened once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mogao.errors import ConfigError, nearest
from mogao.evaluation.judges.correlation import CorrelationJudge
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.providers.endpoint import Endpoint
from mogao.evaluation.providers.local import LocalChat, LocalColours, LocalDetector, LocalEmbedder
from mogao.evaluation.providers.replay import METHODS, Recorder, Replay
from mogao.evaluation.providers.world import WorldEyes

FORMS = {
    "endpoint": "endpoint:URL#MODEL or endpoint:URL#MODEL#KEY_VARIABLE",
    "local": "local:FOLDER_OR_ID",
    "world": "world",
    "replay": "replay:FILE or replay:FILE#PROVIDER",
}
"""How a tool is named; KEY_VARIABLE is the environment variable that holds the key."""


def parse_tool(text: str) -> tuple[str, str]:
    """Split `KIND=SPEC` and check both.

    Returns:
        The kind, a field of `Tools`, and the spec.

    Raises:
        ConfigError: It has another form, or no such kind or provider is known, or the provider
            does not serve the kind.
    """
    kind, equals, spec = text.partition("=")
    if not equals:
        raise ConfigError(f"--tool {text}: expected KIND=SPEC, such as judge={FORMS['endpoint']}")
    if kind not in METHODS:
        raise ConfigError(f"--tool {text}: no kind {kind!r}; {nearest(kind, METHODS)}")
    form, _, target = spec.partition(":")
    if form not in FORMS:
        raise ConfigError(f"--tool {text}: no provider {form!r}; {nearest(form, FORMS)}")
    _, hash_sign, model = target.partition("#")
    is_whole = bool(model) if form == "endpoint" else bool(target) != (form == "world")
    if not is_whole or (hash_sign and not model):
        raise ConfigError(f"--tool {text}: expected {kind}={FORMS[form]}")
    if kind not in _OPENERS[form]:
        raise ConfigError(
            f"--tool {text}: {form} cannot serve {kind!r}, only {', '.join(_OPENERS[form])}"
        )
    return kind, spec


def open_tools(specs: Sequence[str], *, record: Path | None = None) -> Tools:
    """Open the tools of the command line.

    Args:
        specs: `KIND=SPEC` each; only `embedders` may come more than once.
        record: JSON Lines file that keeps every answer, to be replayed; answers that it has are
            not asked for again. None keeps nothing.

    Raises:
        ConfigError: A spec is not valid, a kind comes twice, or a provider cannot be opened.
        RequestError: A file of answers is missing.
        DataError: A file of answers is broken.
    """
    opened: dict[tuple[Callable[[str], Any], str], Any] = {}
    chosen: dict[str, Any] = {}
    for text in specs:
        kind, spec = parse_tool(text)
        if kind in chosen and kind != "embedders":
            raise ConfigError(f"--tool {text}: there is a tool for {kind!r} already")
        form, _, target = spec.partition(":")
        key = _OPENERS[form][kind], target
        if key not in opened:
            opened[key] = key[0](target)
        tool = opened[key]
        if record is not None and form != "replay":
            tool = Recorder(tool, record)
        chosen[kind] = (*chosen.get(kind, ()), tool) if kind == "embedders" else tool
    return Tools(**chosen)


def _open_endpoint(target: str) -> Endpoint:
    url, _, rest = target.partition("#")
    model, _, variable = rest.partition("#")
    return Endpoint(url, model, key_variable=variable)


def _open_world(_: str) -> WorldEyes:
    return WorldEyes(CorrelationJudge())


def _open_replay(kind: str, target: str) -> Replay:
    path, _, source = target.partition("#")
    return Replay(path, kind=kind, source=source)


_OPENERS: dict[str, dict[str, Callable[[str], Any]]] = {
    "endpoint": {"questions": _open_endpoint, "judge": _open_endpoint},
    "local": {
        "detector": LocalDetector,
        "colours": LocalColours,
        "questions": LocalChat,
        "judge": LocalChat,
        "embedders": LocalEmbedder,
    },
    "world": {"detector": _open_world, "colours": _open_world},
    "replay": {kind: partial(_open_replay, kind) for kind in METHODS},
}
"""Which providers serve which kinds, and how they are opened."""
