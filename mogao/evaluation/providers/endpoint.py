"""A model behind an OpenAI-compatible chat endpoint, as a judge and for questions on pictures.

In: texts and pixels. Out: replies, and the probability of "yes". The key comes from an environment
variable that the user names; it is in no file, no message and no name. Nothing is sent to anybody
but the address that the user gives.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from mogao.data.images import data_url
from mogao.errors import ConfigError, RequestError
from mogao.sequence import Pixels

TIMEOUT_SECONDS = 120.0
RETRIES = 4
MAX_REPLY_TOKENS = 4096
_MAX_REPLY_CHARACTERS = 65_536  # a server may not heed the limit in tokens
_TOP_TOKENS = 20  # the most that the protocol allows
_NO_KEY = "none"  # the library demands one, local servers want none
_AROUND_WORDS = " \t\r\n\"'.,:;!*\u2581\u0120"  # the last two stand for a space in vocabularies


class Endpoint:
    """Asks one model of one server; temperature 0, each message on its own.

    Args:
        url: Base address, such as "http://localhost:8000/v1".
        model: Name of the model on that server.
        key_variable: Environment variable that holds the key; empty for a server without keys.
        timeout_seconds: Longest wait for one reply.
        retries: How often a busy or failing server is asked again, with growing pauses.
        max_reply_tokens: Where the server cuts a reply; a cut reply is handed on as it is.

    Raises:
        ConfigError: The library is missing, the address is not one or holds a secret, or the
            variable is not set.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        max_reply_tokens: int = MAX_REPLY_TOKENS,
    ) -> None:
        try:
            from openai import OpenAI
        except ImportError:
            raise ConfigError(
                "an endpoint needs the openai library: pip install 'mogao[eval]'"
            ) from None
        self._host = _host(url)
        self._model = model
        self._key_variable = key_variable
        self._timeout_seconds = timeout_seconds
        self._max_reply_tokens = max_reply_tokens
        self.name = f"endpoint:{model}@{self._host}"
        self._client: Any = OpenAI(
            base_url=url,
            api_key=_key(key_variable),
            timeout=timeout_seconds,
            max_retries=retries,
        )

    def ask(self, text: str, *, pictures: Sequence[Pixels] = ()) -> str:
        """Return the reply to one message: the pictures, then the text; empty for a refusal.

        Raises:
            RequestError: The server cannot be reached, refuses, or does not speak the protocol.
        """
        choice = self._complete(text, pictures, max_tokens=self._max_reply_tokens)
        content = getattr(choice.message, "content", None) or ""
        if not isinstance(content, str) or len(content) > _MAX_REPLY_CHARACTERS:
            raise RequestError(
                f"{self._host}: the reply of {self._model!r} is not a text of at most "
                f"{_MAX_REPLY_CHARACTERS} characters"
            )
        return content

    def answer(self, pixels: Pixels, question: str) -> str:
        """Return the reply to a question about a picture.

        Raises:
            RequestError: As `ask`.
        """
        return self.ask(question, pictures=[pixels])

    def probability_of_yes(self, pixels: Pixels, question: str) -> float:
        """Return the share of "yes" among "yes" and "no" at the first token of the reply.

        Raises:
            ConfigError: The server gives no log-probabilities.
            RequestError: Neither word is among the likely tokens, or as `ask`.
        """
        options = {"max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_TOKENS}
        choice = self._complete(question, [pixels], **options)
        tokens = getattr(getattr(choice, "logprobs", None), "content", None)
        top = getattr(tokens[0], "top_logprobs", None) if tokens else None
        if not top:
            raise ConfigError(
                f"{self._host} gives no log-probabilities of {self._model!r}, so there is no "
                "probability of yes: take a server that gives them, or a local model"
            )
        return yes_share(((one.token, one.logprob) for one in top), who=self.name)

    def _complete(self, text: str, pictures: Sequence[Pixels], **options: Any) -> Any:
        """The first choice that the server offers for a message."""
        import openai

        content: list[Any] = [
            {"type": "image_url", "image_url": {"url": data_url(pixels)}} for pixels in pictures
        ]
        content.append({"type": "text", "text": text})
        try:
            reply = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": content}],
                temperature=0,
                **options,
            )
        except (openai.OpenAIError, ValueError) as error:
            # "from None": the cause holds the request with its headers
            raise RequestError(f"{self._host}: {self._reason(error)}") from None
        choices = getattr(reply, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise RequestError(
                f"{self._host}: the reply is not a chat completion; is the URL right?"
            )
        return choices[0]

    def _reason(self, error: Exception) -> str:
        """What went wrong, without a word that could hold the key."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return f"no reply within {self._timeout_seconds:g} s"
        if isinstance(error, openai.APIConnectionError):
            return "cannot connect"
        if not isinstance(error, openai.APIStatusError):
            return "the reply is not JSON"
        status = error.status_code
        if status in {401, 403}:  # servers quote the key in this message
            asked = self._key_variable or "no variable: name one"
            return f"status {status}: access refused; the key was taken from {asked}"
        said = error.message.replace(self._client.api_key, "***")
        return f"status {status}: {said:.300}"


def yes_share(tokens: Iterable[tuple[str, float]], *, who: str) -> float:
    """Return the share of "yes" among all spellings of "yes" and "no".

    Args:
        tokens: Likely first tokens of a reply with their log-probabilities.
        who: Name of the model, for the message.

    Raises:
        RequestError: No token is "yes" or "no".
    """
    mass = {"yes": 0.0, "no": 0.0}
    seen = []
    for token, logprob in tokens:
        seen.append(token)
        word = token.strip(_AROUND_WORDS).casefold()
        if word in mass:
            mass[word] += math.exp(logprob)
    total = sum(mass.values())
    if not total:
        raise RequestError(f'{who}: expected "yes" or "no" first, the likely tokens are {seen[:5]}')
    return mass["yes"] / total


def _host(url: str) -> str:
    """The host and port of an address without secrets."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError("the address of the endpoint has a broken host or port") from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"the address of {parts.hostname} holds more than host and path; "
            "a key belongs into an environment variable"
        )
    if not is_address:
        raise ConfigError(f"the endpoint {url!r} is no address; expected http(s)://HOST[:PORT]/v1")
    return parts.netloc


def _key(variable: str) -> str:
    """The key in an environment variable."""
    if not variable:
        return _NO_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} is not set; it must hold the key")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"the environment variable {variable} holds no key: it is not one word")
    return key
