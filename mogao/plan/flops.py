"""FLOPs of a token, by what it is made of, and evaluations of one picture.

In: a model config and the pack of a document. Out: forward and training FLOPs by the definitions
of `mogao.packing.cost`: training is three times forward.
"""

from __future__ import annotations

from mogao.config import ImageSamplingConfig, ModelConfig
from mogao.packing.cost import (
    pair_flops,
    run_pairs,
    step_flops,
    token_parameters,
    vision_flops,
)
from mogao.packing.layout import TokenKind
from mogao.packing.mask import MaskRule
from mogao.packing.pack import PackedBatch

TRAINING = 3
"""Training FLOPs by forward FLOPs: backward computes two products for each of forward."""
RECOMPUTED = 4
"""The same in time, where layers are computed again for the backward pass."""


def token_flops(model: ModelConfig, batch: PackedBatch) -> dict[str, dict[str, float]]:
    """Return the FLOPs of a token of each kind at the mean number of keys that it sees.

    Attention is counted by allowed pairs; `head` is the vocabulary projection of one predicted
    token, `key` what one more key costs a token, `mean` the whole pack by its tokens.
    """
    config, table = model.transformer, batch.table
    rule = MaskRule.from_config(config.visibility)
    pairs = run_pairs(table, rule)
    encoder = vision_flops(batch, model.vision) / TRAINING
    found: dict[str, dict[str, float]] = {}
    for kind in TokenKind:
        chosen = table.source == kind
        tokens = int(table.length[chosen].sum())
        keys = float(pairs[chosen].sum()) / max(tokens, 1)
        forward = 2.0 * token_parameters(config, kind) + pair_flops(config) * keys
        if kind is TokenKind.VIT:
            forward += encoder / max(tokens, 1)
        found[kind.name.lower()] = {"keys": keys} | _both(forward)
    found["head"] = _both(2.0 * config.hidden * config.vocab_size)
    found["key"] = _both(float(pair_flops(config)))
    mean = step_flops(batch, config, model.vision, rule=rule) / batch.num_tokens
    found["mean"] = _both(mean / TRAINING)
    return found


def evaluations(image: ImageSamplingConfig) -> int:
    """Return how often the network is evaluated for one picture: steps times guidance branches."""
    steps = len(image.schedule) - 1 if image.schedule else image.num_steps
    return steps * (len(image.branches) or len(image.preset.drops))


def _both(forward: float) -> dict[str, float]:
    return {"forward": forward, "training": TRAINING * forward}
