"""From logits to text: the next token, and the characters that may be shown so far.

In: logits of one place, the sampling config, a generator. Out: token ids, whole characters, log
probabilities. Special tokens are hidden but for the end token and the token that opens a picture.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from mogao.config import TextSamplingConfig
from mogao.errors import RequestError
from mogao.sampling.events import TextDelta
from mogao.tokenizer import Tokenizer

Logits = Float32[Tensor, " vocab"]


@runtime_checkable
class Grammar(Protocol):
    """A rule that the text must follow, such as a JSON schema.

    In an engine the worker asks it between two steps of all jobs: it should be quick, and must not
    use the engine.
    """

    def allowed(self, ids: Sequence[int]) -> Bool[Tensor, " vocab"] | None:
        """Return which tokens may follow the ids of the text so far; None allows all.

        The end token and the token that opens a picture are among them.
        """
        ...


def forbidden_bias(
    tokenizer: Tokenizer, vocab_size: int, *, allow_image: bool, device: torch.device
) -> Logits:
    """Return 0 for tokens that may be written and minus infinity for all others.

    Args:
        tokenizer: Ids behind its vocabulary, and those that are no text, are never written.
        vocab_size: Logits of the model, at least as many as the tokenizer's ids.
        allow_image: Whether the token that opens a picture may be written.
        device: Where the logits are.
    """
    bias = torch.zeros(vocab_size, device=device)
    bias[sorted(tokenizer.reserved)] = -torch.inf
    bias[tokenizer.vocab_size :] = -torch.inf
    bias[tokenizer.end] = 0.0
    if allow_image:
        bias[tokenizer.image_open] = 0.0
    return bias


def next_token(logits: Logits, config: TextSamplingConfig, *, generator: torch.Generator) -> int:
    """Choose a token: the most likely one, or a draw among those that the config leaves.

    Source: top-p, arXiv 1904.09751, section 3.1: the smallest set of most likely tokens whose
    probability reaches `top_p`; min-p, arXiv 2407.01082, section 3.

    Args:
        logits: Of one place; minus infinity forbids.
        config: Temperature 0 takes the most likely token.
        generator: Source of the draw; not touched at temperature 0.
    """
    if config.temperature == 0:
        return int(logits.argmax())
    scaled = logits / config.temperature
    if 0 < config.top_k < len(scaled):
        least = scaled.topk(config.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    probabilities = scaled.softmax(dim=-1)
    if config.min_p > 0:
        least = config.min_p * probabilities.max()
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    if config.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = (ordered.cumsum(dim=-1) - ordered) / ordered.sum()
        probabilities = probabilities.index_fill(0, order[before >= config.top_p], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def penalise(logits: Logits, ids: Collection[int], *, penalty: float) -> Logits:
    """Make tokens that were written before, each named once, less likely.

    Source: arXiv 1909.05858, section 4.1.
    """
    known = torch.tensor(sorted(ids), dtype=torch.long, device=logits.device)
    values = logits[known]
    return logits.index_copy(0, known, torch.where(values > 0, values / penalty, values * penalty))


class TextWriter:
    """One text while it is written: chooses tokens and says which characters are certain.

    Attributes:
        ids: Tokens taken so far.
        is_stopped: Whether a stop string was written; the text then ends before it.
        log_prob: Of the token chosen last, where the config asks for it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: TextSamplingConfig,
        *,
        bias: Logits,
        generator: torch.Generator,
        history: Sequence[int] = (),
        grammar: Grammar | None = None,
        whole: bool = False,
    ) -> None:
        """Begin a text.

        Args:
            tokenizer: Turns ids into characters.
            config: How tokens are chosen.
            bias: Added to all logits; minus infinity forbids.
            generator: Source of all draws.
            history: Text tokens before this text, for the repetition penalty.
            grammar: Rule on the tokens.
            whole: Whether all characters are held back until the text ends.
        """
        self.ids: list[int] = []
        self.is_stopped = False
        self._tokenizer, self._config, self._bias = tokenizer, config, bias
        self._generator, self._seen, self._grammar = generator, set(history), grammar
        self._decoder = tokenizer.decode_stream()
        self._stops = StopStrings(config.stop)
        self._whole, self._text = whole, ""
        self._log_probs: list[float] = []
        self.log_prob: float | None = None

    def choose(self, logits: Logits) -> int:
        """Choose the next token; it belongs to the text only once it is taken.

        Raises:
            RequestError: The grammar allows no token.
        """
        logits = logits + self._bias
        allowed = None if self._grammar is None else self._grammar.allowed(self.ids)
        if allowed is not None:
            logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
            if not bool((logits > -torch.inf).any()):
                raise RequestError("the grammar allows no token here")
        if self._config.repetition_penalty != 1:
            logits = penalise(logits, self._seen, penalty=self._config.repetition_penalty)
        token = next_token(logits, self._config, generator=self._generator)
        if self._config.log_probs:
            self.log_prob = float(logits.log_softmax(dim=-1)[token])
        return token

    def take(self, token: int) -> TextDelta | None:
        """Append a token; return the characters that are now certain, if there are any."""
        self.ids.append(token)
        self._seen.add(token)
        if self.log_prob is not None:
            self._log_probs.append(self.log_prob)
        self._text += self._stops.push(self._decoder.push(token))
        self.is_stopped = self._stops.is_found
        return None if self._whole else self._delta()

    def flush(self) -> TextDelta | None:
        """End the text; return the characters held back until now."""
        if not self.is_stopped:
            self._text += self._stops.push(self._decoder.flush()) + self._stops.flush()
        return self._delta()

    def finish(self) -> list[int]:
        """Return the ids of the text that stands; those of a stop string are not among them."""
        if not self.is_stopped:
            return self.ids
        return self._tokenizer.encode(self._stops.shown)

    def _delta(self) -> TextDelta | None:
        if not self._text:
            return None
        text, self._text = self._text, ""
        log_probs, self._log_probs = tuple(self._log_probs), []
        return TextDelta(text, log_probs)


class StopStrings:
    """Characters on their way to the reader; what may be the start of a stop string waits.

    Attributes:
        is_found: Whether a stop string has come.
        shown: All characters let through.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.is_found = False
        self.shown = ""
        self._stops, self._held = list(stops), ""

    def push(self, text: str) -> str:
        """Take characters and return those that are certain not to belong to a stop string."""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.is_found = True
            return self._show(min(places))
        return self._show(len(self._held) - self._possible())

    def flush(self) -> str:
        """Return what was held back."""
        return self._show(len(self._held))

    def _show(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        self.shown += text
        return text

    def _possible(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        lengths = range(min(len(self._held), max(map(len, self._stops), default=0)), 0, -1)
        ends = (length for length in lengths
                if any(stop.startswith(self._held[-length:]) for stop in self._stops))  # fmt: skip
        return next(ends, 0)
