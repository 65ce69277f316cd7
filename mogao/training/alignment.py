"""Representation alignment: a loss that lets drawing learn from understanding.

In: states of NOISY tokens inside the transformer and the vision encoder's features of the clean
pictures. Out: a loss sum. Source: arXiv 2410.06940 (REPA), section 3.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from mogao.config import AlignmentConfig, ModelConfig
from mogao.errors import ConfigError
from mogao.model.block import Linear


class Alignment(nn.Module):
    """The projection from the transformer's states to the vision encoder's space; not exported.

    A NOISY token covers the same square of the picture as a patch of the vision encoder
    (`ModelConfig` sees to it), so states and features pair off one to one.
    """

    centre: Float32[Tensor, " vision_dim"]

    def __init__(
        self,
        config: AlignmentConfig,
        model: ModelConfig,
        *,
        centre: Float32[Tensor, " vision_dim"],
    ) -> None:
        """Build the projection.

        Args:
            config: Layer, weight and width.
            model: The model whose states are aligned.
            centre: Mean feature of many pictures. It is most of every feature and says nothing
                about a place, so it is taken off.

        Raises:
            ConfigError: The layer lies outside the transformer.
        """
        super().__init__()
        self.config = config
        num_layers = model.transformer.num_layers
        if config.layer > num_layers:
            raise ConfigError(f"alignment.layer is {config.layer}, but there are {num_layers}")
        self.register_buffer("centre", centre, persistent=False)
        self.widen = Linear(model.transformer.hidden, config.hidden)
        self.narrow = Linear(config.hidden, model.vision.hidden)

    def loss_sum(
        self,
        states: Float[Tensor, "noisy hidden"],
        features: Float[Tensor, "noisy vision_dim"],
        weights: Float32[Tensor, " noisy"],
    ) -> Float32[Tensor, ""]:
        """Return the weighted sum over tokens of one minus the cosine similarity, float32.

        The features get no gradient.
        """
        projected = self.narrow(F.silu(self.widen(states))).float()
        target = features.detach().float() - self.centre
        similarity = F.cosine_similarity(projected, target, dim=-1)
        return ((1 - similarity) * weights).sum()
