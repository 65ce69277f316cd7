"""What every config has in common: strict values, and how to load, override and save them.

In: YAML, JSON, `key.path=value` overrides. Out: frozen pydantic values. It knows no torch.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mogao.errors import ConfigError, nearest
from mogao.files import atomic_write

Kind = Literal["text", "vit", "clean", "noisy"]
Branch = Literal["text", "visual"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """Base of all configs: frozen, unknown keys forbidden, defaults checked like given values."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_truths(cls, data: Any) -> Any:
        """`max_steps: yes` would be read as 1."""
        for name, value in data.items() if isinstance(data, Mapping) else ():
            if name in cls.model_fields and _is_numeric(cls, name) and _has_truth(value):
                raise ValueError(f"{name} takes numbers, neither true nor false")
        return data


C = TypeVar("C", bound=Config)


def parse(cls: type[C], data: Any, *, where: str) -> C:
    """Check plain data against a config class.

    Raises:
        ConfigError: A key is unknown, a value is out of bounds or has the wrong type; the message
            names `where`, the path of the key, what was got and the nearest known key.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        lines = [_explain(cls, item, data) for item in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(lines)) from None


def load(cls: type[C], path: str | Path, *, overrides: Sequence[str] = ()) -> C:
    """Read a YAML or JSON file, apply `key.path=value` overrides and check the result.

    Raises:
        ConfigError: The file is missing or unreadable, or its content is not valid.
    """
    return parse(cls, override(read_mapping(path), overrides), where=str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping, or nothing.

    Raises:
        ConfigError: The file is missing or unreadable, or holds anything else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        # YAML would read a number such as 1e-09 as text.
        data = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML or JSON: {error}") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping, got {type(data).__name__}")
    return data


def override(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `data` with each `key.path=value` set; values are read as YAML.

    Raises:
        ConfigError: An override has no `=`, goes through a value that is not a mapping, or has a
            value that is no YAML.
    """
    result: dict[str, Any] = deepcopy(data)
    for item in overrides:
        path, sign, value = item.partition("=")
        if not sign or not path:
            raise ConfigError(f"override {item!r} must look like key.path=value")
        *parents, leaf = path.split(".")
        node = result
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ConfigError(f"override {item!r}: {key!r} is not a mapping")
        try:
            node[leaf] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"override {item!r}: {value!r} is not valid YAML") from None
    return result


def save(config: Config, path: str | Path) -> None:
    """Write a config as YAML (or JSON where the name ends in .json), complete with defaults."""
    data = config.model_dump(mode="json")
    path = Path(path)
    if path.suffix == ".json":
        text = json.dumps(data, indent=2) + "\n"
    else:
        text = yaml.safe_dump(data, sort_keys=False)
    atomic_write(path, text)


@cache
def _is_numeric(cls: type[BaseModel], name: str) -> bool:
    """Whether a field takes numbers or collections of them, and no booleans."""
    annotation = cls.model_fields[name].annotation
    is_number = _holds(annotation, int) or _holds(annotation, float)
    return is_number and not _holds(annotation, bool)


def _holds(annotation: Any, kind: type) -> bool:
    """Whether a type is, or is made of, another."""
    return annotation is kind or any(_holds(part, kind) for part in get_args(annotation))


def _has_truth(value: Any) -> bool:
    """Whether plain data is a boolean or holds one."""
    if isinstance(value, Mapping):
        return any(map(_has_truth, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_truth, value))
    return isinstance(value, bool)


def _explain(cls: type[Config], item: Any, data: Any) -> str:
    """One pydantic error as 'path: got, expected, hint'."""
    path = ".".join(_own_path(item["loc"], data))
    if item["type"] == "extra_forbidden":
        return f"unknown key {path!r} ({_hint(cls, str(item['loc'][-1]))})"
    return f"{path or 'config'}: {item['msg']} (got {item['input']!r:.80})"


def _own_path(parts: Sequence[str | int], data: Any) -> Iterator[str]:
    """Yield the keys of a place in the data; pydantic names the chosen variant among them."""
    for number, part in enumerate(parts, 1):
        is_place = isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)
        is_key = isinstance(data, Mapping) and part in data
        if is_key or is_place or number == len(parts):
            yield str(part)
            data = data[part] if is_key or is_place else None


def _hint(cls: type[BaseModel], key: str) -> str:
    """Where a known key belongs, or which known key is like an unknown one."""
    places = _places(cls)
    return f"it belongs at {places[key]!r}" if key in places else nearest(key, places)


def _places(cls: type[BaseModel]) -> dict[str, str]:
    """Every key below a config class, with the shortest path to it."""
    schema = cls.model_json_schema()
    places: dict[str, str] = {}
    entered: set[str] = set()
    waiting: deque[tuple[str, Any]] = deque([("", schema)])
    while waiting:
        path, part = waiting.popleft()
        name = str(part.get("$ref", "")).rpartition("/")[2]
        if name and name not in entered:
            entered.add(name)
            waiting.append((path, schema["$defs"][name]))
        waiting.extend((path, one) for key in ("anyOf", "oneOf") for one in part.get(key, []))
        for key, below in part.get("properties", {}).items():
            own = f"{path}.{key}" if path else key
            places.setdefault(key, own)
            waiting.append((own, below))
    return places
