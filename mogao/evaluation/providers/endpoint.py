"""A model behind an OpenAI-compatible chat endpoint, as a judge and for questions on pictures.

In: texts and pixels. Out: replies, and the probabilities of "yes" and "no". The key comes from an
environment variable that the user names; it is in no file, no message and no name. Nothing is sent
to anybody but the address that the user gives.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from mogao.data.images import data_url
from mogao.errors import ConfigError, RequestError
from mogao.evaluation.providers import yes_no
from mogao.evaluation.providers.base import YesNoProbabilities
from mogao.sequence import Pixels

TIMEOUT_SECONDS = 120.0
RETRIES = 4
MAX_REPLY_TOKENS = 4096
_MAX_REPLY_CHARACTERS = 65_536  # a server may not heed the limit in tokens
_MAX_NAME_CHARACTERS = 200
_TOP_TOKENS = 20  # the most that the protocol allows
_NO_KEY = "none"  # the library demands one, local servers want none


class Endpoint:
    """Asks one model of one server; temperature 0, each message on its own.

    Args:
        url: Base address, such as "http://localhost:8000/v1".
        model: Name of the model on that server.
        key_variable: Environment variable that holds the key; empty for a server without keys.
        timeout_seconds: Longest wait for one reply.
        retries: How often a busy or failing server is asked again, with growing pauses.
        max_reply_tokens: Where the server cuts a reply; a cut reply is handed on as it is.

    Attributes:
        name: Model and host as the user gave them.
        served: Names of the models that answered, as the server says, where they differ.

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
        self._gives_logprobs = False
        self.name = f"endpoint:{model}@{self._host}"
        self.served: set[str] = set()
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
        """Return the reply to a yes/no question about a picture, which asks for one word.

        Raises:
            RequestError: As `ask`.
        """
        return self.ask(yes_no.message(question), pictures=[pixels])

    def yes_no_probabilities(self, pixels: Pixels, question: str) -> YesNoProbabilities:
        """Return how probable "yes" and "no" are as the first token of the reply.

        The server names its 20 likeliest tokens; a word that is not among them has 0. So has a
        reply without a token, such as a refusal, of a server that named them before.

        Raises:
            ConfigError: The server gives no log-probabilities.
            RequestError: As `ask`.
        """
        options = {"max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_TOKENS}
        choice = self._complete(yes_no.message(question), [pixels], **options)
        tokens = getattr(getattr(choice, "logprobs", None), "content", None)
        top = getattr(tokens[0], "top_logprobs", None) if tokens else None
        if not top and not self._gives_logprobs:
            raise ConfigError(
                f"{self._host} gives no log-probabilities of {self._model!r}, so there is no "
                "probability of yes: take a server that gives them, or a local model"
            )
        self._gives_logprobs = True
        return yes_no.summed((one.token, math.exp(one.logprob)) for one in top or ())

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
        served = getattr(reply, "model", None)
        if isinstance(served, str) and served not in ("", self._model):
            secret = self._client.api_key if self._key_variable else "\0"
            self.served.add(served.replace(secret, "***")[:_MAX_NAME_CHARACTERS])
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
