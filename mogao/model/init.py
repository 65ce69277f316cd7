"""How weights start: one function for the whole transformer.

Matrices are normal with standard deviation 1 / sqrt(inputs); projections that write into the
residual stream are scaled down by depth; the velocity head and the modulation start at zero.
"""

from __future__ import annotations

import torch
from torch import nn

from mogao.model.transformer import MogaoTransformer


def initialise(transformer: MogaoTransformer, *, generator: torch.Generator) -> None:
    """Fill all weights in place from one generator.

    Source: depth scaling as in GPT-2 (Radford et al. 2019, section 2.3); zero heads by
    arXiv 2212.09748 and docs/decisions.md.
    """
    depth_scale = (2 * transformer.config.num_layers) ** -0.5
    with torch.no_grad():
        for name, module in transformer.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 0.02, generator=generator)
            elif isinstance(module, nn.Linear):
                writes_residual = name.endswith((".out", ".ffn.down"))
                std = module.in_features**-0.5 * (depth_scale if writes_residual else 1.0)
                module.weight.normal_(0.0, std, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        _start_at_zero(transformer)


def copy_text_to_visual(transformer: MogaoTransformer) -> None:
    """Copy every text-branch weight into the visual branch, in place: the language-model start."""
    with torch.no_grad():
        for block in transformer.layers:
            block.visual.load_state_dict(block.text.state_dict(), strict=True)


def _start_at_zero(transformer: MogaoTransformer) -> None:
    modulator, head = transformer.modulator, transformer.velocity_head
    zeros: list[nn.Module] = [head.modulation, head.projection]
    zeros += [modulator.head] if modulator.head is not None else []
    zeros += list(modulator.ups) if modulator.ups is not None else []
    for module in zeros:
        for parameter in module.parameters():
            parameter.zero_()
