"""Which families there are, what their folders hold, and which adapter makes which part.

In: a name, or a folder whose family is to be told. Out: adapters, imported when they are asked for,
and folders that were opened and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

from mogao.config import GenerationConfig, ModelConfig
from mogao.convert.source import Source, open_folder, open_gguf
from mogao.errors import CheckpointError, ConfigError, nearest
from mogao.model.storage import find_folder, read_object
from mogao.model.weights.rules import Family, Part, Report, check

CONFIG = "config.json"
GGUF = ".gguf"


@dataclass(frozen=True, slots=True)
class FolderKind:
    """The folders of a family.

    Attributes:
        adapters: "module:NAME" of the `Family` of each part that it makes; where files of one
            family differ in their names, each spelling has its own, the usual one first.
        weights: The safetensors file of each part, or what its index is named after.
        settings: JSON files that must be there.
        maybe: JSON files that may be.
        defaults: "module:NAME" of what makes the `GenerationConfig` of a model of this family from
            its `ModelConfig`; empty: the defaults.
    """

    adapters: Mapping[Part, tuple[str, ...]]
    weights: Mapping[Part, str]
    settings: tuple[str, ...] = (CONFIG,)
    maybe: tuple[str, ...] = ()
    defaults: str = ""

    def open(self, path: Path) -> Source:
        """Open a folder of this kind.

        Raises:
            CheckpointError: See `open_folder`.
        """
        if path.suffix == GGUF and path.is_file():
            return open_gguf(path)
        files = tuple(dict.fromkeys(self.weights.values()))
        return open_folder(path, weights=files, settings=self.settings, maybe=self.maybe)

    def spellings(self, part: Part) -> list[Family[Any]]:
        """Import the adapters of a part."""
        return [_named(place) for place in self.adapters[part]]

    def generation(self, config: ModelConfig) -> GenerationConfig:
        """Return how a model of this family samples by default."""
        if not self.defaults:
            return GenerationConfig()
        found: GenerationConfig = _named(self.defaults)(config)
        return found


def _kinds() -> dict[str, FolderKind]:
    model, ema, ae = "model.safetensors", "ema.safetensors", "ae.safetensors"
    flux = ("autoencoder:FLUX_AE",)
    return {
        "qwen2": FolderKind({"transformer": ("qwen:QWEN2",)}, {"transformer": model}),
        "qwen3": FolderKind({"transformer": ("qwen:QWEN3",)}, {"transformer": model}),
        "llama": FolderKind({"transformer": ("llama:LLAMA",)}, {"transformer": model}),
        "siglip": FolderKind(
            {"vision": ("siglip:SIGLIP", "siglip:SIGLIP_TOWER")}, {"vision": model}
        ),
        "siglip2": FolderKind(
            {"vision": ("siglip:SIGLIP2", "siglip:SIGLIP2_TOWER")}, {"vision": model}
        ),
        "autoencoder_kl": FolderKind(
            {"vae": ("autoencoder:AUTOENCODER_KL", "autoencoder:AUTOENCODER_KL_OLD")},
            {"vae": "diffusion_pytorch_model.safetensors"},
        ),
        "flux_ae": FolderKind({"vae": flux}, {"vae": ae}, settings=(), maybe=("ae.json",)),
        "bagel": FolderKind(
            {"transformer": ("bagel:BAGEL",), "vision": ("bagel:BAGEL_VISION",), "vae": flux},
            {"transformer": ema, "vision": ema, "vae": ae},
            settings=("llm_config.json", "vit_config.json"),
            maybe=(CONFIG, "ae.json"),
            defaults="bagel:bagel_generation",
        ),
    }


KINDS = _kinds()
"""By the name that `--from` and `--to` take."""

MODEL_TYPES = {
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "llama": "llama",
    "siglip": "siglip",
    "siglip_vision_model": "siglip",
    "siglip2": "siglip2",
    "siglip2_vision_model": "siglip2",
}
"""`model_type` in the config of transformers to family."""


def kind_of(name: str) -> FolderKind:
    """Return the folders of a family.

    Raises:
        ConfigError: There is no such family.
    """
    if name not in KINDS:
        raise ConfigError(f"family {name!r} is not known; {nearest(name, KINDS)}")
    return KINDS[name]


def find_source(value: str | Path) -> Path:
    """Return a GGUF file, or the folder of a path, a built-in name or a hub id.

    Raises:
        CheckpointError: It is none of these.
    """
    path = Path(value).expanduser()
    return path if path.suffix == GGUF and path.is_file() else find_folder(value)


def is_model(path: Path) -> bool:
    """Whether a folder is one of our own models."""
    if not (path / CONFIG).is_file():
        return False
    return str(read_object(path / CONFIG).get("format", "")).startswith("mogao/")


def detect(path: Path) -> str:
    """Tell the family of a folder from its files and settings.

    Raises:
        CheckpointError: It is of none.
    """
    if path.suffix == GGUF and path.is_file():
        return "llama"
    if (path / "llm_config.json").is_file():
        return "bagel"
    if not (path / CONFIG).is_file() and (path / "ae.safetensors").is_file():
        return "flux_ae"
    settings = read_object(path / CONFIG)
    kind = settings.get("model_type")
    if settings.get("_class_name") == "AutoencoderKL":
        return "autoencoder_kl"
    if isinstance(kind, str) and kind in MODEL_TYPES:
        return MODEL_TYPES[kind]
    found = settings.get("_class_name", kind)
    raise CheckpointError(
        f"{path / CONFIG} is of type {found!r:.80}; known families: {', '.join(KINDS)}"
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a part of a model comes from: an opened folder that was found to fit its family.

    Attributes:
        source: The folder.
        kind: Name of the family, as in `KINDS`.
        family: The adapter.
        config: What the folder says of the part, as our config.
    """

    source: Source
    kind: str
    family: Family[Any]
    config: Any


def origins_of(path: Path, kind: str) -> dict[Part, Origin]:
    """Open a folder and return the parts that it makes; every tensor in it belongs to one.

    Raises:
        ConfigError: The family is not known.
        CheckpointError: The folder is not whole or not safe, or its names and shapes are not
            exactly those of the family; ten of each are named.
    """
    folder_kind = kind_of(kind)
    source = folder_kind.open(path)
    reports: list[Report] = []
    spellings = [folder_kind.spellings(part) for part in folder_kind.adapters]
    for families in product(*spellings):
        configs = [family.config(source.settings) for family in families]
        rules = [
            rule
            for family, config in zip(families, configs, strict=True)
            for rule in family.rules(config)
        ]
        ignored = tuple(pattern for family in families for pattern in family.ignored)
        report = check(rules, source.shapes, family=replace(families[0], ignored=ignored))
        if report.fits:
            return {
                family.part: Origin(source, kind, family, config)
                for family, config in zip(families, configs, strict=True)
            }
        reports.append(report)
    raise CheckpointError(f"{path} is no {kind} model of its config; {reports[0]}")


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"mogao.model.weights.{module}"), name)
