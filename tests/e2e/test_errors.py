"""The table of errors, on the real CLI, with an upstream that fails.

``CCPROXY_REFUSALS=1`` has every refusal of the table.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from ccproxy.server.scripted_reply import Reply
from tests.conftest import ExpectedErrors
from tests.support.log_texts import CLI_ENDED
from tests.support.naming import named
from tests.support.raw import connect, request
from tests.support.refusals import DATA, INVALID, PATH, PDF, REFUSED, TABLE, USED_UP
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

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NO_LOGIN = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": ""}


def refuses(status: int, kind: str, message: str, **headers: str) -> Reply:
    return Reply(status=status, error=(kind, message), headers=headers)


def refusals() -> list[str]:
    """One of each status, type and code, because each ends its CLI; or all of them.

    `tests/unit/claude/protocol/test_failures.py` has the whole table.
    """
    if os.environ.get("CCPROXY_REFUSALS"):
        return [*REFUSED]
    found: dict[object, str] = {}
    for said, (status, kind, message) in REFUSED.items():
        found.setdefault((status, kind, message.startswith(PATH), TABLE[said]), said)
    return [*found.values()]


@pytest.mark.parametrize("said", refusals())
@ensureDeferred
async def test_the_provider_s_refusal(
    proxy: Start, upstream: Upstream, said: str
) -> None:
    provider_status, kind, message = REFUSED[said]
    message = message or said
    headers = {"retry-after": "1"} if provider_status == 429 else {}
    upstream.script(refuses(provider_status, kind, message, **headers))
    image = {"type": "image_url", "image_url": {"url": PNG}}
    content = [{"type": "text", "text": "hello"}, image]
    response = await proxy().chat({"role": "user", "content": content})
    document = await response.json()
    error = document["error"]
    assert (response.code, error["code"]) == TABLE[said]
    assert error_errors(document) == []
    # The provider's own words, behind the client's own path.
    bare = message.removeprefix(DATA).removeprefix(PDF).removesuffix(".")
    assert bare in error["message"]
    if message.startswith(PATH):
        assert error["param"] == "messages[0].content[1].image_url.url"
        assert error["message"].startswith(f"{error['param']}: ")
    # Nothing that the CLI says to somebody at its own prompt.
    for words_of_the_cli in ("API Error", "Run --model", "inference gateway", "/login"):
        assert words_of_the_cli not in error["message"]
    is_limit = error["code"] in ("rate_limit_exceeded", "overloaded")
    retry_after = response.headers.getRawHeaders("retry-after")
    assert (retry_after is not None) == (is_limit or "regain access" in message)
    should_retry = response.headers.getRawHeaders("x-should-retry")
    is_final = error["code"] in ("claude_not_logged_in", "insufficient_quota")
    assert should_retry == (["false"] if is_final else None)


@ensureDeferred
async def test_a_used_up_plan(proxy: Start, upstream: Upstream) -> None:
    login = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy", "ANTHROPIC_API_KEY": ""}
    server = proxy(environment=login)
    limits = "anthropic-ratelimit-unified-"
    for said, claim in USED_UP.items():
        reset = str(int(time.time()) + 7200)
        headers = {
            f"{limits}status": "rejected",
            f"{limits}reset": reset,
            f"{limits}representative-claim": claim,
        }
        upstream.script(refuses(429, "rate_limit_error", "slow down", **headers))
        response = await server.chat("hello")
        document = await response.json()
        assert (response.code, document["error"]["code"]) == TABLE[said]
        # The CLI's words, which name the window; versions have other names for it.
        assert re.search(r"You've hit your .*limit", document["error"]["message"])
        [retry_after] = response.headers.getRawHeaders("retry-after")
        assert 7000 < int(retry_after) <= 7200
    # Too much within a minute: no limit of the plan's.
    upstream.script(
        refuses(429, "rate_limit_error", "too many tokens", **{"retry-after": "3600"})
    )
    response = await server.chat("hello")
    error = (await response.json())["error"]
    assert (error["code"], error["message"]) == (
        "rate_limit_exceeded",
        "too many tokens",
    )


PARTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hello"},
                    {"type": "image_url", "image_url": {"url": PNG}},
                ],
            }
        ]
    },
    "/v1/responses": {
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "hello"},
                    {"type": "input_image", "image_url": PNG},
                ],
            }
        ]
    },
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "hello"},
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": PNG.partition(",")[2],
                        },
                    },
                ],
            }
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "image", "whole"),
    [
        (
            "/v1/chat/completions",
            "messages[0].content[1].image_url.url",
            "messages",
        ),
        ("/v1/responses", "input[0].content[1].image_url", "input"),
        ("/v1/messages", "messages[0].content[1].source.data", "messages"),
    ],
)
@ensureDeferred
async def test_the_path_is_the_client_s_own(
    proxy: Start, upstream: Upstream, path: str, image: str, whole: str
) -> None:
    """Streamed and not, by turns: each refusal ends its CLI."""
    server = proxy()
    for message, param, stream in (
        (f"{DATA}image exceeds 5 MB maximum", image, False),
        ("prompt is too long: 9 tokens > 8 maximum", whole, True),
    ):
        upstream.script(refuses(400, INVALID, message))
        response = await server.post(path, {**PARTS[path], "stream": stream})
        error = (await response.json())["error"]
        assert response.code == 400
        if path == "/v1/messages":
            assert error["type"] == INVALID
        else:
            assert error["param"] == param
        words = message.removeprefix(DATA)
        assert words in error["message"]
        if message.startswith(DATA):
            assert error["message"] == f"{param}: {words}"


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_schemas_that_are_too_complex_are_sent_once_more_without_strict(
    proxy: Start, upstream: Upstream, stream: bool
) -> None:
    def script(body: Mapping[str, Any]) -> Reply:
        if any(tool.get("strict") for tool in body["tools"]):
            return refuses(400, INVALID, "The compiled grammar is too large, which …")
        return Reply()

    upstream.script(script)
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema |= {"required": ["a"], "additionalProperties": False}
    tool = {"name": "look", "input_schema": schema}
    hello: dict[str, Any] = {
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "hi"}],
    }
    asked = {**hello, "tools": [{**tool, "strict": True}]}
    response = await proxy().post("/v1/messages", {**asked, "stream": stream})
    await response.text()
    assert response.code == 200
    assert named(response.headers) == ["tools[0].strict"]
    assert upstream.bodies[-1]["tools"] == [tool]


@pytest.mark.parametrize("deltas", [0, 2])
@pytest.mark.parametrize(
    ("kind", "message", "status", "code"),
    [
        ("overloaded_error", "Overloaded", 503, "overloaded"),
        ("api_error", "Internal server error", 502, "claude_failed"),
        ("rate_limit_error", "too many", 429, "rate_limit_exceeded"),
        (INVALID, "Output blocked by content filtering policy", 400, "content_filter"),
        (
            *(INVALID, "prompt is too long: 9 tokens > 8 maximum"),
            *(400, "context_length_exceeded"),
        ),
    ],
)
@ensureDeferred
async def test_a_refusal_within_the_answer(
    proxy: Start,
    upstream: Upstream,
    kind: str,
    message: str,
    status: int,
    code: str,
    deltas: int,
) -> None:
    event = {"type": "error", "error": {"type": kind, "message": message}}
    upstream.script(answer("one two three", raw_events=((deltas, event),)))
    response = await proxy().chat("hello")
    error = (await response.json())["error"]
    assert (response.code, error["code"]) == (status, code)
    assert message in error["message"]

    streamed = await proxy().chat("hello", stream=True)
    text = await streamed.text()
    # What the CLI writes at once arrives in one read or in two.
    assert streamed.code in (200, status)
    last = events(text)[-1] if streamed.code == 200 else text
    error = json.loads(last)["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert "API Error" not in text


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
    expected_errors.allow(CLI_ENDED)
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
