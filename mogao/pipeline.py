"""A model as users hold it: networks, tokenizer and settings of one folder.

In: a model folder (`config.json`, `model.safetensors`, `vae/`, `vision/`, `tokenizer.json`,
`generation.json`, `README.md`), or a config. Out: sessions, and such a folder again. Training,
sampling and serving read the same folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mogao import config as configs
from mogao.config import GenerationConfig, ModelConfig, RuntimeConfig
from mogao.errors import CheckpointError, ConfigError
from mogao.model.count import count_parameters
from mogao.model.hardware import pick_device, pick_dtype
from mogao.model.init import initialise
from mogao.model.library import seeded
from mogao.model.ready import make_ready
from mogao.model.storage import (
    check_finite,
    find_folder,
    load_strict,
    read_object,
    read_tensors,
    sha256,
    weight_files,
    write_tensors,
)
from mogao.model.transformer import MogaoTransformer
from mogao.model.vae import Autoencoder
from mogao.model.vision import VisionEncoder
from mogao.packing.mask import MaskRule
from mogao.sampling.codes import Parts
from mogao.sampling.session import Session
from mogao.sampling.slabs import row_bytes
from mogao.sampling.transcript import num_picture_tokens
from mogao.tokenizer import Tokenizer

CARD = """# {name}

A mogao model: one causal transformer that reads and writes interleaved text and pictures.

| part | parameters |
|---|---|
{rows}

```python
from mogao import Mogao

session = Mogao.from_pretrained("PATH OF THIS FOLDER").session(seed=0)
```

What it was trained on and what it cannot do was not written down; replace this file.
"""


class Mogao:
    """A model that can be used.

    Attributes:
        parts: Its networks, config and tokenizer.
        generation: Default settings of its sessions.
        folder: Where it was loaded from; None for a new model.
    """

    def __init__(
        self, parts: Parts, generation: GenerationConfig, *, folder: Path | None = None
    ) -> None:
        self.parts = parts
        self.generation = generation
        self.folder = folder

    @property
    def config(self) -> ModelConfig:
        """What `config.json` holds."""
        return self.parts.config

    @property
    def dtype(self) -> torch.dtype:
        """Compute type of the transformer."""
        return self.parts.transformer.compute_dtype

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.parts.device

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: str = "auto",
        device: str | torch.device = "auto",
        runtime: RuntimeConfig | None = None,
    ) -> Mogao:
        """Load a model.

        Args:
            name: An existing folder, else a built-in name such as "nano", else a hub id.
            dtype: "bfloat16", "float32", or "auto": bfloat16 where the hardware has it.
            device: Where the networks go; "auto" is the first CUDA device where there is one.
            runtime: Compilation and weights of 8 bits; None takes the model's `generation.json`.

        Raises:
            CheckpointError: The model is missing, or a file in it is missing, damaged, unsafe or
                does not fit the others.
            ConfigError: The dtype is not known, or what `runtime` needs is missing.
        """
        device = pick_device() if device == "auto" else torch.device(device)
        compute_dtype = pick_dtype(dtype, device)
        folder = find_folder(name)
        config, tokenizer = load_config(folder), load_tokenizer(folder)
        if tokenizer.vocab_size > config.transformer.vocab_size:
            raise CheckpointError(
                f"{folder}: tokenizer.json has {tokenizer.vocab_size} ids, but config.json has "
                f"transformer.vocab_size = {config.transformer.vocab_size}"
            )
        with torch.device("meta"):
            transformer = MogaoTransformer(config.transformer, compute_dtype=compute_dtype)
        # The rule's tables are no weights: made on "meta" they would stay empty.
        transformer.rule = MaskRule.from_config(config.transformer.visibility)
        load_strict(transformer, read_tensors(folder), where=folder / "model.safetensors")
        autoencoder = Autoencoder.load(folder / "vae")
        vision = VisionEncoder.load(folder / "vision")
        for module, part in ((autoencoder, "vae"), (vision, "vision")):
            check_finite(module.state_dict().items(), where=folder / part)
        if vision.config != config.vision or not config.autoencoder.admits(autoencoder.config):
            raise CheckpointError(f"{folder}: vae/ or vision/ differs in shape from config.json")
        parts = Parts(config, transformer, autoencoder, vision, tokenizer)
        _place(parts, compute_dtype, device)
        generation = load_generation(folder)
        if runtime is not None:
            generation = generation.model_copy(update={"runtime": runtime})
        make_ready(transformer, generation.runtime)
        return cls(parts, generation, folder=folder)

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        tokenizer: Tokenizer,
        generation: GenerationConfig | None = None,
        seed: int = 0,
        dtype: str = "float32",
    ) -> Mogao:
        """Make a model with first weights that depend on `seed` only.

        Raises:
            ConfigError: The tokenizer has more ids than the config, or the dtype is not known.
        """
        if tokenizer.vocab_size > config.transformer.vocab_size:
            raise ConfigError(
                f"transformer.vocab_size is {config.transformer.vocab_size}, but the tokenizer has "
                f"{tokenizer.vocab_size} ids"
            )
        device = torch.device("cpu")
        compute_dtype = pick_dtype(dtype, device)
        with seeded(seed):
            transformer = MogaoTransformer(config.transformer, compute_dtype=compute_dtype)
        initialise(transformer, generator=torch.Generator().manual_seed(seed))
        autoencoder = Autoencoder(config.autoencoder, seed=seed)
        vision = VisionEncoder(config.vision, seed=seed)
        parts = Parts(config, transformer, autoencoder, vision, tokenizer)
        _place(parts, compute_dtype, device)
        generation = generation or GenerationConfig()
        make_ready(transformer, generation.runtime)
        return cls(parts, generation)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.bfloat16) -> None:
        """Write the model folder; it appears complete or not at all.

        A model card that is in the folder already, or in the folder that the model was loaded
        from, is kept.

        Args:
            folder: Replaced when it is there.
            dtype: Type of all stored weights.

        Raises:
            CheckpointError: The folder cannot be written, or the weights are kept in 8 bits.
        """
        folder = Path(folder)
        weights = self.parts.transformer.parameters()
        if any(type(weight) not in (nn.Parameter, torch.Tensor) for weight in weights):
            raise CheckpointError("weights of 8 bits cannot be saved; load the model without int8")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial:
                new = Path(partial) / "new"
                new.mkdir()
                self._write(new, dtype)
                (new / "README.md").write_text(self._card(folder), encoding="utf-8")
                if folder.exists():
                    folder.replace(Path(partial) / "old")
                new.replace(folder)
        except OSError as error:
            raise CheckpointError(f"cannot write model {folder}: {error.strerror}") from None

    def session(self, *, seed: int = 0, generation: GenerationConfig | None = None) -> Session:
        """Return a new, empty document.

        Args:
            seed: Of all its draws.
            generation: Settings; None takes the model's own.
        """
        return Session(self.parts, generation=generation or self.generation, seed=seed)

    def info(self) -> dict[str, Any]:
        """Return what the model holds, as JSON values; bytes and sha256 are those of its folder."""
        files = [] if self.folder is None else [f for f in self.folder.rglob("*") if f.is_file()]
        return {
            "parameters": self._parameters(),
            "bytes": sum(file.stat().st_size for file in files),
            "sha256": None if self.folder is None else sha256(weight_files(self.folder)),
            "cache_bytes": self._cache_bytes(),
            "config": self.config.model_dump(mode="json"),
            "generation": self.generation.model_dump(mode="json"),
        }

    def _cache_bytes(self) -> dict[str, int]:
        """Keys and values of one token, and of all tokens of a picture of the default size."""
        image, config = self.generation.image, self.config
        token = row_bytes(config.transformer, self.dtype)
        size, layout = (image.height, image.width), config.transformer.layout
        tokens = num_picture_tokens(size, layout, token_pixels=config.token_pixels)
        return {"token": token, "picture": tokens * token}

    def _write(self, folder: Path, dtype: torch.dtype) -> None:
        weights = self.parts.transformer.state_dict()
        tensors = {name: weight.to("cpu", dtype).contiguous() for name, weight in weights.items()}
        write_tensors(tensors, folder)
        self.parts.autoencoder.save(folder / "vae", dtype=dtype)
        self.parts.vision.save(folder / "vision", dtype=dtype)
        self.parts.tokenizer.save(folder / "tokenizer.json")
        configs.save(self.generation, folder / "generation.json")
        configs.save(self.config, folder / "config.json")

    def _card(self, folder: Path) -> str:
        """The model card that exists, or a first one."""
        for source in (folder, self.folder):
            if source is not None and (source / "README.md").is_file():
                return (source / "README.md").read_text(encoding="utf-8")
        rows = "\n".join(f"| {part} | {count:,} |" for part, count in self._parameters().items())
        return CARD.format(name=self.config.name, rows=rows)

    def _parameters(self) -> dict[str, int]:
        """Numbers of parameters by part."""
        parts = self.parts
        return count_parameters(parts.transformer, parts.vision, parts.autoencoder)


def load_config(name: str | Path) -> ModelConfig:
    """Read `config.json` of a model.

    Raises:
        CheckpointError: It is missing, is no JSON, has another format or is not valid.
    """
    path = find_folder(name) / "config.json"
    data = _read_json(path)
    expected = ModelConfig().format
    if data.get("format") != expected:
        raise CheckpointError(
            f"{path}: format is {data.get('format')!r}, expected {expected!r}; convert models of "
            "other families first"
        )
    try:
        return configs.parse(ModelConfig, data, where=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def load_generation(name: str | Path) -> GenerationConfig:
    """Read `generation.json` of a model; the defaults where there is none.

    Raises:
        CheckpointError: It is no JSON or not valid.
    """
    path = find_folder(name) / "generation.json"
    if not path.is_file():
        return GenerationConfig()
    try:
        return configs.parse(GenerationConfig, _read_json(path), where=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def load_tokenizer(name: str | Path) -> Tokenizer:
    """Read `tokenizer.json` of a model.

    Raises:
        CheckpointError: It is missing or not valid.
    """
    return Tokenizer.load(find_folder(name) / "tokenizer.json")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"cannot read {path}: no such file; a model folder needs config.json, "
            "model.safetensors, vae/, vision/ and tokenizer.json"
        )
    return read_object(path)


def _place(parts: Parts, dtype: torch.dtype, device: torch.device) -> None:
    """Move all networks and cast what computes in `dtype`, so that no step casts a weight.

    One weight after another: a large model must not lie in memory in two types at once.
    """
    transformer = parts.transformer.eval()
    for weight, own in sampling_dtypes(transformer, dtype):
        weight.data = weight.data.to(device, own)
    transformer.to(device)
    parts.autoencoder.to(device=device, dtype=dtype).eval()
    parts.vision.to(device=device, dtype=dtype).eval()


def sampling_dtypes(
    transformer: MogaoTransformer, dtype: torch.dtype
) -> Iterator[tuple[nn.Parameter, torch.dtype]]:
    """Yield each weight of a transformer with the type that it is sampled in.

    Norms, times and their modulation compute in float32, everything else in `dtype`.
    """
    head = transformer.velocity_head
    timed = [transformer.embedding.time, transformer.modulator, head.modulation]
    kept = {id(module) for root in timed if root is not None for module in root.modules()}
    for module in transformer.modules():
        is_matrix = isinstance(module, nn.Linear | nn.Embedding) and id(module) not in kept
        for weight in module.parameters(recurse=False):
            yield weight, dtype if is_matrix else torch.float32
