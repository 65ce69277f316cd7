"""Make a loaded transformer ready to sample: matrices of 8 bits, compiled layers.

In: a transformer and a `RuntimeConfig`. Out: the same transformer, which computes the same a little
differently. Nothing here changes what is stored.
"""

from __future__ import annotations

import logging
from typing import Any

from torch import _dynamo, nn

from mogao.config import RuntimeConfig
from mogao.errors import ConfigError
from mogao.model.block import Linear
from mogao.model.hardware import compiler_available
from mogao.model.transformer import MogaoTransformer

RECOMPILE_LIMIT = 64


def make_ready(transformer: MogaoTransformer, config: RuntimeConfig) -> None:
    """Apply what a config asks for; call it once, on weights in their final type.

    Raises:
        ConfigError: A compiler or a library that it needs is missing.
    """
    device = transformer.embedding.tokens.weight.device
    if config.compile != "off" and not compiler_available(device):
        raise ConfigError(
            f"runtime.compile is {config.compile!r}, but no compiler was found; install g++ (CPU) "
            "or triton (CUDA), or say off"
        )
    if config.weights == "int8":
        use_int8(transformer)
    if config.compile != "off":
        # Counted per function, not per model; one model needs about six variants of a function.
        limits = _dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, RECOMPILE_LIMIT)
        transformer.compile_for_sampling(mode=config.compile)


def use_int8(transformer: MogaoTransformer) -> None:
    """Keep the matrices of all layers in 8 bits, one scale for each row of a matrix.

    Embeddings, heads, norms and what depends on the flow time keep their type.

    Raises:
        ConfigError: torchao is missing.
    """
    # On a machine without CUDA torchao says which of its kernels it cannot load.
    logging.getLogger("torchao").setLevel(logging.ERROR)
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise ConfigError(
            "runtime.weights is int8, but torchao is missing: pip install 'mogao[quant]'"
        ) from None

    def is_matrix(module: Any, _: str) -> bool:
        return isinstance(module, Linear)

    blocks: nn.Module = transformer.blocks
    quantize_(blocks, Int8WeightOnlyConfig(), filter_fn=is_matrix)
    zeros = [getattr(weight, "zero_point", None) for weight in blocks.parameters()]
    # The product of one row in `mogao.model.block` reads the stored bytes and the scales alone.
    assert all(zero is None or not zero.any() for zero in zeros), "8 bits must lie around zero"
