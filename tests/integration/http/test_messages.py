"""The Messages API over the real HTTP server: errors, keys, models, streams."""

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.core.backend import TokenCount
from ccproxy.core.errors import ClaudeFailed, Overloaded, RateLimited
from ccproxy.core.stream import Failed
from ccproxy.web.access import key_id
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.support.backend import started
from tests.support.raw import request
from tests.support.server import KEY
from tests.support.waiting import until

VERSION = {"anthropic-version": "2026-10-21"}
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}


def header(response: Any, name: str) -> str | None:
    found = response.headers.getRawHeaders(name)
    return found[0] if found else None


async def told(response: Any, status: int, kind: str) -> Any:
    """The error of a response, whose form is checked."""
    document = await response.json()
    assert response.code == status, document
    assert set(document) == {"type", "error", "request_id"}
    assert document["type"] == "error"
    assert document["error"]["type"] == kind
    assert document["request_id"] == header(response, "request-id")
    assert document["request_id"] == header(response, "x-request-id")
    return document["error"]


@pytest.mark.parametrize(
    "path", ["/messages", "/v1/messages", "/v1/messages?beta=true"]
)
@ensureDeferred
async def test_a_message(http: HTTP, path: str) -> None:
    http.backend.asked = lambda ask: ask.answer("one", " two")
    http.backend.ignored = ("temperature", "messages[0].x,\n\u00fc")
    http.backend.adjusted = ("tools[0]", "tools[0]")
    http.backend.efforts = lambda _: "high"
    more = {"temperature": 1, "metadata": {}, "output_config": {"effort": "max"}}
    response = await http.request("POST", path, json={**HELLO, **more})
    document = await response.json()
    assert response.code == 200
    assert document["content"][0]["text"] == "one two"
    assert document["usage"]["input_tokens"] == 3
    ignored = header(response, "x-ccproxy-ignored")
    assert ignored == "metadata, temperature, messages[0].x???"
    assert header(response, "x-ccproxy-adjusted") == "tools[0]"
    assert header(response, "x-ccproxy-effort") == "high"
    [asked] = http.backend.asks
    assert asked.question.owner == key_id(KEY)
    assert set(asked.request.extra) == {"temperature"}
    assert header(response, "request-id") == header(response, "x-request-id")


@ensureDeferred
async def test_many_names_are_cut(http: HTTP) -> None:
    http.backend.asked = lambda ask: ask.answer("one")
    http.backend.adjusted = tuple(f"messages[{number}]" for number in range(1000))
    response = await http.request("POST", "/v1/messages", json=HELLO)
    told = header(response, "x-ccproxy-adjusted") or ""
    assert told.startswith("messages[0], messages[1], ")
    assert told.endswith(", ...")
    assert len(told) < 2100
    await response.content()


@ensureDeferred
async def test_a_stream(http: HTTP) -> None:
    http.backend.asked = lambda ask: ask.answer("one", " two")
    body = {**HELLO, "stream": True}
    response = await http.request("POST", "/v1/messages", json=body)
    assert header(response, "content-type") == "text/event-stream; charset=utf-8"
    text = (await response.content()).decode()
    assert text.startswith("event: message_start\ndata: ")
    assert text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"x-api-key": "wrong", "authorization": AUTHORIZATION},
        {"x-api-key": KEY, "authorization": "Bearer wrong"},
    ],
)
@ensureDeferred
async def test_either_header_opens(http: HTTP, headers: dict[str, str]) -> None:
    http.backend.asked = lambda ask: ask.answer("one")
    response = await http.request(
        "POST", "/v1/messages", key=None, headers=headers, json=HELLO
    )
    assert response.code == 200
    await response.content()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        # Refused before there is a route, and by the route.
        ("POST", "/v1/messages", {}),
        ("POST", "/messages/count_tokens", {"x-api-key": "wrong"}),
        ("GET", "/v1/models", VERSION),
        ("GET", "/v1/models/opus", {**VERSION, "authorization": "Bearer wrong"}),
    ],
)
@ensureDeferred
async def test_a_wrong_key(
    http: HTTP, method: str, path: str, headers: dict[str, str]
) -> None:
    body = {"data": b"{}"} if method == "POST" else {}
    response = await http.request(method, path, key=None, headers=headers, **body)
    await told(response, 401, "authentication_error")
    assert http.backend.asks == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "invalid_request_error"),
        (b"[]", 400, "invalid_request_error"),
        (b'{"messages": []}', 400, "invalid_request_error"),
        (json.dumps({**HELLO, "model": "gpt-4o"}).encode(), 404, "not_found_error"),
        (b"x" * 20_000, 413, "request_too_large"),
    ],
)
@ensureDeferred
async def test_requests_that_are_refused(
    http: HTTP, body: bytes, status: int, kind: str
) -> None:
    response = await http.request("POST", "/v1/messages", data=body)
    error = await told(response, status, kind)
    assert error["message"]


@ensureDeferred
async def test_too_large_in_pieces(http: HTTP) -> None:
    headers = {"authorization": AUTHORIZATION, "transfer_encoding": "chunked"}
    client = await http.connect()
    client.send(request("POST", "/v1/messages", **headers))
    client.send(b"4e20\r\n" + b"x" * 20_000)
    await client.expect(b'"}')
    client.abort()
    start, _, document = client.received.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nrequest-id: req_" in start
    assert json.loads(document)["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RateLimited("x", retry_after_seconds=3), 429, "rate_limit_error"),
        (Overloaded("x", retry_after_seconds=3), 529, "overloaded_error"),
        (ClaudeFailed("x", retry_after_seconds=3), 502, "api_error"),
    ],
)
@ensureDeferred
async def test_failures(
    http: HTTP, error: Any, status: int, kind: str, stream: bool
) -> None:
    http.backend.asked = lambda ask: ask.tell(Failed(error))
    body = {**HELLO, "stream": stream}
    response = await http.request("POST", "/v1/messages", json=body)
    await told(response, status, kind)
    assert header(response, "retry-after") == "3"


@ensureDeferred
async def test_a_failure_within_a_stream(http: HTTP) -> None:
    body = {**HELLO, "stream": True}
    asked = http.request("POST", "/v1/messages", json=body)
    await until(lambda: http.backend.asks)
    http.backend.asks[0].tell(*started("one"))
    response = await asked
    http.backend.asks[0].tell(Failed(RateLimited("too much")))
    *_, last, end = (await response.content()).decode().split("\n\n")
    assert (response.code, end) == (200, "")
    kind, data = last.split("\n")
    assert kind == "event: error"
    document = json.loads(data.removeprefix("data: "))
    assert document["error"] == {"type": "rate_limit_error", "message": "too much"}
    assert document["request_id"] == header(response, "request-id")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
    ],
)
@ensureDeferred
async def test_what_there_is_not(
    http: HTTP, method: str, path: str, status: int, kind: str
) -> None:
    response = await http.request(method, path, json=HELLO)
    await told(response, status, kind)
    assert header(response, "x-should-retry") is None


@ensureDeferred
async def test_tokens_are_counted(http: HTTP) -> None:
    body = {**HELLO, "system": " ", "tools": None}
    response = await http.request("POST", "/v1/messages/count_tokens", json=body)
    assert (response.code, await response.json()) == (200, {"input_tokens": 7})
    assert header(response, "x-ccproxy-token-count") == "exact"
    assert header(response, "x-ccproxy-ignored") == "system"
    assert header(response, "request-id") == header(response, "x-request-id")
    [(request, owner)] = http.backend.counted
    assert [m.content for m in request.messages] == ["hello"]
    assert owner
    http.backend.token_count = TokenCount(tokens=9, is_exact=False)
    response = await http.request("POST", "/v1/messages/count_tokens", json=HELLO)
    assert await response.json() == {"input_tokens": 9}
    assert header(response, "x-ccproxy-token-count") == "estimated"
    assert http.backend.asks == []


@ensureDeferred
async def test_a_count_that_is_refused(http: HTTP) -> None:
    for body, status in (({"messages": []}, 400), ({**HELLO, "model": "x"}, 404)):
        response = await http.request("POST", "/v1/messages/count_tokens", json=body)
        kind = "invalid_request_error" if status == 400 else "not_found_error"
        await told(response, status, kind)


@ensureDeferred
async def test_models_in_the_words_of_who_asks(http: HTTP) -> None:
    response = await http.request("GET", "/v1/models?limit=2", headers=VERSION)
    page = await response.json()
    assert [model["type"] for model in page["data"]] == ["model", "model"]
    assert page["has_more"] is True
    response = await http.request("GET", "/v1/models/opus", headers=VERSION)
    assert (await response.json())["display_name"] == "opus"
    response = await http.request("GET", "/v1/models/gpt-4o", headers=VERSION)
    await told(response, 404, "not_found_error")
    response = await http.request("GET", "/v1/models?limit=0", headers=VERSION)
    await told(response, 400, "invalid_request_error")
    response = await http.request("GET", "/v1/models")
    assert (await response.json())["object"] == "list"
    response = await http.request("GET", "/v1/models?client_version=0.171.0")
    catalogue = await response.json()
    assert {model["visibility"] for model in catalogue["models"]} == {"list"}


@ensureDeferred
async def test_other_routes_keep_their_own_errors(http: HTTP) -> None:
    response = await http.request("POST", "/v1/chat/completions", data=b"[]")
    document = await response.json()
    assert document["error"]["code"] == "invalid_request"
    assert header(response, "request-id") is None
