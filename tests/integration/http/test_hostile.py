"""Attacks on the port: ambiguous requests, slow clients, crowds, logs."""

import gzip
import json
from collections.abc import Callable
from io import StringIO
from threading import Event, get_ident
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider

from ccproxy.config.limits import ConnectionLimits
from ccproxy.core.backend import LARGE_BYTES
from ccproxy.core.stream import TextDelta
from ccproxy.server.logging import observer
from ccproxy.web.apart import LargeWork
from ccproxy.web.channel import Phase
from tests.integration.http.conftest import AUTHORIZATION, HTTP, chat_bytes
from tests.integration.http.refusals import refusal
from tests.support.backend import started
from tests.support.raw import RawClient, request
from tests.support.waiting import until

CHAT = "/v1/chat/completions"
HEAD = (
    f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: {AUTHORIZATION}\r\n"
).encode()
BODY = b'{"messages": [{"role": "user", "content": "x"}]}'
LENGTH = str(len(BODY)).encode()
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
END = b"0\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
# What another server may take for a request of its own.
SMUGGLED = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n"


def with_length(*lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + BODY


def in_chunks(data: bytes, *lines: bytes) -> bytes:
    lines = lines or (b"transfer-encoding: chunked",)
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + data


DOUBTFUL = {
    "both lengths": in_chunks(
        CHUNK + END, b"content-length: " + LENGTH, b"transfer-encoding: chunked"
    ),
    "both lengths, other order": in_chunks(
        CHUNK + END, b"transfer-encoding: chunked", b"content-length: 5"
    ),
    "length twice": with_length(*[b"content-length: " + LENGTH] * 2),
    "two lengths": with_length(b"content-length: 5", b"content-length: 6"),
    "length list": with_length(b"content-length: 5, 5"),
    "length with sign": with_length(b"content-length: +5"),
    "length in hex": with_length(b"content-length: 0x5"),
    "length with underscore": with_length(b"content-length: 4_4"),
    "blank before the colon": with_length(b"content-length : " + LENGTH),
    "folded length": with_length(b"content-length:", b" " + LENGTH),
    "folded coding": in_chunks(CHUNK + END, b"transfer-encoding:", b"\tchunked"),
    "folded first line": GET.replace(b"host", b" host") + b"\r\n",
    "coding identity": with_length(
        b"transfer-encoding: identity", b"content-length: " + LENGTH
    ),
    "coding hidden by identity": in_chunks(
        CHUNK + END, b"transfer-encoding: identity", b"transfer-encoding: chunked"
    ),
    "coding list": in_chunks(CHUNK + END, b"transfer-encoding: gzip, chunked"),
    "coding twice": in_chunks(CHUNK + END, *[b"transfer-encoding: chunked"] * 2),
    "coding unknown": in_chunks(CHUNK + END, b"transfer-encoding: xchunked"),
    "coding with a vertical tab": in_chunks(
        CHUNK + END, b"transfer-encoding: \x0bchunked"
    ),
    "chunks in HTTP/1.0": in_chunks(CHUNK + END).replace(b"/1.1", b"/1.0", 1),
    "chunk in 0x": in_chunks(b"0x" + CHUNK + END),
    "chunk with sign": in_chunks(b"+" + CHUNK + END),
    "negative chunk": in_chunks(b"-" + CHUNK + END),
    "chunk with blank": in_chunks(CHUNK.replace(b"\r\n", b" \r\n", 1) + END),
    "chunk without length": in_chunks(b"\r\n" + BODY),
    "chunk with more than its length": in_chunks(CHUNK[:-2] + b"xx\r\n" + END),
    "extension with a bare LF": in_chunks(CHUNK.replace(b"\r", b";a\nb\r", 1) + END),
    "endless extension": in_chunks(b"5;" + b"a" * 5000),
    "endless trailers": in_chunks(CHUNK + b"0\r\n" + b"x: y\r\n" * 20_000),
    "bare LF in a header": GET + b"a: b\nc: d\r\n\r\n",
    "bare CR in a header": GET + b"a: b\rc: d\r\n\r\n",
    "NUL in a header": GET + b"a: b\0c\r\n\r\n",
    "control characters in the path": GET.replace(b"/h", b"/\x1b[2J\x07h") + b"\r\n",
    "control characters in the method": b"G\x1b" + GET + b"\r\n",
    "blanks in the request line": GET.replace(b" ", b"  ") + b"\r\n",
    "no version": b"GET /health\r\n\r\n",
    "another version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "empty label": b"GET / HTTP/1.1\r\nhost: a..localhost\r\n\r\n",
    "long label": b"GET / HTTP/1.1\r\nhost: %s.localhost\r\n\r\n" % (b"x" * 64),
    "soft hyphen": b"GET / HTTP/1.1\r\nhost: a\xad.localhost\r\n\r\n",
    "two Hosts": GET + b"host: localhost\r\n\r\n",
    "star of another method": b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", DOUBTFUL.values(), ids=DOUBTFUL)
@ensureDeferred
async def test_doubtful_request_ends_its_connection(http: HTTP, data: bytes) -> None:
    """Two servers could read it differently; so nothing after it is a request."""
    http.backend.asked = lambda ask: ask.answer("yes")
    client = await http.connect()
    client.send(data + SMUGGLED)
    assert await refusal(client) == (400, "invalid_request")
    assert (await client.lost()).count(b"x-request-id: ") == 1
    assert http.backend.asks == []


@ensureDeferred
async def test_length_of_5000_digits(http: HTTP) -> None:
    """Python reads no number that long; Twisted hangs up with a traceback."""
    client = await http.connect()
    client.send(with_length(b"content-length: " + b"9" * 5000))
    assert await refusal(client) == (413, "request_too_large")
    client.abort()


@pytest.mark.parametrize("lines", [(b"\n",), (b"x\n", b"\n")])
@ensureDeferred
async def test_line_feed_alone_ends_no_line(http: HTTP, lines: tuple[bytes]) -> None:
    client = await http.connect()
    client.send(b"GET /health HTTP/1.1\nhost: localhost\n" + b"".join(lines))
    client.send(b"\r\n")
    assert await refusal(client) == (400, "invalid_request")
    client.abort()


@ensureDeferred
async def test_options_of_all_has_a_request_id(http: HTTP) -> None:
    client = await http.connect()
    client.send(b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await client.expect(b"\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 200")
    assert b"x-request-id: req_" in client.received.lower()
    client.abort()


@ensureDeferred
async def test_health_with_a_body_needs_no_key(http: HTTP) -> None:
    client = await http.connect()
    client.send(request("GET", "/health?a", b"x" * 4096) + SMUGGLED)
    await until(lambda: client.received.count(b"\r\n\r\nok") == 2)
    client.send(request("GET", "/health", content_length="4097"))
    await client.expect(b"invalid_api_key")
    client.abort()


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip"]
)
@ensureDeferred
async def test_compressed_body_is_refused_unread(http: HTTP, encoding: str) -> None:
    bomb = gzip.compress(b" " * 1_000_000)
    client = await http.connect()
    head = {"authorization": AUTHORIZATION, "content_encoding": encoding}
    client.send(request("POST", CHAT, content_length=str(len(bomb)), **head))
    assert await refusal(client) == (415, "unsupported_content_encoding")
    client.abort()


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"messages":' + b"[" * DEEP,
        b'{"messages":[{"role":"user","content":' + b'[{"a":' * DEEP,
        *(
            b'{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function",'
            b'"function":{"name":"f","parameters":' + opened * n + closed * n + b"}}]}"
            for n in (200, 500, 900, 990, 20_000)
            for opened, closed in ((b'{"items":', b"1" * 0 + b"}"), (b"[", b"]"))
        ),
        *(
            b'{"messages":[{"role":"user","content":"x"}],"response_format":{"type":'
            b'"json_schema","json_schema":{"name":"f","schema":'
            + b'{"properties":{"a":' * n
            + b"{}"
            + b"}}" * n
            + b"}}}"
            for n in (200, 450, 20_000)
        ),
        *(
            b'{"messages":[{"role":"user","content":"x"}],"metadata":'
            + b"[" * n
            + b"]" * n
            + b"}"
            for n in (900, 20_000)
        ),
    ],
    ids=range(18),
)
@ensureDeferred
async def test_deep_json_is_an_error_of_the_client(
    serve: Callable[..., HTTP], body: bytes
) -> None:
    http = serve(max_body=2**20)
    http.backend.asked = lambda ask: ask.answer("{}")
    for path in (CHAT, "/v1/responses", "/v1/conversations"):
        response = await http.request("POST", path, data=body)
        document = await response.json()
        assert response.code < 500, document


# Bodies at one time


LARGE = 100_000


def announce(size_bytes: int | None) -> bytes:
    """The head of a request with a large body, which is sent when it is welcome."""
    length = b"content-length: %d" % (size_bytes or 0)
    form = length if size_bytes is not None else b"transfer-encoding: chunked"
    return HEAD + form + b"\r\nexpect: 100-continue\r\n\r\n"


def padded(size_bytes: int) -> bytes:
    return BODY + b" " * (size_bytes - len(BODY))


@pytest.mark.parametrize("end", ["answered", "gone"])
@ensureDeferred
async def test_bodies_have_a_budget_until_their_requests_end(
    serve: Callable[..., HTTP], end: str
) -> None:
    limits = ConnectionLimits(memory_limit=2 * LARGE)
    http = serve(max_body=5 * LARGE, limits=limits)
    http.backend.asked = lambda ask: ask.answer("{}")
    first, second, late = [await http.connect() for _ in range(3)]
    for client, size_bytes in ((first, LARGE), (second, LARGE - 1000)):
        client.send(announce(size_bytes))
        await client.expect(b"100 Continue")
    late.send(announce(LARGE))
    assert await refusal(late) == (503, "overloaded")
    assert b"100 Continue" not in late.received
    assert b"retry-after: 2" in late.received
    # A small body is always read.
    assert (await http.request("POST", CHAT, data=BODY)).code == 200
    # A body without a length counts by what has come.
    chunked = await http.connect()
    chunked.send(announce(None))
    await chunked.expect(b"100 Continue")
    chunked.send(b"%x\r\n%b\r\n" % (LARGE, b" " * LARGE))
    assert b"503 Service Unavailable" in await chunked.lost()
    if end == "answered":
        first.send(padded(LARGE))
        await first.expect(b"200 OK")
    else:
        first.abort()
        await until(lambda: http.site.memory.held_bytes < LARGE)
    other = await http.connect()
    other.send(announce(LARGE))
    await other.expect(b"100 Continue")
    other.send(padded(LARGE))
    await other.expect(b"200 OK")
    second.abort()
    await until(lambda: not http.site.memory.held_bytes)
    for client in (first, late, chunked, other):
        client.abort()


@ensureDeferred
async def test_one_body_may_have_more_than_the_budget(
    serve: Callable[..., HTTP],
) -> None:
    http = serve(max_body=5 * LARGE, limits=ConnectionLimits(memory_limit=LARGE))
    http.backend.asked = lambda ask: ask.answer("{}")
    for size_bytes, status in ((5 * LARGE, 200), (5 * LARGE + 1, 413)):
        response = await http.request("POST", CHAT, data=padded(size_bytes))
        assert response.code == status
    assert not http.site.memory.held_bytes


# Many requests at once


@ensureDeferred
async def test_requests_that_come_together_are_answered_one_a_turn(
    serve: Callable[..., HTTP],
) -> None:
    """A read has more than a thousand of them: together they would take a second."""
    clock = Clock()
    channel: Any = serve(site_clock=clock).site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(SMUGGLED * 3 + GET)
    assert transport.value().count(b"\r\n\r\nok") == 1
    # Nothing more is read before the others had their turns.
    assert transport.producerState == "paused"
    clock.advance(0)
    assert transport.value().count(b"\r\n\r\nok") == 3
    assert transport.producerState == "producing"
    channel.dataReceived(b"\r\n")
    assert transport.value().count(b"\r\n\r\nok") == 4
    channel.connectionLost(Failure(ConnectionDone()))


@ensureDeferred
async def test_connection_is_lost_before_its_next_request(
    serve: Callable[..., HTTP],
) -> None:
    clock = Clock()
    channel: Any = serve(site_clock=clock).site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(SMUGGLED * 2)
    channel.connectionLost(Failure(ConnectionDone()))
    clock.advance(0)
    assert transport.value().count(b"\r\n\r\nok") == 1


# Slowness


def timed(serve: Callable[..., HTTP], **limits: Any) -> tuple[HTTP, Clock]:
    clock = Clock()
    return serve(site_clock=clock, limits=ConnectionLimits(**limits)), clock


async def drip(client: RawClient, clock: Clock, seen: Callable[[], int]) -> None:
    """Send a byte a second, each of which is seen before the next."""
    for _ in range(19):
        before = seen()
        client.send(b"x")
        await until(lambda n=before: seen() > n)  # type: ignore[misc]  # bound now
        clock.advance(1)
    assert not client.received
    clock.advance(1)


@ensureDeferred
async def test_head_that_comes_by_single_bytes(serve: Callable[..., HTTP]) -> None:
    http, clock = timed(serve, head_timeout=20)
    client = await http.connect()
    client.send(GET)
    await until(lambda: any(c.requests for c in http.site._channels))
    [channel] = http.site._channels
    await drip(client, clock, lambda: len(channel._buffer))
    assert await refusal(client) == (408, "request_timeout")
    client.abort()


@ensureDeferred
async def test_body_that_comes_by_single_bytes(serve: Callable[..., HTTP]) -> None:
    http, clock = timed(serve, body_timeout=20)
    client = await http.connect()
    client.send(HEAD + b"content-length: 100\r\n\r\n")
    await until(lambda: any(c.phase is Phase.BODY for c in http.site._channels))
    [channel] = http.site._channels
    asked: Any = channel.requests[0]
    await drip(client, clock, lambda: asked._received_bytes)
    assert await refusal(client) == (408, "request_timeout")
    client.abort()


@pytest.mark.parametrize("before", [b"", SMUGGLED])
@ensureDeferred
async def test_idle_connection_is_ended(
    serve: Callable[..., HTTP], before: bytes
) -> None:
    http, clock = timed(serve, head_timeout=20, keep_alive_timeout=20)
    client = await http.connect()
    await until(lambda: http.site._channels)
    if before:
        client.send(before)
        await client.expect(b"\r\n\r\nok")
    clock.advance(19)
    assert not client.is_lost
    clock.advance(1)
    assert (await client.lost()).count(b"HTTP/1.1") == (1 if before else 0)


@ensureDeferred
async def test_request_that_is_answered_has_all_the_time(
    serve: Callable[..., HTTP],
) -> None:
    http, clock = timed(serve)
    client = await http.connect()
    client.send(chat_bytes("hello"))
    await until(lambda: http.backend.asks)
    clock.advance(100_000)
    http.backend.asks[0].answer("yes")
    await client.expect(b"yes")
    client.abort()


@ensureDeferred
async def test_client_that_never_reads_is_left(serve: Callable[..., HTTP]) -> None:
    http, clock = timed(serve, reader_timeout=20)
    client = await http.connect()
    client.transport.pauseProducing()
    client.send(chat_bytes("hello", stream=True))
    await until(lambda: http.backend.asks)
    [asked] = http.backend.asks
    asked.tell(*started())
    while not asked.paused:
        asked.tell(TextDelta("x" * 100_000))
        await until(lambda: True)
    clock.advance(19)
    assert not asked.cancelled
    clock.advance(1)
    await until(lambda: asked.cancelled)
    client.abort()


@ensureDeferred
async def test_draining_does_not_wait_for_who_stands_still(
    serve: Callable[..., HTTP],
) -> None:
    http, clock = timed(serve)
    client = await http.connect()
    client.transport.pauseProducing()
    client.send(chat_bytes("hello"))
    await until(lambda: http.backend.asks)
    http.backend.asks[0].answer("x" * 10_000_000)
    await until(lambda: not any(channel.requests for channel in http.site._channels))
    drained = http.site.drain(30)
    clock.advance(1)
    http.site.abort_stalled()
    await drained
    client.abort()


@pytest.mark.parametrize("size", [20_000, 3_000_000])
@ensureDeferred
async def test_client_that_pipelines_much_and_leaves_is_noticed(
    http: HTTP, size: int
) -> None:
    """Twisted stops to read after 16 KiB, and so never hears of the end."""
    client = await http.connect()
    client.send(chat_bytes("hello"))
    await until(lambda: http.backend.asks)
    client.send(b"x" * size)
    [channel] = http.site._channels
    await until(lambda: channel._pipelined_bytes == size)
    assert sum(map(len, channel._dataBuffer)) == 0
    client.abort()
    await until(lambda: http.backend.asks[0].cancelled)


@ensureDeferred
async def test_answer_before_too_much_is_whole(http: HTTP) -> None:
    client = await http.connect()
    client.send(chat_bytes("hello"))
    await until(lambda: http.backend.asks)
    client.send(SMUGGLED * 1000)
    [channel] = http.site._channels
    await until(lambda: channel._pipelined_bytes == len(SMUGGLED) * 1000)
    http.backend.asks[0].answer("whole")
    assert (await client.lost()).count(b"HTTP/1.1 200") == 1
    assert b"whole" in client.received


# Crowds


@ensureDeferred
async def test_too_many_connections_are_told_so(serve: Callable[..., HTTP]) -> None:
    http, _ = timed(serve, max_connections=2)
    clients = [await http.connect() for _ in range(2)]
    await until(lambda: len(http.site._channels) == 2)
    late = await http.connect()
    assert await refusal(late) == (503, "overloaded")
    assert b"retry-after: 1" in late.received
    # The others are not harmed by it.
    for client in clients:
        client.send(SMUGGLED)
        await client.expect(b"\r\n\r\nok")
        client.abort()
    late.abort()


@ensureDeferred
async def test_who_asks_nothing_makes_room(serve: Callable[..., HTTP]) -> None:
    http, clock = timed(serve, max_connections=2)
    busy = await http.connect()
    busy.send(chat_bytes("hello"))
    await until(lambda: http.backend.asks)
    slow = await http.connect()
    slow.send(b"GET /health HT")
    await until(lambda: len(http.site._channels) == 2)
    clock.advance(2)
    late = await http.connect()
    late.send(SMUGGLED)
    await late.expect(b"\r\n\r\nok")
    await slow.lost()
    http.backend.asks[0].answer("yes")
    await busy.expect(b"yes")
    for client in (busy, late):
        client.abort()


@ensureDeferred
async def test_flood_of_connections_is_bounded(serve: Callable[..., HTTP]) -> None:
    http, _ = timed(serve, max_connections=1)
    clients = [await http.connect() for _ in range(100)]
    await until(lambda: sum(client.is_lost for client in clients) >= 35)
    assert len(http.site._channels) <= 65
    for client in clients:
        client.abort()


# The log


class Lines:
    """All that is logged meanwhile, as the operator's log has it."""

    def __init__(self, log_format: str) -> None:
        self.file = StringIO()
        write = observer(self.file, level="debug", log_format=log_format)

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            write(event)

        self._observe = observe
        globalLogPublisher.addObserver(observe)

    def stop(self) -> list[str]:
        globalLogPublisher.removeObserver(self._observe)
        return self.file.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("log_format", ["text", "json"])
@ensureDeferred
async def test_no_request_makes_a_line_of_its_own(http: HTTP, log_format: str) -> None:
    fake = "FAKE\r\n2026-01-01T00:00:00+0000 [ccproxy#info] FAKE \x1b[31m\u2028FAKE"
    quoted = "FAKE%0d%0a2026-01-01T00:00:00+0000%20[ccproxy]%20FAKE%1b[31m"
    lines = Lines(log_format)
    body = {"model": fake, "messages": [{"role": fake, "content": fake}]}
    for method, path in (
        ("POST", CHAT),
        ("GET", f"/v1/models/{quoted}"),
        ("GET", f"/{quoted}"),
        ("FAKE", f"/v1/responses/{quoted}"),
    ):
        response = await http.request(
            method,
            path,
            json=body,
            headers={"user-agent": quoted},
        )
        assert response.code < 500
        await response.content()
    client = await http.connect()
    client.send(b"FAKE\x1b[31m / HTTP/1.1\r\nuser-agent: FAKE\r\n\r\n")
    await client.expect(b"400")
    client.abort()
    written = lines.stop()
    assert len(written) >= 5
    assert not any("FAKE" in line for line in written)
    if log_format == "json":
        assert all(json.loads(line)["level"] for line in written)


# Large requests


@ensureDeferred
async def test_a_large_body_is_decoded_while_the_reactor_goes_on() -> None:
    goes_on, work = Event(), LargeWork()
    reactor.callLater(0, goes_on.set)
    assert await work.run(LARGE_BYTES + 1, goes_on.wait, 60)
    assert await work.run(LARGE_BYTES, get_ident) == get_ident()


@pytest.mark.parametrize("route", [CHAT, "/v1/messages", "/v1/responses"])
@ensureDeferred
async def test_a_large_body_is_read_as_a_small_one(
    serve: Callable[..., HTTP], route: str
) -> None:
    http = serve(max_body=2**24)
    http.backend.asked = lambda ask: ask.answer("{}")
    text = "a pair \ud83d\ude00 " * 2**17
    message = {"role": "user", "content": text + "\ud83d"}
    field = "input" if route == "/v1/responses" else "messages"
    body = json.dumps({field: [message], "max_tokens": 10}).encode()
    response = await http.request("POST", route, data=body)
    assert response.code == 200
    assert response.headers.hasHeader("x-ccproxy-adjusted")
    [ask] = http.backend.asks
    assert ask.request.size_bytes > LARGE_BYTES
    content: Any = ask.request.messages[-1].content
    whole = content if isinstance(content, str) else content[0].value.text
    assert whole == "a pair \U0001f600 " * 2**17 + "\ufffd"
