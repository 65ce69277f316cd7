"""From logits to the next token.

In: logits of one place, the sampling config, a generator. Out: one token id. Special tokens are
hidden but for the end token and the token that opens a picture.
"""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor

from mogao.config import TextSamplingConfig
from mogao.tokenizer import SPECIAL_NAMES, Tokenizer


def forbidden_bias(
    tokenizer: Tokenizer, vocab_size: int, *, allow_image: bool, device: torch.device
) -> Float32[Tensor, " vocab"]:
    """Return 0 for tokens that may be written and minus infinity for all others.

    Args:
        tokenizer: Ids behind its vocabulary are never written.
        vocab_size: Logits of the model, at least as many as the tokenizer's ids.
        allow_image: Whether the token that opens a picture may be written.
        device: Where the logits are.
    """
    bias = torch.zeros(vocab_size, device=device)
    bias[: len(SPECIAL_NAMES)] = -torch.inf
    bias[tokenizer.vocab_size :] = -torch.inf
    bias[tokenizer.end] = 0.0
    if allow_image:
        bias[tokenizer.image_open] = 0.0
    return bias


def next_token(
    logits: Float32[Tensor, " vocab"],
    config: TextSamplingConfig,
    *,
    bias: Float32[Tensor, " vocab"],
    generator: torch.Generator,
) -> int:
    """Choose the next token: the most likely one, or a draw after temperature, top-k and top-p.

    Source: top-p as in arXiv 1904.09751, section 3.1: the smallest set of most likely tokens whose
    probability reaches `top_p`.

    Args:
        logits: Of one place.
        config: Temperature 0 takes the most likely token.
        bias: Added to the logits; minus infinity forbids.
        generator: Source of the draw; not touched at temperature 0.
    """
    logits = logits + bias
    if config.temperature == 0:
        return int(logits.argmax())
    scaled = logits / config.temperature
    if 0 < config.top_k < len(scaled):
        least = scaled.topk(config.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    probabilities = scaled.softmax(dim=-1)
    if config.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(dim=-1) - ordered
        probabilities = probabilities.index_fill(0, order[before >= config.top_p], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))
