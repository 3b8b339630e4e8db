"""Web pages in the user's browser get nothing unless their site is allowed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol

from ccproxy.web.access import AllowedHosts, CORSPolicy
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.support.raw import RawClient, request
from tests.support.websocket import open_socket

_REACTOR: Any = reactor
SITE = "https://chat.example"
CHAT = "/v1/chat/completions"
BODY = b'{"messages": [{"role": "user", "content": "x"}]}'


async def asked(http: HTTP, data: bytes) -> tuple[int, dict[str, str], Any]:
    """What comes back: status, headers, document."""
    client = await http.connect()
    client.send(data)
    await client.expect(b"\r\n\r\n")
    head, _, body = client.received.partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if int(headers.get("content-length", "0")):
        await client.expect(b"}}")
        body = client.received.partition(b"\r\n\r\n")[2]
    client.abort()
    return int(status.split()[1]), headers, json.loads(body) if body else None


def named(host: str, path: str = "/health", **headers: str) -> bytes:
    data = request("GET", path, **headers)
    return data.replace(b"host: localhost", f"host: {host}".encode())


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nope", "/v1//models"])
@ensureDeferred
async def test_rebound_name_is_refused(http: HTTP, path: str) -> None:
    data = named("rebound.example:8080", path, authorization=AUTHORIZATION)
    status, headers, document = await asked(http, data)
    assert (status, document["error"]["code"]) == (403, "foreign_host")
    assert "--allowed-hosts" in document["error"]["message"]
    assert headers["x-request-id"]
    assert "location" not in headers


@ensureDeferred
async def test_rebound_name_is_refused_before_its_body_is_read(http: HTTP) -> None:
    data = request("POST", CHAT, content_length="9000", authorization=AUTHORIZATION)
    data = data.replace(b"host: localhost", b"host: rebound.example")
    status, _, document = await asked(http, data)
    assert (status, document["error"]["code"]) == (403, "foreign_host")


@ensureDeferred
async def test_absolute_target_cannot_hide_the_name(http: HTTP) -> None:
    data = request("GET", "http://rebound.example/health")
    assert (await asked(http, data))[0] == 403


@ensureDeferred
async def test_allowed_name_is_served(serve: Callable[..., HTTP]) -> None:
    http = serve(hosts=AllowedHosts(["proxy.example"]))
    client = await http.connect()
    client.send(named("proxy.example:8443"))
    await client.expect(b"\r\n\r\nok")
    client.abort()


@ensureDeferred
async def test_unix_socket_takes_any_name(http: HTTP, tmp_path: Any) -> None:
    path = str(tmp_path / "socket")
    port = _REACTOR.listenUNIX(path, http.site)
    endpoint = UNIXClientEndpoint(_REACTOR, path)
    client: RawClient = await connectProtocol(endpoint, RawClient())
    client.send(named("whatever.example") + b"GET /health HTTP/1.0\r\n\r\n")
    received = await client.lost()
    assert received.count(b"\r\n\r\nok") == 2
    await maybeDeferred(port.stopListening)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""],
)
@ensureDeferred
async def test_simple_requests_get_nowhere(http: HTTP, content_type: str) -> None:
    """A page can send these without a preflight; but it does not know the key."""
    for path in (CHAT, "/v1/responses", "/v1/conversations", "/v1/responses/compact"):
        data = request("POST", path, BODY, origin=SITE, content_type=content_type)
        status, headers, document = await asked(http, data)
        assert (status, document["error"]["code"]) == (401, "invalid_api_key")
        assert "access-control-allow-origin" not in headers
    assert http.backend.asks == []


@ensureDeferred
async def test_key_is_not_taken_from_where_a_page_can_put_it(http: HTTP) -> None:
    key = AUTHORIZATION.removeprefix("Bearer ")
    for data in (
        request("GET", f"/v1/models?api_key={key}&authorization=Bearer%20{key}"),
        request("GET", "/v1/models", cookie=f"authorization={key}; api_key={key}"),
    ):
        assert (await asked(http, data))[0] == 401


@ensureDeferred
async def test_preflight_of_a_stranger_allows_nothing(http: HTTP) -> None:
    data = request(
        "OPTIONS",
        CHAT,
        origin=SITE,
        access_control_request_method="POST",
        access_control_request_private_network="true",
    )
    status, headers, _ = await asked(http, data)
    assert status == 204
    assert not [name for name in headers if name.startswith("access-control-")]


@ensureDeferred
async def test_named_site_may_ask(serve: Callable[..., HTTP]) -> None:
    http = serve(cors=CORSPolicy([SITE]))
    data = request(
        "OPTIONS",
        CHAT,
        origin=SITE,
        access_control_request_method="POST",
        access_control_request_headers="authorization,content-type,x-stainless-os",
        access_control_request_private_network="true",
    )
    status, headers, _ = await asked(http, data)
    assert status == 204
    assert headers["access-control-allow-origin"] == SITE
    assert headers["access-control-allow-methods"] == "post"
    assert "authorization" in headers["access-control-allow-headers"]
    assert "x-stainless-os" in headers["access-control-allow-headers"]
    assert headers["access-control-allow-private-network"] == "true"
    assert "origin" in headers["vary"]
    # It can read answers, and every kind of error.
    http.backend.asked = lambda ask: ask.answer("yes")
    ok = request("POST", CHAT, BODY, origin=SITE, authorization=AUTHORIZATION)
    bad = request("POST", CHAT, b"{}", origin=SITE, authorization=AUTHORIZATION)
    no_key = request("POST", CHAT, BODY, origin=SITE)
    malformed = request("POST", CHAT, BODY, origin=SITE, transfer_encoding="gzip")
    for data, expected in ((ok, 200), (bad, 400), (no_key, 401), (malformed, 400)):
        status, headers, _ = await asked(http, data)
        assert status == expected
        if data is not malformed:
            assert headers["access-control-allow-origin"] == SITE
    # Another site still cannot.
    data = request("POST", CHAT, BODY, origin="https://evil.example")
    assert "access-control-allow-origin" not in (await asked(http, data))[1]


@ensureDeferred
async def test_answer_says_that_it_depends_on_the_site(
    serve: Callable[..., HTTP],
) -> None:
    http = serve(cors=CORSPolicy([SITE]))
    _, headers, _ = await asked(http, request("GET", "/nope"))
    assert headers["vary"] == "origin"


@ensureDeferred
async def test_stream_can_be_read_by_a_named_site(serve: Callable[..., HTTP]) -> None:
    http = serve(cors=CORSPolicy(["*"]))
    http.backend.asked = lambda ask: ask.answer("yes")
    body = BODY.replace(b"{", b'{"stream": true, ', 1)
    client = await http.connect()
    client.send(request("POST", CHAT, body, origin=SITE, authorization=AUTHORIZATION))
    await client.expect(b"[DONE]")
    assert b"access-control-allow-origin: *" in client.received.lower()
    client.abort()


@pytest.mark.parametrize(
    ("origin", "status"),
    [(SITE, 101), ("https://evil.example", 403), ("null", 403), ("", 403)],
)
@ensureDeferred
async def test_websocket_of_a_page(
    serve: Callable[..., HTTP], origin: str, status: int
) -> None:
    http = serve(cors=CORSPolicy([SITE]))
    headers = {"authorization": AUTHORIZATION, "origin": origin}
    client = await open_socket(_REACTOR, http.number, headers)
    assert client.status == status
    client.transport.abortConnection()
    await client.lost()


@ensureDeferred
async def test_rebound_websocket_is_refused(http: HTTP) -> None:
    """The page and the Host are of one site then, but not of ours."""
    headers = {"authorization": AUTHORIZATION, "origin": "http://rebound.example"}
    client = await open_socket(_REACTOR, http.number, headers, host="rebound.example")
    assert client.status == 403
    client.transport.abortConnection()
    await client.lost()


@ensureDeferred
async def test_websocket_without_a_key_is_refused(http: HTTP) -> None:
    headers = {"origin": f"http://127.0.0.1:{http.number}"}
    client = await open_socket(_REACTOR, http.number, headers)
    assert client.status == 401
    client.transport.abortConnection()
    await client.lost()
