"""The way back: a model folder, or an encoder alone, as the folder of a family.

In: a folder of ours. Out: the weights that the family has, bit for bit, its settings and its
tokenizer. What the family has no place for stays behind and is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from mogao.config import AutoencoderConfig, ModelConfig, VisionConfig
from mogao.convert.assemble import VOCABULARY
from mogao.convert.families import CONFIG, FolderKind, find_source, is_model, kind_of
from mogao.convert.source import Source, open_folder
from mogao.convert.target import RECORD, File, Finished, Target, Weight, index_of, shard
from mogao.errors import CheckpointError
from mogao.model.storage import WEIGHTS, read_object
from mogao.model.vae import WEIGHTS as VAE_WEIGHTS
from mogao.model.weights.autoencoder import read_library
from mogao.model.weights.rules import Family, Part, Rule, Settings
from mogao.model.weights.siglip import SIGLIP2_TRAITS, read_tower
from mogao.pipeline import load_config, load_tokenizer

FILES: dict[Part, str] = {"transformer": WEIGHTS, "vision": WEIGHTS, "vae": VAE_WEIGHTS}
"""The weights of a part in our folders."""


@dataclass(frozen=True, slots=True)
class Export:
    """An export that is planned and not begun.

    Attributes:
        files: Weight files, in the order in which they are written.
        texts: Small files by path.
        request: What decides all of it.
        left: Names of weights that the family has no place for.
    """

    files: list[File]
    texts: dict[str, str]
    request: dict[str, Any]
    left: list[str]

    def run(
        self, folder: Path, *, restart: bool = False, finished: Finished | None = None
    ) -> Target:
        """Write the folder; see `Target`.

        Raises:
            CheckpointError: See `Target`.
        """
        target = Target(folder, self.request, restart=restart)
        target.write(self.files, finished=finished)
        target.complete(self.texts, record={"left": self.left})
        return target


def plan_export(path: str | Path, kind: str, *, max_shard_bytes: int) -> Export:
    """Plan to write a model, or an encoder, as the folder of a family.

    Args:
        path: A model folder, or a folder like its `vision/` or `vae/`.
        kind: The family.
        max_shard_bytes: Of a weight file, where the family has shards.

    Raises:
        ConfigError: The family is not known.
        CheckpointError: The family cannot express the model, or the folder is not whole.
    """
    folder_kind = kind_of(kind)
    folder = find_source(path)
    record = _record(folder)
    weights: dict[str, list[Weight]] = {}
    settings: dict[str, dict[str, Any]] = {}
    identity: dict[str, Any] = {}
    left: list[str] = []
    for part in folder_kind.adapters:
        source, config, rows = _own_part(folder, part, record)
        family = _spelling(folder_kind, part, record)
        for name, values in family.settings(config).items():
            settings[name] = settings.get(name, {}) | values
        found = _foreign_weights(source, family.rules(config), rows)
        weights.setdefault(folder_kind.weights[part], []).extend(found)
        identity[part] = dict(source.identity)
        taken = {rule.ours for rule in family.rules(config) if not rule.is_copy}
        left += sorted(source.tensors.keys() - taken)
    files: list[File] = []
    texts: dict[str, str] = {}
    for name, group in weights.items():
        has_shards = name in FILES.values()
        parts = shard(group, name, max_bytes=max_shard_bytes if has_shards else 1 << 62)
        texts |= {} if len(parts) == 1 else {f"{name}.index.json": _json(index_of(parts))}
        files += parts
    if "transformer" in folder_kind.adapters:
        texts["tokenizer.json"] = _tokenizer_text(folder, record)
    settings = _first_settings(folder_kind, settings, record)
    texts |= {name: _json(values) for name, values in settings.items()}
    request = {"family": kind, "sources": identity, "max_shard_bytes": max_shard_bytes}
    return Export(files, texts, request, left)


def _record(folder: Path) -> dict[str, Any]:
    """What `convert.json` says of a folder that was converted."""
    path = folder / RECORD
    return read_object(path) if path.is_file() else {}


def _own_part(
    folder: Path, part: Part, record: Mapping[str, Any]
) -> tuple[Source, Any, int | None]:
    """Open a part of ours: its weights, its config, and how many vocabulary rows are foreign."""
    has_all = is_model(folder)
    if part == "transformer":
        source = open_folder(folder, weights=(WEIGHTS,), settings=(CONFIG,))
        config: ModelConfig = load_config(folder)
        rows = _foreign_rows(record, config.transformer.vocab_size)
        return source, config.transformer.model_copy(update={"vocab_size": rows}), rows
    home = folder / part if has_all else folder
    source = open_folder(home, weights=(FILES[part],), settings=(CONFIG,))
    values, where = source.settings[CONFIG], str(home / CONFIG)
    encoder: VisionConfig | AutoencoderConfig
    if part == "vision":
        encoder = read_tower(values, traits=SIGLIP2_TRAITS, where=where)
    else:
        encoder = read_library(values, where=where)
    return source, encoder, None


def _tokenizer_text(folder: Path, record: Mapping[str, Any]) -> str:
    """The tokenizer without tokens that have no row in what is written."""
    data = json.loads(load_tokenizer(folder).to_foreign())
    rows = _foreign_rows(record, load_config(folder).transformer.vocab_size)
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < rows]
    vocab = data["model"]["vocab"]
    data["model"]["vocab"] = {entry: number for entry, number in vocab.items() if number < rows}
    return json.dumps(data, indent=1) + "\n"


def _foreign_rows(record: Mapping[str, Any], rows: int) -> int:
    """Vocabulary rows that the model came with; all, where nothing is known."""
    known = [
        values.get("vocab_size")
        for values in record.get("settings", {}).get("transformer", {}).values()
    ]
    found = [value for value in known if type(value) is int and value <= rows]
    return found[0] if found else rows


def _spelling(kind: FolderKind, part: Part, record: Mapping[str, Any]) -> Family[Any]:
    """The adapter with the names that the model came with, else the usual one."""
    families = kind.spellings(part)
    came_as = record.get("spellings", {}).get(part)
    return next((family for family in families if family.name == came_as), families[0])


def _first_settings(
    kind: FolderKind, settings: dict[str, dict[str, Any]], record: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The settings that a model came with, where they say the same: they hold more than we know."""
    for first in record.get("settings", {}).values():
        if _mean_the_same(kind, first, settings):
            return settings | {name: first[name] for name in settings if name in first}
    return settings


def _mean_the_same(kind: FolderKind, first: Settings, second: Settings) -> bool:
    try:
        return all(
            family.config(first) == family.config(second)
            for family in (kind.spellings(part)[0] for part in kind.adapters)
        )
    except CheckpointError:
        return False


def _foreign_weights(source: Source, rules: tuple[Rule, ...], rows: int | None) -> list[Weight]:
    """Return how each foreign weight is made; those of one of ours follow each other."""
    splitter = _Splitter(source, rows)
    weights = []
    for rule in rules:
        if rule.is_copy:
            continue
        if rule.ours not in source.tensors:
            raise CheckpointError(f"{source.path} has no weight {rule.ours}")
        dtype = source.tensors[rule.ours].dtype
        for number, one in enumerate(rule.theirs):
            make = partial(splitter.part, rule, number)
            weights.append(Weight(one.name, dtype, one.shape, make))
    return weights


class _Splitter:
    """Makes foreign tensors from ours; those of the last one are kept until all are written."""

    def __init__(self, source: Source, rows: int | None) -> None:
        self._source = source
        self._rows = rows
        self._last: tuple[str, list[Tensor]] = ("", [])

    def part(self, rule: Rule, number: int) -> Tensor:
        if self._last[0] != rule.ours:
            self._last = ("", [])
            ours = self._source.read(rule.ours)
            if rule.ours in VOCABULARY:
                ours = ours[: self._rows]
            self._last = (rule.ours, rule.form.split(ours, rule.theirs))
        return self._last[1][number]


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
