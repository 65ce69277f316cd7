"""What the machine offers: device, compute type, compiler.

In: nothing but the machine. Out: the choices that `auto` in a config stands for.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from mogao.errors import ConfigError


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
