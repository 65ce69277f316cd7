"""From foreign folders to a model folder: what is planned, written, and said about it.

In: paths, families, options. Out: a folder that `Mogao.from_pretrained` opens, or, from a lone
encoder, a plain folder of its library; and a report.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mogao.config import ModelConfig
from mogao.convert.assemble import (
    VOCABULARY,
    Options,
    model_config,
    new_weights,
    part_weights,
    read_tokenizer,
    transformer_weights,
)
from mogao.convert.card import model_card
from mogao.convert.families import Origin, detect, find_source, is_model, kind_of, origins_of
from mogao.convert.target import File, Finished, Target, index_of, shard
from mogao.errors import CheckpointError, ConfigError
from mogao.model.storage import INDEX, WEIGHTS
from mogao.model.vae import WEIGHTS as VAE_WEIGHTS
from mogao.model.vae import Autoencoder
from mogao.model.vision import WEIGHTS as VISION_WEIGHTS
from mogao.model.vision import VisionEncoder
from mogao.model.weights.autoencoder import AUTOENCODER_KL
from mogao.model.weights.rules import Part

PARTS: dict[str, Part] = {"llm": "transformer", "vision": "vision", "vae": "vae"}
"""What `--compose` calls a part, and what it is in a model folder."""
ENCODERS: tuple[Part, ...] = ("vision", "vae")
MAX_SHARD_BYTES = 4 * 10**9


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes:
        folder: Where.
        kinds: Family of each part that was taken over.
        files: Weight files.
        reused: Those of them that an earlier run had finished.
        num_bytes: Size of all weights.
        taken: Number of weights from the source.
        new: Names of weights that started anew.
        new_tokens: Special tokens that got a new id.
    """

    folder: Path
    kinds: dict[str, str]
    files: list[str]
    reused: list[str]
    num_bytes: int
    taken: int
    new: list[str]
    new_tokens: list[str]


@dataclass(frozen=True, slots=True)
class Job:
    """A conversion that is planned and not begun.

    Attributes:
        origins: Where each part comes from.
        files: Weight files, in the order in which they are written.
        texts: Small files by path; the last is what makes the folder a model.
        request: What decides all of it.
        new: Names of weights that start anew.
        new_tokens: Special tokens that get a new id.
    """

    origins: Mapping[Part, Origin]
    files: list[File]
    texts: dict[str, str]
    request: dict[str, Any]
    new: list[str]
    new_tokens: list[str]

    @property
    def num_bytes(self) -> int:
        """Size of all weights."""
        return sum(file.num_bytes for file in self.files)

    def run(
        self, folder: Path, *, restart: bool = False, finished: Finished | None = None
    ) -> Report:
        """Write the folder; see `Target`.

        Raises:
            CheckpointError: See `Target`; or the disk is too full.
        """
        target = Target(folder, self.request, restart=restart)
        have = sum(path.stat().st_size for path in target.partial.rglob("*") if path.is_file())
        free = shutil.disk_usage(target.partial).free
        if free + have < self.num_bytes:
            raise CheckpointError(
                f"{folder} needs {self.num_bytes / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB"
            )
        target.write(self.files, finished=finished)
        record = {
            "settings": {part: dict(origin.source.settings) for part, origin in self.origins.items()
                         if part == "transformer" or len(self.origins) == 1},
            "spellings": {part: origin.family.name for part, origin in self.origins.items()},
            "new": self.new,
        }  # fmt: skip
        target.complete(self.texts, record=record)
        return Report(
            folder=folder,
            kinds={part: origin.kind for part, origin in self.origins.items()},
            files=[file.path for file in self.files],
            reused=target.reused,
            num_bytes=self.num_bytes,
            taken=sum(len(file.weights) for file in self.files) - len(self.new),
            new=self.new,
            new_tokens=self.new_tokens,
        )


def plan_conversion(
    path: str | Path, kind: str, options: Options, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> Job:
    """Plan to convert a whole folder of a family.

    Args:
        path: A folder, a GGUF file or a hub id.
        kind: The family.
        options: How.
        max_shard_bytes: Of a weight file of the transformer.

    Raises:
        CheckpointError: The source is not whole, not safe or not of the family.
        ConfigError: The family or a change of the config is not known or does not fit.
    """
    origins = origins_of(find_source(path), kind)
    if "transformer" in origins:
        return plan_model(origins, options, max_shard_bytes=max_shard_bytes)
    (part,) = origins
    return _plan_lone(part, origins[part], options)


def plan_composition(
    parts: Mapping[str, str | Path], options: Options, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> Job:
    """Plan to make a model from parts.

    Args:
        parts: Path or hub id by "llm", "vision", "vae"; encoders also from our own model folders.
        options: How.
        max_shard_bytes: Of a weight file of the transformer.

    Raises:
        CheckpointError: A part is not whole, not safe or of no known family.
        ConfigError: There is no language model, or parts do not fit each other.
    """
    if "llm" not in parts or parts.keys() - PARTS.keys():
        raise ConfigError(
            f"--compose needs llm=PATH and may have vision=PATH and vae=PATH; got {sorted(parts)}"
        )
    origins: dict[Part, Origin] = {}
    # Encoders that are named win over those that come with the language model.
    for name in sorted(parts, key=lambda name: name != "llm"):
        part, value = PARTS[name], parts[name]
        path = find_source(value)
        if is_model(path):
            if part == "transformer":
                raise ConfigError(f"llm={value} is a mogao model; give a language model")
            path /= part
        kind = detect(path)
        found = origins_of(path, kind)
        if part not in found:
            raise ConfigError(f"{name}={value} is of family {kind}, which has no {part}")
        origins |= found if name == "llm" else {part: found[part]}
    return plan_model(origins, options, max_shard_bytes=max_shard_bytes)


def plan_model(
    origins: Mapping[Part, Origin], options: Options, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> Job:
    """Plan a model folder; the transformer must have an origin, encoders may be new ones.

    Raises:
        CheckpointError: The tokenizer cannot be read, or weights do not fit.
        ConfigError: Parts do not fit each other.
    """
    llm = origins["transformer"]
    tokenizer, layout = read_tokenizer(llm)
    rows = max(llm.config.vocab_size, tokenizer.vocab_size)
    given = {part: origin.config for part, origin in origins.items()}
    given["transformer"] = llm.config.model_copy(update={"layout": layout})
    config = model_config(given, name=llm.source.title, overrides=options.overrides)
    if "vocab_size" not in options.overrides.get("transformer", {}):
        wider = config.transformer.model_copy(update={"vocab_size": rows})
        config = config.model_copy(update={"transformer": wider})
    if config.transformer.vocab_size < rows:
        raise ConfigError(f"transformer.vocab_size must be at least {rows}")
    weights = transformer_weights(config.transformer, llm, options)
    files = shard(weights, WEIGHTS, max_bytes=max_shard_bytes)
    texts = {} if len(files) == 1 else {INDEX: _json(index_of(files))}
    names = {rule.ours for rule in llm.family.rules(llm.config)
             if not rule.is_copy or options.visual_from == "text"}  # fmt: skip
    new = [weight.name for weight in weights if weight.name not in names]
    if config.transformer.vocab_size > llm.config.vocab_size:
        new += [f"new rows of {name}" for name in VOCABULARY if name in names]
    small_dtype = options.stored or weights[0].dtype
    for part in ENCODERS:
        more, text = _encoder(part, config, origins.get(part), options=options, dtype=small_dtype)
        files += more
        texts |= text
        new += [] if part in origins else [f"{part}/: all weights"]
    texts |= {
        "tokenizer.json": tokenizer.to_json(),
        "generation.json": _json(kind_of(llm.kind).generation(config).model_dump(mode="json")),
        "README.md": model_card(config, origins, new=new),
        "config.json": _json(config.model_dump(mode="json")),
    }
    request = _request(origins, options) | {"max_shard_bytes": max_shard_bytes}
    request["config"] = config.model_dump(mode="json")
    return Job(origins, files, texts, request, new, list(tokenizer.new_names))


def _plan_lone(part: Part, origin: Origin, options: Options) -> Job:
    """Plan a plain folder of the library that our encoders come from."""
    if options.overrides:
        raise ConfigError("a lone encoder has nothing that can be changed; give no config")
    network = _network(part, origin.config)
    path = VISION_WEIGHTS if part == "vision" else VAE_WEIGHTS
    files = [File(path, tuple(part_weights(network, origin, options)))]
    texts = {"config.json": _settings_text(part, origin.config)}
    return Job({part: origin}, files, texts, _request({part: origin}, options), [], [])


def _encoder(
    part: Part,
    config: ModelConfig,
    origin: Origin | None,
    *,
    options: Options,
    dtype: torch.dtype,
) -> tuple[list[File], dict[str, str]]:
    """Weights and settings of one of the two encoders."""
    wanted: Any = config.vision if part == "vision" else config.autoencoder
    if origin is not None:
        fits = wanted == origin.config if part == "vision" else wanted.admits(origin.config)
        if not fits:
            raise ConfigError(
                f"the config changes the {part} encoder that {origin.source.path} gives; its "
                "weights leave no choice"
            )
        wanted = origin.config
    path = f"{part}/{VISION_WEIGHTS if part == 'vision' else VAE_WEIGHTS}"
    if origin is not None:
        weights = part_weights(_network(part, wanted), origin, options)
    else:
        encoder = VisionEncoder(wanted, seed=options.seed) if part == "vision" else None
        network = encoder.model if encoder else Autoencoder(wanted, seed=options.seed).kl
        weights = new_weights(network, dtype)
    return [File(path, tuple(weights))], {f"{part}/config.json": _settings_text(part, wanted)}


def _network(part: Part, config: Any) -> Any:
    """The library's network without memory."""
    with torch.device("meta"):
        return VisionEncoder(config).model if part == "vision" else Autoencoder(config).kl


def _settings_text(part: Part, config: Any) -> str:
    """The JSON by which the library opens an encoder."""
    if part == "vae":
        return _json(AUTOENCODER_KL.settings(config)["config.json"])
    with torch.device("meta"):
        settings: str = VisionEncoder(config).model.config.to_json_string()
    return settings


def _request(origins: Mapping[Part, Origin], options: Options) -> dict[str, Any]:
    sources = {
        part: {"family": origin.kind, "files": dict(origin.source.identity)}
        for part, origin in origins.items()
    }
    return {"sources": sources, "options": asdict(options)}


def _json(data: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
