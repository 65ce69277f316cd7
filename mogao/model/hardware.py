"""What the machine offers: device, compute type, compiler, threads.

In: nothing but the machine. Out: the choices that `auto` in a config stands for,
and which threads compute.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
from pathlib import Path

import torch

from mogao.errors import ConfigError

_SOFT = 1  # omp_pause_soft of OpenMP 5.0: settings stay


def pick_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve `auto`, `bfloat16` or `float32`; `auto` is bfloat16 only where hardware has it.

    Raises:
        ConfigError: The name is none of the three.
    """
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
        return torch.bfloat16 if native else torch.float32
    if name not in ("bfloat16", "float32"):
        raise ConfigError(f"dtype {name!r} is not known; use auto, bfloat16 or float32")
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def compiler_available(device: torch.device) -> bool:
    """Whether `torch.compile` can build kernels: a C++ compiler on CPU, triton on CUDA."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    names = [os.environ.get("CXX", ""), "g++", "clang++"]
    return any(name and shutil.which(name) for name in names)


def release_threads() -> None:
    """Let the OpenMP workers of this thread go; they come back when it computes again.

    GNU's runtime keeps a team for each thread that ever computed, and where all teams together are
    larger than the machine, every team sleeps instead of spinning between two loops: a decode step
    of eight texts takes three times as long. So whoever hands its work to another thread calls
    this. Nothing happens with another runtime.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libgomp.so.1").omp_pause_resource_all(_SOFT)


def compute_alone() -> None:
    """Let this thread compute without OpenMP workers from now on; others keep theirs.

    For threads that only ask another one to compute; see `release_threads`.
    """
    torch.get_num_threads()  # torch gives a thread its workers once, when it first asks
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libgomp.so.1").omp_set_num_threads(1)
    # After `torch.set_num_threads` MKL has a number of its own.
    with contextlib.suppress(OSError, AttributeError):
        library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
        ctypes.CDLL(str(library)).MKL_Set_Num_Threads_Local(1)
