"""The table of errors, on the real CLI, with an upstream that fails."""

import json
import os
import signal
from collections.abc import Callable

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.server.fake_upstream import Reply
from tests.conftest import ExpectedErrors
from tests.support.raw import connect, request
from tests.support.server import (
    KEY,
    RunningProxy,
    Upstream,
    answer,
    chat_body,
    events,
)
from tests.support.spec import error_errors
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

NO_LOGIN = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": ""}


def refuses(status: int, kind: str, message: str, **headers: str) -> Reply:
    return Reply(status=status, error=(kind, message), headers=headers)


TABLE = [
    pytest.param(
        refuses(400, "invalid_request_error", "prompt is too long: 9 > 8 maximum"),
        400,
        "context_length_exceeded",
        "too long",
        id="too long",
    ),
    pytest.param(
        refuses(400, "invalid_request_error", "stop_sequences: no good"),
        400,
        "invalid_request",
        # By the client's own name for it.
        "stop: no good",
        id="invalid",
    ),
    pytest.param(
        refuses(401, "authentication_error", "invalid x-api-key"),
        503,
        "claude_not_logged_in",
        "logs in",
        id="wrong login",
    ),
    pytest.param(
        refuses(404, "not_found_error", "model: nothing"),
        404,
        "model_not_found",
        "model",
        id="no model",
    ),
    pytest.param(
        refuses(429, "rate_limit_error", "slow down", **{"retry-after": "1"}),
        429,
        "rate_limit_exceeded",
        "slow down",
        id="rate limit",
    ),
    pytest.param(
        refuses(529, "overloaded_error", "Overloaded"),
        503,
        "overloaded",
        "Overloaded",
        id="overloaded",
    ),
    pytest.param(
        refuses(500, "api_error", "Internal server error"),
        502,
        "claude_failed",
        "Internal server error",
        id="server error",
    ),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reply", "status", "code", "words"), TABLE)
@ensureDeferred
async def test_upstream_refusal(
    proxy: Start,
    upstream: Upstream,
    reply: Reply,
    status: int,
    code: str,
    words: str,
    stream: bool,
) -> None:
    upstream.script(reply)
    response = await proxy().chat("hello", stream=stream)
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (status, code)
    assert error_errors(document) == []
    assert words in document["error"]["message"]
    # Nothing that the CLI says to somebody at its own prompt.
    for words_of_the_cli in ("API Error", "Run --model", "inference gateway"):
        assert words_of_the_cli not in document["error"]["message"]
    retry_after = response.headers.getRawHeaders("retry-after")
    assert (retry_after is not None) == (status == 429 or code == "overloaded")
    should_retry = response.headers.getRawHeaders("x-should-retry")
    assert should_retry == (["false"] if code == "claude_not_logged_in" else None)


@pytest.mark.parametrize("is_refused", [True, False])
@ensureDeferred
async def test_lost_connection_is_told_in_the_log(
    proxy: Start, upstream: Upstream, request_lines: list[str], is_refused: bool
) -> None:
    environment = {"CLAUDE_CODE_MAX_RETRIES": "0"}
    if is_refused:
        # Nothing listens at this port.
        environment["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:9"
    upstream.script(answer("one two three", cut_after=2))
    response = await proxy(environment=environment).chat("hello")
    assert response.code == 502
    await response.content()
    [line] = request_lines
    assert " 502 claude_failed (connection_lost) " in line


@ensureDeferred
async def test_billing_is_a_quota(proxy: Start, upstream: Upstream) -> None:
    upstream.script(
        refuses(400, "invalid_request_error", "Your credit balance is too low")
    )
    response = await proxy().chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (429, "insufficient_quota")


@ensureDeferred
async def test_not_logged_in(proxy: Start) -> None:
    server = proxy(environment=NO_LOGIN)
    response = await server.chat("hello")
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (503, "claude_not_logged_in")
    assert "logs in" in document["error"]["message"]
    assert response.headers.getRawHeaders("x-should-retry") == ["false"]


@ensureDeferred
async def test_the_next_request_works(proxy: Start, upstream: Upstream) -> None:
    upstream.script(refuses(400, "invalid_request_error", "no"))
    server = proxy()
    assert (await server.chat("hello")).code == 400
    upstream.script(answer("fine"))
    response = await server.chat("hello")
    assert (await response.json())["choices"][0]["message"]["content"] == "fine"


@ensureDeferred
async def test_cli_killed_in_mid_answer(
    proxy: Start, upstream: Upstream, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("ended unexpectedly")
    held: Deferred[None] = Deferred()
    upstream.script(answer("one two three", hold_after=2, held=held))
    server = proxy()
    response = await server.chat("hello", stream=True)
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b" two" in b"".join(received))
    for pid in server.busy:
        os.kill(pid, signal.SIGKILL)
    await done
    held.callback(None)
    *_, last = events(b"".join(received).decode())
    error = json.loads(last)["error"]
    assert error["code"] == "claude_failed"
    assert "SIGKILL" in error["message"]


@ensureDeferred
async def test_client_that_goes_away_stops_the_answer(
    proxy: Start, upstream: Upstream
) -> None:
    held: Deferred[None] = Deferred()
    upstream.script(answer("one two three", hold_after=2, held=held))
    server = proxy()
    client = await connect(reactor, server.number)
    body = json.dumps(chat_body("hello", stream=True)).encode()
    client.send(
        request("POST", "/v1/chat/completions", body, authorization=f"Bearer {KEY}")
    )
    await client.expect(b'" two"')
    client.abort()
    await until(lambda: upstream.api.gone == 1)
    await server.settled()
    held.callback(None)


@ensureDeferred
async def test_client_that_goes_away_without_stream_stops_the_answer(
    proxy: Start, upstream: Upstream
) -> None:
    held: Deferred[None] = Deferred()
    upstream.script(answer("one two three", hold_after=2, held=held))
    server = proxy()
    asked = server.chat("hello")
    asked.addErrback(lambda _: None)
    await until(lambda: upstream.bodies)
    asked.cancel()
    await until(lambda: upstream.api.gone == 1)
    await server.settled()
    held.callback(None)


@ensureDeferred
async def test_stopping_the_server_ends_streams_with_an_error(
    proxy: Start, upstream: Upstream, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("answers were cut off")
    held: Deferred[None] = Deferred()
    upstream.script(answer("one two three", hold_after=2, held=held))
    server = proxy(fresh=True)
    response = await server.chat("hello", stream=True)
    received: list[bytes] = []
    done = response.collect(received.append)
    await until(lambda: b" two" in b"".join(received))
    await server.stop()
    await done
    assert server.processes == 0
    *_, last = events(b"".join(received).decode())
    assert "being stopped" in json.loads(last)["error"]["message"]
    held.callback(None)
