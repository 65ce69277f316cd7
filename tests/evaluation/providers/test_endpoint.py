"""A chat endpoint is asked as its protocol says, and what goes wrong is told without the key."""

from __future__ import annotations

import base64
import json
import math
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from mogao.data.images import read_image
from mogao.errors import ConfigError, RequestError
from mogao.evaluation.providers.base import ChatJudge, Tools, VisualQuestions
from mogao.evaluation.providers.endpoint import Endpoint

KEY = "sk-test-0123456789"
PICTURE = np.arange(16 * 20 * 3, dtype=np.uint8).reshape(16, 20, 3)


def completion(content, *, model="m", **more):
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"} | more
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice],
    }  # fmt: skip


def first_token(**probabilities):
    top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in probabilities.items()]
    return {"content": [top[0] | {"top_logprobs": top}]}


class Server:
    """Gives prepared (status, reply) pairs in turn and keeps what it was sent."""

    def __init__(self):
        self.replies: list[tuple[int, Any]] = []
        self.requests: list[tuple[str, Any, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, self.headers, body))
                status, reply = outer.replies.pop(0)
                data = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-named-by-anybody")
    monkeypatch.setenv("MY_KEY", KEY)
    made = Server()
    yield made
    made.close()


def test_a_message_carries_pictures_then_text_at_temperature_zero(server):
    server.replies = [(200, completion("8"))]
    judge = Endpoint(server.url, "org/model", key_variable="MY_KEY")
    assert isinstance(judge, ChatJudge)
    assert judge.ask("How alike?", pictures=[PICTURE, PICTURE[::-1]]) == "8"
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("org/model", 0, 4096)
    first, second, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "How alike?"}
    for part, pixels in ((first, PICTURE), (second, PICTURE[::-1])):
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        assert np.array_equal(read_image(base64.b64decode(data)), pixels)


def test_no_key_of_the_environment_is_sent_unless_it_is_named(server):
    server.replies = [(200, completion("ok"))]
    Endpoint(server.url, "m").ask("hello")
    assert server.requests[0][1]["Authorization"] == "Bearer none"


def test_a_busy_server_is_asked_again(server):
    server.replies = [(503, {}), (429, {}), (200, completion("yes"))]
    endpoint = Endpoint(server.url, "m", retries=2)
    assert isinstance(endpoint, VisualQuestions)
    assert endpoint.answer(PICTURE, "Is it red?") == "yes"
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_named_with_its_status(server):
    server.replies = [(503, {"error": {"message": "full"}})] * 2
    with pytest.raises(RequestError, match=rf"{server.host}: status 503: .*full"):
        Endpoint(server.url, "m", retries=1).ask("hello")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_the_key_is_in_no_message_and_no_name(server, status):
    server.replies = [(status, {"error": {"message": f"Incorrect API key provided: {KEY}"}})]
    endpoint = Endpoint(server.url, "m", key_variable="MY_KEY")
    with pytest.raises(RequestError, match=f"status {status}") as caught:
        endpoint.ask("hello")
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in f"{endpoint.name} {endpoint!r}"
    assert endpoint.name == f"endpoint:m@{server.host}"
    server.replies = [(200, completion("ok", model=f"m {KEY}"))]
    endpoint.ask("hello")
    assert endpoint.served == {"m ***"}


@pytest.mark.parametrize("reply", ["{", "[]", "\x00", {"choices": []}, {"choices": [{"index": 0}]}])
def test_a_reply_of_another_protocol_is_named(server, reply):
    server.replies = [(200, reply)]
    with pytest.raises(RequestError, match=f"{server.host}: the reply is not"):
        Endpoint(server.url, "m").ask("hello")


def test_a_refusal_is_an_empty_reply(server):
    server.replies = [(200, completion(None, finish_reason="content_filter"))]
    assert Endpoint(server.url, "m").ask("hello") == ""


def test_an_endless_reply_is_refused(server):
    server.replies = [(200, completion("x" * 65_537))]
    with pytest.raises(RequestError, match="at most 65536 characters"):
        Endpoint(server.url, "m").ask("hello")


def asked(server):
    """The text of the last message."""
    return server.requests[-1][2]["messages"][0]["content"][-1]["text"]


def test_a_question_asks_for_one_word_unless_it_does_so_itself(server):
    server.replies = [(200, completion("yes"))] * 3
    endpoint = Endpoint(server.url, "m")
    endpoint.answer(PICTURE, "Is it red?")
    assert asked(server) == "Is it red?\nAnswer with one lower-case word: yes or no."
    endpoint.answer(PICTURE, "Is it red? Please answer yes or no.")
    assert asked(server) == "Is it red? Please answer yes or no."
    endpoint.ask("Is it red?")
    assert asked(server) == "Is it red?"


def test_the_probability_of_yes_counts_all_spellings_of_the_first_token(server):
    tokens = first_token(**{"Yes": 0.5, " yes": 0.1, "No": 0.15, "no": 0.05, "Maybe": 0.2})
    server.replies = [(200, completion("Yes", logprobs=tokens))]
    found = Endpoint(server.url, "m").yes_no_probabilities(PICTURE, "Is it red?")
    assert [found.yes, found.no] == pytest.approx([0.6, 0.2])
    assert found.share == pytest.approx(0.75)
    body = server.requests[0][2]
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)
    assert asked(server).endswith("yes or no.")


def test_a_word_that_is_not_among_the_likely_tokens_has_no_probability(server):
    replies = [first_token(No=0.9, The=0.1), first_token(The=0.9, A=0.1), {"content": None}]
    server.replies = [(200, completion("x", logprobs=tokens)) for tokens in replies]
    endpoint = Endpoint(server.url, "m")
    no, neither, refused = (endpoint.yes_no_probabilities(PICTURE, "Is it red?") for _ in replies)
    assert [no.yes, no.no] == pytest.approx([0.0, 0.9])
    assert no.failures == ()
    for one in (neither, refused):
        assert (one.yes, one.no, one.share) == (0.0, 0.0, 0.0)
        assert one.failures == ("neither yes nor no is likely",)


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}])
def test_a_server_without_log_probabilities_is_named(server, logprobs):
    server.replies = [(200, completion("Yes", logprobs=logprobs))]
    with pytest.raises(ConfigError, match=f"{server.host} gives no log-probabilities of 'm'"):
        Endpoint(server.url, "m").yes_no_probabilities(PICTURE, "Is it red?")


def test_the_model_that_the_server_names_stands_beside_the_one_that_was_asked_for(server):
    models = ["m", "m-2024", "m-2025", "m-2024"]
    server.replies = [(200, completion("ok", model=model)) for model in models]
    endpoint = Endpoint(server.url, "m")
    names = []
    for _ in models:
        endpoint.ask("hello")
        names.append(Tools(judge=endpoint).names["judge"])
    name = f"endpoint:m@{server.host}"
    both = f"{name} (served by m-2024, m-2025)"
    assert names == [name, f"{name} (served by m-2024)", both, both]
    assert endpoint.name == name


def test_a_server_that_is_not_there_is_named(server):
    server.server.server_close()
    with pytest.raises(RequestError, match=f"{server.host}: cannot connect"):
        Endpoint(server.url, "m", retries=0).ask("hello")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000/v1", "is no address"),
        ("file:///etc/passwd", "is no address"),
        ("http://host:port/v1", "broken host or port"),
        ("ftp://me:secret@host/v1", "environment variable"),
        ("http://me:secret@host/v1", "environment variable"),
        ("http://host/v1?api_key=secret", "environment variable"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Endpoint(url, "m")
    assert "secret" not in str(caught.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ConfigError, match="NOWHERE is not set"):
        Endpoint("http://host/v1", "m", key_variable="NOWHERE")


def test_a_variable_that_holds_no_key_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "one\ntwo")
    with pytest.raises(ConfigError, match="MY_KEY holds no key") as caught:
        Endpoint("http://host/v1", "m", key_variable="MY_KEY")
    assert "two" not in str(caught.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"pip install 'mogao\[eval\]'"):
        Endpoint("http://host/v1", "m")
