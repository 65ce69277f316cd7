"""Where a result comes from: the keys that every JSON object of the command line carries.

In: nothing but this machine and this installation. Out: a plain dictionary. torch is asked for its
thread count only where the caller has imported it already.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from mogao.errors import ConfigError
from mogao.files import atomic_write, to_json

PACKAGES = (
    "mogao", "torch", "transformers", "diffusers", "numpy", "torchao", "transfusion-pytorch",
)  # fmt: skip

SETTINGS = "settings.json"


def provenance(dtype: str | None = None) -> dict[str, Any]:
    """The five keys `machine`, `threads`, `dtype`, `commit`, `versions`.

    Args:
        dtype: Compute type of the result, such as "bfloat16"; None where no model ran.
    """
    return {
        "machine": _machine(),
        "threads": _threads(),
        "dtype": dtype,
        "commit": commit(),
        "versions": _versions(),
    }


def keep_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new run into its folder, or compare with those of the run there.

    A key that an older version did not write is not compared.

    Raises:
        ConfigError: The folder was filled with other settings.
    """
    before = kept_settings(folder)
    if before is not None:
        compare_settings(folder, before, settings)
        settings = {**before, **settings}
    atomic_write(folder / SETTINGS, json.dumps(json.loads(to_json(settings)), indent=2) + "\n")


def kept_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the run in a folder; None where there are none."""
    path = folder / SETTINGS
    if not path.is_file():
        return None
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return settings


def compare_settings(folder: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Compare the settings that both know.

    Raises:
        ConfigError: They differ.
    """
    settings = json.loads(to_json(settings))
    changed = [name for name in settings if name in before and before[name] != settings[name]]
    if changed:
        raise ConfigError(
            f"{folder} was filled with another {', '.join(changed)}; choose another --out, "
            f"or the settings in its {SETTINGS}"
        )


def commit() -> str | None:
    """The git commit of the checkout that holds this package, with "-dirty" when it is changed.

    None where the package is not in a checkout of its own or git is not there.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return head + "-dirty" if changed else head


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _machine() -> str:
    """System, processor name where Linux tells it, and the number of usable cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{platform.system()} {platform.machine()}, {name}, {_cores()} cores"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else _cores()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
