"""Model folders on disk: where they are found, and weights that are checked before use.

In: a path, a built-in name or a hub id; safetensors files. Out: a folder, and tensors that fit a
module exactly. Pickles are never opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mogao.errors import CheckpointError
from mogao.model.shards import is_finite
from mogao.model.weights.rules import some

BUILT_IN = Path(__file__).resolve().parent.parent / "checkpoints"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
HUB_PATTERNS = ["*.json", "*.safetensors", "README.md"]
MAX_SHARD_SIZE = "4GB"
JSON_LIMIT_BYTES = 100_000_000
_NAMED = (".json", ".jinja", ".safetensors")
_SAMPLES, _SAMPLE_BYTES = 256, 4096  # of a file's content that its fingerprint reads


def find_folder(name: str | Path) -> Path:
    """Return the model folder of a path, else of a built-in name, else of a hub id.

    Offline mode of `huggingface_hub` (HF_HUB_OFFLINE=1) is honoured.

    Raises:
        CheckpointError: It is none of the three, or the download failed.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        hint = "a pickle is never opened" if path.suffix in PICKLES else "give its folder"
        raise CheckpointError(f"{path} is a file; a model is a folder with config.json: {hint}")
    known = sorted(folder.parent.name for folder in BUILT_IN.glob("*/config.json"))
    if str(name) in known:
        return BUILT_IN / str(name)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
        return _download(str(name))
    raise CheckpointError(
        f"model {str(name)!r} not found: no folder of that path, no built-in model "
        f"(there are: {', '.join(known) or 'none'}), and no hub id of the form owner/name"
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_PATTERNS))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"model {name!r} not found: no folder of that path, no built-in model, and the hub "
            f"does not give it: {first_line}"
        ) from None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Map the weights of a model folder, sharded or not; pages are read when they are used.

    Raises:
        CheckpointError: A file is missing, cut off or damaged, two files hold the same tensor, or a
            tensor is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            found = load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file} is cut off or damaged ({error}); copy or download it again"
            ) from None
        refuse_twins(tensors.keys() & found.keys(), where=file)
        tensors |= found
    check_finite(tensors.items(), where=folder / WEIGHTS)
    return tensors


def refuse_twins(names: Iterable[str], *, where: Path) -> None:
    """Refuse tensors that another shard holds too.

    Raises:
        CheckpointError: There are such names.
    """
    twins = sorted(names)
    if twins:
        raise CheckpointError(f"{where} holds tensors of another shard again: {some(twins)}")


def weight_files(folder: Path, name: str = WEIGHTS) -> list[Path]:
    """Return the safetensors files of a model folder.

    Args:
        folder: The folder.
        name: The file; with `.index.json` behind it, the index of its shards.

    Raises:
        CheckpointError: There are none, or the index is no index, names files that are not there,
            or leads out of the folder.
    """
    if (folder / name).is_file():
        return [folder / name]
    index = folder / f"{name}.index.json"
    if not index.is_file():
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
        found = f"; {pickles[0]} is a pickle and is never opened" if pickles else ""
        raise CheckpointError(f"{folder} holds no {name}{found}")
    names = read_index(index)
    files = [inside(folder, file) for file in sorted(set(names.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{folder}: {len(missing)} shards are missing, such as {missing[0]}")
    return files


def read_index(path: Path) -> dict[str, str]:
    """Return the file of each tensor, as an index of shards names it.

    Raises:
        CheckpointError: It cannot be read or is no such index.
    """
    table = read_object(path).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(file, str) for file in table.values()):
        raise CheckpointError(f"{path} is not a shard index: it has no table weight_map of names")
    return table


def read_object(path: Path, *, limit_bytes: int = JSON_LIMIT_BYTES) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises:
        CheckpointError: The file is missing, too large, no JSON or no object.
    """
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise CheckpointError(f"{path} has {size} bytes; at most {limit_bytes} are read")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold an object, got {type(data).__name__}")
    return data


def inside(folder: Path, name: str) -> Path:
    """Return a file of a folder by its name, which may come from a file that nobody checked.

    Raises:
        CheckpointError: The name is more than a name, or a link that leads out of the folder. (In
            the cache of `huggingface_hub` all files are links into the folder `blobs` beside.)
    """
    if not name or Path(name).name != name or "\\" in name or "\0" in name or name == "..":
        raise CheckpointError(f"{folder} names a file outside of itself: {name!r:.200}")
    home, real = folder.resolve(), (folder / name).resolve()
    caches = [one.parent.parent for one in (home, *home.parents) if one.parent.name == "snapshots"]
    if not any(real.is_relative_to(one) for one in (home, *(cache / "blobs" for cache in caches))):
        raise CheckpointError(
            f"{folder / name} is a link that leads out of its folder; put the file itself there"
        )
    return folder / name


def write_tensors(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write weights as one file, or as shards with an index where they are large."""
    from huggingface_hub import save_torch_state_dict

    pattern = WEIGHTS.replace(".safetensors", "{suffix}.safetensors")
    save_torch_state_dict(
        dict(tensors), folder, filename_pattern=pattern, max_shard_size=MAX_SHARD_SIZE
    )
    # The library makes files that only their owner may read; a model folder is to be served.
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)


def check_finite(tensors: Iterable[tuple[str, Tensor]], *, where: Path) -> None:
    """Refuse weights that are not numbers.

    Raises:
        CheckpointError: A value is NaN or infinite.
    """
    bad = [name for name, tensor in tensors if not is_finite(tensor)]
    if bad:
        raise CheckpointError(f"{where}: not finite: {some(bad)}; the training run diverged")


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Put tensors into a module, in place of its own; every name and shape must match.

    Raises:
        CheckpointError: Names are missing or unexpected or shapes differ; ten of each are named.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    misshaped = [
        f"{name} {list(tensors[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].shape != own[name].shape
    ]
    report = {"missing": missing, "unexpected": unexpected, "misshaped": misshaped}
    if any(report.values()):
        lines = [f"{len(names)} {what}: {some(names)}" for what, names in report.items() if names]
        raise CheckpointError(f"{where} does not fit config.json beside it; " + "; ".join(lines))
    module.load_state_dict(tensors, strict=True, assign=True)


def fingerprint(folder: Path) -> str:
    """Return 16 hex digits by which another model in the same folder is told from this one.

    Files count by their size and samples all over them, those below a megabyte whole: weights,
    JSON and chat templates. What `generation.json` holds can be changed without another model and
    does not count.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix not in _NAMED or file.name == "generation.json":
            continue
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as stream:
            last = max(size - _SAMPLE_BYTES, 0)
            for start in sorted({last * number // (_SAMPLES - 1) for number in range(_SAMPLES)}):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def sha256(files: Iterable[Path]) -> str:
    """Return the hash of files read one after another."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
