"""Event streams: back pressure, keep-alive, errors before and after the start."""

import json
import re
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import provider
from zope.interface.verify import verifyObject

from ccproxy.core.errors import Cause, ClaudeFailed, RateLimited
from ccproxy.core.stream import ContentBlockStop, Failed, TextDelta, UpstreamRetry
from ccproxy.web.event_stream import KEEP_ALIVE_SECONDS, PING, SSEWriter
from tests.conftest import ExpectedErrors
from tests.integration.http.conftest import HTTP, chat_bytes
from tests.support.backend import (
    FINISHED,
    STARTED,
    TEXT_STARTED,
    ScriptedRequest,
    started,
)
from tests.support.raw import RawClient
from tests.support.server import KEY, events
from tests.support.waiting import until


async def stream(http: HTTP, **fields: Any) -> tuple[RawClient, ScriptedRequest]:
    client = await http.connect()
    client.send(chat_bytes("hello", stream=True, **fields))
    await until(lambda: http.backend.asks)
    return client, http.backend.asks[-1]


@ensureDeferred
async def test_nothing_is_sent_before_there_is_something_to_say(http: HTTP) -> None:
    client, ask = await stream(http)
    ask.tell(UpstreamRetry("overloaded", 1, 0.5))
    ask.tell(Failed(RateLimited("slow down", retry_after_seconds=1)))
    await client.expect(b"slow down")
    assert client.received.startswith(b"HTTP/1.1 429")
    assert b"\r\nContent-Type: application/json" in client.received
    client.abort()


@ensureDeferred
async def test_error_after_the_start_is_the_last_event(http: HTTP) -> None:
    client, ask = await stream(http)
    ask.tell(*started("half"))
    await client.expect(b"half")
    ask.tell(Failed(ClaudeFailed("it broke")))
    await client.expect(b"0\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 200")
    head = client.received.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\ncontent-type: text/event-stream; charset=utf-8" in head
    assert b"\r\ncache-control: no-cache" in head
    assert b"\r\nx-accel-buffering: no" in head
    assert b"[DONE]" not in client.received
    assert client.received.index(b"it broke") > client.received.index(b"half")
    client.abort()


@ensureDeferred
async def test_what_arrives_together_leaves_in_one_chunk(http: HTTP) -> None:
    client, ask = await stream(http)
    ask.tell(*started("a", "b"), FINISHED)
    await client.expect(b"0\r\n\r\n")
    body = client.received.partition(b"\r\n\r\n")[2]
    size, _, rest = body.partition(b"\r\n")
    assert rest[int(size, 16) :] == b"\r\n0\r\n\r\n"
    client.abort()


@ensureDeferred
async def test_keep_alive_while_nothing_comes(http: HTTP) -> None:
    client, ask = await stream(http)
    http.clock.advance(KEEP_ALIVE_SECONDS)
    await client.expect(b": keep-alive\n")
    assert client.received.startswith(b"HTTP/1.1 200")
    ask.tell(*started())
    http.clock.advance(KEEP_ALIVE_SECONDS - 1)
    ask.tell(TextDelta("text"))
    http.clock.advance(KEEP_ALIVE_SECONDS - 1)
    assert client.received.count(b": keep-alive") == 1
    http.clock.advance(1)
    await until(lambda: client.received.count(b": keep-alive") == 2)
    ask.tell(FINISHED)
    await client.expect(b"[DONE]")
    client.abort()


@ensureDeferred
async def test_a_comment_tells_what_is_waited_for(http: HTTP) -> None:
    client, ask = await stream(http)
    ask.tell(UpstreamRetry("rate_limit", 1, 3.5))
    http.clock.advance(KEEP_ALIVE_SECONDS)
    notice = b": waiting for the model's provider (rate_limit), try 2 in 3.5 s\n"
    await client.expect(notice)
    ask.tell(UpstreamRetry("rate_limit\n\ndata: x", 2, 7))
    await client.expect(b"(rate_limit data: x), try 3 in 7.0 s\n")
    ask.tell(Failed(RateLimited("slow down")))
    await client.expect(b"0\r\n\r\n")
    assert client.received.startswith(b"HTTP/1.1 200")
    assert b'data: {"error":{"message":"slow down"' in client.received
    client.abort()


def fields_of(frames: str) -> list[list[str]]:
    """The fields of each event, as a client finds them that ends events at empty lines.

    So reads OpenAI's SDK for Go: a frame of comments alone is an event to it, whose
    missing data it then fails to decode.
    """
    *whole, rest = frames.split("\n\n")
    assert rest == ""
    return [
        [line for line in frame.split("\n") if not line.startswith(":")]
        for frame in whole
    ]


ROUTES = ["/v1/chat/completions", "/v1/messages", "/v1/responses"]


@pytest.mark.parametrize("route", ROUTES)
@ensureDeferred
async def test_what_keeps_a_stream_alive_confuses_no_parser(
    http: HTTP, route: str
) -> None:
    """Before the first event, between two events, and while a retry is waited for."""
    http.backend.asked = lambda ask: None
    message = {"role": "user", "content": "hello"}
    field = "input" if route == "/v1/responses" else "messages"
    body = {field: [message], "max_tokens": 10, "stream": True}
    asked = http.request("POST", route, json=body)
    await until(lambda: http.backend.asks)
    http.clock.advance(KEEP_ALIVE_SECONDS)
    (ask,) = http.backend.asks
    ask.tell(UpstreamRetry("overloaded", 1, 3.5))
    http.clock.advance(KEEP_ALIVE_SECONDS)
    ask.tell(*started("text"))
    http.clock.advance(KEEP_ALIVE_SECONDS)
    ask.tell(UpstreamRetry("overloaded", 2, 3.5))
    ask.tell(ContentBlockStop(), FINISHED)
    text = await (await asked).text()
    assert text.count(": waiting for the model's provider") == 3
    pings = 3 if route == "/v1/messages" else 0
    assert text.count(": keep-alive\n") == 3 - pings
    assert text.count(PING.decode()) == pings
    for fields in fields_of(text):
        *_, data = fields
        name, _, value = data.partition(": ")
        assert name == "data"
        assert value == "[DONE]" or json.loads(value)


@ensureDeferred
async def test_slow_reader_pauses_the_question(http: HTTP) -> None:
    client, ask = await stream(http)
    client.transport.pauseProducing()
    text = "x" * 10_000
    ask.tell(*started())
    told = 0
    while not ask.paused:
        ask.tell(TextDelta(text))
        told += 1
        await until(lambda: True)
        assert told < 10_000
    for _ in range(50):
        http.clock.advance(KEEP_ALIVE_SECONDS)
    client.transport.resumeProducing()
    await until(lambda: not ask.paused)
    ask.tell(FINISHED)
    await client.expect(b"[DONE]")
    # A full socket is not filled further.
    assert b": keep-alive" not in client.received
    assert client.received.count(text.encode()) == told
    client.abort()


@ensureDeferred
async def test_client_that_goes_away_ends_the_question(http: HTTP) -> None:
    client, ask = await stream(http)
    ask.tell(*started("half"))
    await client.expect(b"half")
    client.abort()
    await until(lambda: ask.cancelled)
    # Whatever still comes harms nobody.
    ask.tell(TextDelta("late"), FINISHED)


@ensureDeferred
async def test_client_that_goes_away_unstreamed_ends_the_question(http: HTTP) -> None:
    client = await http.connect()
    client.send(chat_bytes("hello"))
    await until(lambda: http.backend.asks)
    client.abort()
    await until(lambda: http.backend.asks[0].cancelled)


@ensureDeferred
async def test_client_that_goes_away_while_paused_ends_the_question(
    http: HTTP,
) -> None:
    client, ask = await stream(http)
    client.transport.pauseProducing()
    ask.tell(*started())
    while not ask.paused:
        ask.tell(TextDelta("x" * 100_000))
        await until(lambda: True)
    client.abort()
    await until(lambda: ask.cancelled)


@ensureDeferred
async def test_several_choices_in_one_stream(http: HTTP) -> None:
    client, _ = await stream(http, n=2)
    first = http.backend.asks[0]
    first.tell(STARTED)
    await until(lambda: len(http.backend.asks) == 2)
    second = http.backend.asks[1]
    second.answer("b")
    first.tell(TEXT_STARTED, TextDelta("a"), ContentBlockStop(), FINISHED)
    await client.expect(b"[DONE]")
    assert client.received.count(b'"finish_reason":"stop"') == 2
    client.abort()


@ensureDeferred
async def test_one_failing_choice_ends_the_stream(http: HTTP) -> None:
    client, _ = await stream(http, n=2)
    [first] = http.backend.asks
    first.tell(*started("half"))
    await client.expect(b"half")
    _, second = http.backend.asks
    second.tell(Failed(ClaudeFailed("it broke")))
    await client.expect(b"0\r\n\r\n")
    assert first.cancelled
    assert b"[DONE]" not in client.received
    client.abort()


@ensureDeferred
async def test_answer_that_is_there_at_once(http: HTTP) -> None:
    http.backend.asked = lambda ask: ask.answer("quick")
    response = await http.chat("hello", stream=True)
    *_, last, done = events(await response.text())
    assert done == "[DONE]"
    assert json.loads(last)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_log_tells_what_happened_and_nothing_that_was_said(
    http: HTTP, stream: bool
) -> None:
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(eventAsText(event) + repr(event))

    globalLogPublisher.addObserver(observe)
    http.backend.asked = lambda ask: ask.answer("the answer")
    response = await http.chat("the question", stream=stream)
    await response.content()
    globalLogPublisher.removeObserver(observe)
    [line] = [line for line in lines if "POST /chat/completions" in line]
    identifier = response.headers.getRawHeaders("x-request-id")[0]
    assert f"{identifier} POST /chat/completions 200 ok" in line
    assert "model test-model, 3 tokens in, 2 out" in line
    for secret in ("the answer", "the question", KEY):
        assert not any(secret in text for text in lines)


@pytest.mark.parametrize("stream", [False, True])
@ensureDeferred
async def test_log_tells_the_cause_beside_the_code_and_nothing_that_was_said(
    http: HTTP, stream: bool
) -> None:
    lines: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(eventAsText(event) + repr(event))

    globalLogPublisher.addObserver(observe)
    lost = ClaudeFailed("the provider's words", cause=Cause.CONNECTION_LOST)
    http.backend.asked = lambda ask: ask.tell(*started("the answer"), Failed(lost))
    response = await http.chat("the question", stream=stream)
    await response.content()
    globalLogPublisher.removeObserver(observe)
    [line] = [line for line in lines if "POST /chat/completions" in line]
    assert f" {response.code} claude_failed (connection_lost) " in line
    assert "'cause': 'connection_lost'" in line
    for secret in ("the provider's words", "the answer", "the question", KEY):
        assert not any(secret in text for text in lines)


@ensureDeferred
async def test_log_of_a_code_that_tells_everything_has_no_cause(
    http: HTTP, request_lines: list[str]
) -> None:
    await (await http.chat("hello", temperature="hot")).content()
    [line] = request_lines
    assert re.search(r" 400 invalid_request \d+ ms, model -, ", line)


def test_stream_is_a_push_producer() -> None:
    from twisted.internet.interfaces import IPushProducer

    assert IPushProducer.implementedBy(SSEWriter)
    verifyObject(IPushProducer, SSEWriter(None, None, None))  # type: ignore[arg-type]  # not run


# Faults of ours, wherever they are: the request ends, and no one else is blamed.


def break_encoder(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("secret detail")

    names = {
        "stream": "stream.ChatStream._finish",
        "document": "response.MessageBuilder.receive",
    }
    monkeypatch.setattr(f"ccproxy.api.chat.{names[kind]}", fail)


@pytest.mark.parametrize("kind", ["stream", "document"])
@ensureDeferred
async def test_fault_in_a_dialect_is_a_500(
    http: HTTP,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    expected_errors.allow("secret detail")
    break_encoder(monkeypatch, kind)
    asked = http.chat("hello", stream=kind == "stream")
    await until(lambda: http.backend.asks)
    http.backend.asks[0].answer("whole")
    response = await asked
    document = await response.json()
    assert (response.code, document["error"]["code"]) == (500, "internal_error")
    assert "secret" not in document["error"]["message"]
    assert http.backend.asks[0].cancelled


@ensureDeferred
async def test_fault_in_mid_stream_cuts_the_connection(
    http: HTTP, expected_errors: ExpectedErrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_errors.allow("secret detail")
    client, ask = await stream(http)
    ask.tell(*started("half"))
    await client.expect(b"half")
    break_encoder(monkeypatch, "stream")
    ask.tell(FINISHED)
    received = await client.lost()
    assert not received.endswith(b"0\r\n\r\n")
    assert b"secret" not in received
    assert ask.cancelled


# Stopping the server.


@ensureDeferred
async def test_drain_lets_an_answer_end_and_then_closes(http: HTTP) -> None:
    idle = await http.connect()
    busy, ask = await stream(http)
    ask.tell(*started("half"))
    await busy.expect(b"half")
    drained = http.site.drain(60)
    await idle.lost()
    assert not busy.is_lost
    ask.tell(FINISHED)
    assert (await busy.lost()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    await drained


@ensureDeferred
async def test_drain_does_not_wait_for_ever(http: HTTP) -> None:
    client, ask = await stream(http)
    ask.tell(*started("half"))
    await client.expect(b"half")
    await http.site.drain(0.05)
    await client.lost()
    await until(lambda: ask.cancelled)
