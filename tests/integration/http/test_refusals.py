"""Requests that are refused before their body is received."""

import json

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import provider

from tests.integration.http.conftest import AUTHORIZATION, HTTP, chat_bytes
from tests.integration.http.refusals import refusal
from tests.support.raw import request

CHAT = "/v1/chat/completions"


@ensureDeferred
async def test_no_body_is_read_without_a_key(http: HTTP) -> None:
    client = await http.connect()
    client.send(request("POST", CHAT, content_length="100000000"))
    assert await refusal(client) == (401, "invalid_api_key")
    client.abort()


@ensureDeferred
async def test_body_over_the_limit_is_refused_by_its_length(http: HTTP) -> None:
    client = await http.connect()
    head = request("POST", CHAT, content_length="10001", authorization=AUTHORIZATION)
    client.send(head)
    assert await refusal(client) == (413, "request_too_large")
    client.abort()


@ensureDeferred
async def test_client_is_not_invited_to_send_what_is_refused(http: HTTP) -> None:
    client = await http.connect()
    client.send(
        request(
            "POST",
            CHAT,
            content_length="10001",
            authorization=AUTHORIZATION,
            expect="100-continue",
        )
    )
    assert await refusal(client) == (413, "request_too_large")
    assert b"100 Continue" not in client.received
    client.abort()


@ensureDeferred
async def test_body_at_the_limit_is_served(http: HTTP) -> None:
    http.backend.asked = None
    body = b'{"messages":[{"role":"tool"}]}'.ljust(10_000)
    client = await http.connect()
    client.send(request("POST", CHAT, body, authorization=AUTHORIZATION))
    await client.expect(b"400 Bad Request")
    client.abort()


@ensureDeferred
async def test_chunked_body_is_refused_when_it_passes_the_limit(http: HTTP) -> None:
    client = await http.connect()
    client.send(
        request("POST", CHAT, transfer_encoding="chunked", authorization=AUTHORIZATION)
    )
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    client.send(chunk * 2)
    client.send(chunk * 50)
    assert await refusal(client) == (413, "request_too_large")
    client.abort()


@ensureDeferred
async def test_client_that_goes_on_sending_still_sees_the_answer(http: HTTP) -> None:
    client = await http.connect()
    head = request("POST", CHAT, content_length="3000000", authorization=AUTHORIZATION)
    client.send(head + b" " * 3_000_000)
    assert await refusal(client) == (413, "request_too_large")
    client.abort()


@ensureDeferred
async def test_refused_connection_is_closed(http: HTTP) -> None:
    client = await http.connect()
    client.send(request("POST", CHAT, content_length="5"))
    assert b"401" in await client.lost()


BAD_REQUESTS = [
    pytest.param(b"nonsense\r\n\r\n", id="request line"),
    pytest.param(b"GET / HTTP/1.1\r\nno colon\r\n\r\n", id="header"),
    pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", id="long path"),
    pytest.param(
        b"GET / HTTP/1.1\r\nx: " + b"a" * 20_000 + b"\r\n\r\n", id="long header"
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 600 + b"\r\n", id="many headers"
    ),
    pytest.param(
        request("POST", CHAT, b"{}", content_length="2", transfer_encoding="chunked"),
        id="two lengths",
    ),
    pytest.param(
        request("POST", CHAT, content_length="x", authorization=AUTHORIZATION),
        id="no length",
    ),
    pytest.param(
        request("POST", CHAT, transfer_encoding="chunked", authorization=AUTHORIZATION)
        + b"zz\r\n",
        id="bad chunk",
    ),
]


@pytest.mark.parametrize("data", BAD_REQUESTS)
@ensureDeferred
async def test_malformed_request_gets_an_error_document(
    http: HTTP, data: bytes
) -> None:
    client = await http.connect()
    client.send(data)
    assert await refusal(client) == (400, "invalid_request")
    client.abort()


@ensureDeferred
async def test_request_in_single_bytes(http: HTTP) -> None:
    client = await http.connect()
    for byte in chat_bytes({"role": "nobody"}):
        client.send(bytes([byte]))
    await client.expect(b"is not a role")
    client.abort()


@ensureDeferred
async def test_what_came_with_a_refused_request_is_not_read(http: HTTP) -> None:
    """A whole second request in the refused one's bytes is part of its body."""
    client = await http.connect()
    head = request("POST", CHAT, content_length="10", authorization="Bearer nope")
    client.send(head + b"0123456789" + request("GET", "/health") * 3)
    assert await refusal(client) == (401, "invalid_api_key")
    assert (await client.lost()).count(b"HTTP/1.1") == 1


@ensureDeferred
async def test_chunks_after_the_limit_are_not_parsed(http: HTTP) -> None:
    client = await http.connect()
    head = request(
        "POST", CHAT, transfer_encoding="chunked", authorization=AUTHORIZATION
    )
    chunk = b"2711\r\n" + b" " * 10_001 + b"\r\n"
    client.send(head + chunk + b"nonsense\r\n" * 3)
    assert await refusal(client) == (413, "request_too_large")
    assert (await client.lost()).count(b"HTTP/1.1") == 1


@ensureDeferred
async def test_refused_client_can_read_to_the_end(http: HTTP) -> None:
    """The server says that it is done, instead of cutting the connection later."""
    client = await http.connect()
    client.send(request("POST", CHAT, b"{}"))
    received = await client.lost()
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    assert client.reason is not None
    assert client.reason.check(ConnectionDone)


@ensureDeferred
async def test_host_that_is_not_utf8(http: HTTP) -> None:
    client = await http.connect()
    client.send(b"GET /health HTTP/1.1\r\nhost: \xff\r\n\r\n")
    assert await refusal(client) == (400, "invalid_request")
    client.abort()


@ensureDeferred
async def test_absolute_form_of_a_path(http: HTTP) -> None:
    client = await http.connect()
    client.send(request("GET", "http://localhost:1/health"))
    await client.expect(b"\r\n\r\nok")
    client.send(request("GET", "http://127.0.0.1"))
    await client.expect(b"The base URL is ")
    client.abort()


@ensureDeferred
async def test_refusals_can_be_found_in_the_log(http: HTTP) -> None:
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(eventAsText(event))

    globalLogPublisher.addObserver(observe)
    for data in (request("POST", CHAT, b"{}"), request("GET", "/secret-path")):
        client = await http.connect()
        client.send(data)
        await client.expect(b'"code":"')
        client.abort()
        head = client.received.decode().lower()
        identifier = head.partition("x-request-id: ")[2].partition("\r\n")[0]
        assert any(identifier in line for line in lines)
    globalLogPublisher.removeObserver(observe)
    assert not any("secret-path" in line for line in lines)
