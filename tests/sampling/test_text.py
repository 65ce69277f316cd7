"""The next token: what may be chosen, and with which probability."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogao.config import TextSamplingConfig
from mogao.errors import RequestError
from mogao.sampling.text import StopStrings, TextWriter, forbidden_bias, next_token, penalise
from mogao.tokenizer import Tokenizer
from mogao.tokenizer_files import SPECIAL_NAMES
from tests.foreign_tokenizers import foreign_json, special_of
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CPU = torch.device("cpu")
VOCAB = 270


def bias(*, allow_image: bool = True) -> torch.Tensor:
    return forbidden_bias(TOKENIZER, VOCAB, allow_image=allow_image, device=CPU)


def draws(logits: torch.Tensor, config: TextSamplingConfig, *, count: int = 200) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    return {next_token(logits, config, generator=generator) for _ in range(count)}


def test_temperature_zero_takes_the_most_likely_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    logits = torch.tensor([0.0, 2.0, 1.0])
    token = next_token(logits, TextSamplingConfig(), generator=generator)
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
    token = next_token(logits + bias(allow_image=allow_image), config, generator=generator)
    allowed = {TOKENIZER.end} | ({TOKENIZER.image_open} if allow_image else set())
    assert token in allowed or len(SPECIAL_NAMES) <= token < TOKENIZER.vocab_size


def test_ids_behind_the_tokenizer_are_forbidden() -> None:
    assert bias()[TOKENIZER.vocab_size :].isneginf().all()
    assert len(bias()[TOKENIZER.vocab_size :]) == VOCAB - TOKENIZER.vocab_size


def test_ids_that_are_no_text_are_forbidden_wherever_they_lie() -> None:
    tokenizer = Tokenizer.from_foreign(
        json.loads(foreign_json("qwen2")), special=special_of("qwen2"), first_free_id=900
    )
    size = tokenizer.vocab_size
    allowed = forbidden_bias(tokenizer, size + 3, allow_image=True, device=CPU).isfinite()
    text = set(range(size)) - tokenizer.reserved
    assert set(allowed.nonzero().flatten().tolist()) == {
        *text, tokenizer.end, tokenizer.image_open
    }  # fmt: skip


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
        next_token(logits, config, generator=torch.Generator().manual_seed(8)) for _ in range(2)
    ]
    assert tokens[0] == tokens[1]


def test_min_p_is_a_share_of_the_most_likely() -> None:
    logits = torch.tensor([0.05, 0.1, 0.25, 0.6]).log()
    assert draws(logits, TextSamplingConfig(temperature=1.0, min_p=0.2)) == {2, 3}
    assert draws(logits, TextSamplingConfig(temperature=1.0, min_p=0.9)) == {3}


def test_the_penalty_makes_known_tokens_less_likely_whatever_their_sign() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0])
    assert penalise(logits, {0, 1}, penalty=2.0).tolist() == [1.0, -4.0, 1.0]
    assert penalise(logits, [], penalty=2.0).tolist() == logits.tolist()


def write(text: str, config: TextSamplingConfig, **options) -> tuple[TextWriter, list[str]]:
    """Write a text token by token, until it is stopped."""
    generator = torch.Generator().manual_seed(0)
    writer = TextWriter(TOKENIZER, config, bias=bias(), generator=generator, **options)
    shown = []
    for token in TOKENIZER.encode(text):
        logits = torch.full((VOCAB,), -5.0)
        logits[token] = 5.0
        assert writer.choose(logits) == token
        delta = writer.take(token)
        shown += [] if delta is None else [delta.text]
        if writer.is_stopped:
            break
    tail = writer.flush()
    return writer, shown + ([] if tail is None else [tail.text])


def test_nothing_of_a_stop_string_is_ever_shown() -> None:
    config = TextSamplingConfig(stop=("END", "##"))
    writer, shown = write("an EN and #, then END of it", config)
    assert "".join(shown) == "an EN and #, then "
    assert writer.is_stopped
    assert TOKENIZER.decode(writer.finish()) == "an EN and #, then "
    writer, shown = write("ends in EN", config)
    assert ("".join(shown), writer.is_stopped) == ("ends in EN", False)
    assert writer.finish() == TOKENIZER.encode("ends in EN")


@given(st.text("ab#", max_size=30), st.lists(st.text("ab#", min_size=1, max_size=3), max_size=3),
       st.integers(1, 4))  # fmt: skip
def test_stop_strings_cut_where_the_first_one_begins(text: str, stops, width: int) -> None:
    watch = StopStrings(stops)
    shown = ""
    for start in range(0, len(text), width):
        shown += watch.push(text[start : start + width])
        if watch.is_found:
            break
    # Characters come in pieces: the first piece that completes a stop string decides.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert not watch.is_found
        assert shown + watch.flush() == text
        return
    seen = text[: -(-min(ends) // width) * width]
    assert watch.is_found
    assert shown == watch.shown == text[: min(seen.find(s) for s in stops if s in seen)]


def test_characters_of_several_bytes_come_whole() -> None:
    _, shown = write("\u00e9\u20ac\U0001f600", TextSamplingConfig())
    assert shown == ["\u00e9", "\u20ac", "\U0001f600"]


def test_log_probabilities_on_request() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(VOCAB, generator=generator)
    config = TextSamplingConfig(log_probs=True)
    writer = TextWriter(TOKENIZER, config, bias=bias(), generator=generator)
    token = writer.choose(logits)
    delta = writer.take(token) or writer.flush()
    expected = (logits + bias()).log_softmax(dim=-1)[token]
    assert delta is not None
    assert delta.log_probs == pytest.approx((float(expected),))


@pytest.mark.parametrize("text", ["an EN and more", "then END of it", "\u00e9\u20ac", ""])
def test_a_whole_text_comes_as_one_piece_when_it_ends(text: str) -> None:
    config = TextSamplingConfig(stop=("END",), log_probs=True)
    streamed, pieces = write(text, config)
    writer, shown = write(text, config, whole=True)
    assert shown == ["".join(pieces)] * bool(pieces)
    assert len(pieces) != 1
    assert (writer.finish(), writer.is_stopped) == (streamed.finish(), streamed.is_stopped)


class Digits:
    """Three digits, then the end."""

    def allowed(self, ids):
        mask = torch.zeros(VOCAB, dtype=torch.bool)
        if len(ids) < 3:
            mask[TOKENIZER.encode("0123456789")] = True
        elif len(ids) == 3:
            mask[TOKENIZER.end] = True
        return mask


def test_a_grammar_decides_what_may_follow() -> None:
    generator = torch.Generator().manual_seed(0)
    config = TextSamplingConfig(temperature=1.0)
    writer = TextWriter(TOKENIZER, config, bias=bias(), generator=generator, grammar=Digits())
    for _ in range(3):
        writer.take(writer.choose(torch.randn(VOCAB, generator=generator)))
    assert TOKENIZER.decode(writer.ids).isdigit()
    assert writer.choose(torch.randn(VOCAB, generator=generator)) == TOKENIZER.end
    writer.take(TOKENIZER.encode("x")[0])
    with pytest.raises(RequestError, match="grammar allows no token"):
        writer.choose(torch.randn(VOCAB, generator=generator))
