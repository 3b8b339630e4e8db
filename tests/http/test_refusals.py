"""Requests that are refused before, or while, they are received."""

import json

import pytest
from pytest_twisted import ensureDeferred

from tests.http.conftest import AUTHORIZATION, HTTP, chat_bytes
from tests.support.raw import RawClient, request
from tests.support.spec import error_errors

CHAT = "/v1/chat/completions"


async def refusal(client: RawClient) -> tuple[int, str]:
    """The status and error code that a client is given, headers checked."""
    await client.expect(b'"code":"')
    head, _, body = client.received.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in headers)
    document = json.loads(body)
    assert error_errors(document) == []
    assert int(fields["content-length"]) == len(body)
    assert fields["connection"] == "close"
    assert fields["x-request-id"].startswith("req_")
    return int(status.split()[1]), document["error"]["code"]


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
    await client.expect(b"is no role")
    client.abort()
