"""The next token: what may be chosen, and with which probability."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.config import TextSamplingConfig
from mogao.sampling.text import forbidden_bias, next_token
from mogao.tokenizer import SPECIAL_NAMES
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CPU = torch.device("cpu")
VOCAB = 270


def bias(*, allow_image: bool = True) -> torch.Tensor:
    return forbidden_bias(TOKENIZER, VOCAB, allow_image=allow_image, device=CPU)


def draws(logits: torch.Tensor, config: TextSamplingConfig, *, count: int = 200) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    free = torch.zeros(len(logits))
    return {next_token(logits, config, bias=free, generator=generator) for _ in range(count)}


def test_temperature_zero_takes_the_most_likely_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    logits = torch.tensor([0.0, 2.0, 1.0])
    token = next_token(logits, TextSamplingConfig(), bias=torch.zeros(3), generator=generator)
    assert token == 1
    assert torch.equal(before, generator.get_state())


@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([0.0, 0.7, 5.0]))
@settings(max_examples=60, deadline=None)
def test_special_tokens_are_never_written_but_end_and_open(
    seed: int, allow_image: bool, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(VOCAB, generator=generator)
    config = TextSamplingConfig(temperature=temperature)
    token = next_token(logits, config, bias=bias(allow_image=allow_image), generator=generator)
    allowed = {TOKENIZER.end} | ({TOKENIZER.image_open} if allow_image else set())
    assert token in allowed or len(SPECIAL_NAMES) <= token < TOKENIZER.vocab_size


def test_ids_behind_the_tokenizer_are_forbidden() -> None:
    assert bias()[TOKENIZER.vocab_size :].isneginf().all()
    assert len(bias()[TOKENIZER.vocab_size :]) == VOCAB - TOKENIZER.vocab_size


def test_top_k_keeps_the_k_most_likely() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert draws(logits, TextSamplingConfig(temperature=5.0, top_k=2)) == {2, 3}
    assert draws(logits, TextSamplingConfig(temperature=5.0, top_k=9)) == {0, 1, 2, 3}


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {3}), (0.65, {2, 3}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.1, 0.1, 0.2, 0.6]).log()
    assert draws(logits, TextSamplingConfig(temperature=1.0, top_p=top_p)) == kept


def test_the_same_generator_gives_the_same_token() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    config = TextSamplingConfig(temperature=1.0)
    tokens = [
        next_token(logits, config, bias=torch.zeros(50), generator=torch.Generator().manual_seed(8))
        for _ in range(2)
    ]
    assert tokens[0] == tokens[1]
