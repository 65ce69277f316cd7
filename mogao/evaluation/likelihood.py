"""How likely a given text is as the next words of a session.

In: a session that was told something, a text or several to choose from. Out: the log-probability
of each token, read one by one through the cache that decoding uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mogao.config import KEEP_ALL
from mogao.errors import RequestError
from mogao.sampling.session import Session
from mogao.sampling.text import forbidden_bias


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A text under a model.

    Attributes:
        log_probs: Of each token, among the tokens that a text may hold.
        is_greedy: Whether each is the most likely one.
    """

    log_probs: tuple[float, ...]
    is_greedy: bool

    @property
    def loss(self) -> float:
        """Mean negative log-probability of a token."""
        return -sum(self.log_probs) / len(self.log_probs)


@torch.inference_mode()
def likelihood_of(text: str, session: Session, *, ends: bool = False) -> Likelihood:
    """Return how likely a text is as the model's next words; the session is used up.

    Args:
        text: At least one token.
        session: Was told something.
        ends: Whether the end of the turn counts as one more token, so that a text that is the
            beginning of another is not the likelier one for that.

    Raises:
        RequestError: The text or the document is empty.
    """
    state = session.state
    parts, transcript = state.parts, state.transcript
    tokens = parts.tokenizer.encode(text)
    if not tokens or not transcript.segments:
        raise RequestError("the likelihood of a text needs a text and something before it")
    if ends:
        tokens = [*tokens, parts.tokenizer.end]
    vocab_size = parts.config.transformer.vocab_size
    bias = forbidden_bias(parts.tokenizer, vocab_size, allow_image=False, device=parts.device)
    transcript.open_turn("model")
    log_probs = []
    is_greedy = True
    for token in tokens:
        (context,) = state.read([(KEEP_ALL, transcript.spans)])
        assert context.logits is not None
        logits = context.logits[0] + bias
        log_probs.append(float(logits.log_softmax(dim=-1)[token]))
        is_greedy &= int(logits.argmax()) == token
        transcript.write_token(token)
    return Likelihood(tuple(log_probs), is_greedy)


@torch.inference_mode()
def likelihoods_of(texts: Sequence[str], session: Session) -> list[Likelihood]:
    """Return how likely each of some texts is as the model's next turn, its end included.

    What comes before is read once; the session is as it was but for an open turn.

    Raises:
        RequestError: A text or the document is empty.
    """
    state = session.state
    if state.transcript.segments:
        state.transcript.open_turn("model")
        state.read([(KEEP_ALL, state.transcript.spans)])
    return [likelihood_of(text, session.fork(seed=0), ends=True) for text in texts]
