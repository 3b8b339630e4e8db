"""Responses over WebSockets: turns, previous responses, limits, invalid frames."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from wsproto import ConnectionType
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from ccproxy.core.errors import Cause, RateLimited
from ccproxy.core.stream import Failed, MessageStart, TextDelta
from ccproxy.web.memory import MemoryBudget
from ccproxy.web.websocket import SocketLimits, WebSocket
from tests.conftest import ExpectedErrors
from tests.integration.http.conftest import AUTHORIZATION, HTTP
from tests.integration.http.responses import turns
from tests.support.backend import FINISHED
from tests.support.server import events
from tests.support.spec import response_errors, response_event_errors
from tests.support.waiting import until
from tests.support.websocket import SocketClient, open_socket

_REACTOR: Any = reactor
START = MessageStart("test-model")
HEADERS = {"authorization": AUTHORIZATION}

pytestmark = pytest.mark.threads


async def connect(http: HTTP, **headers: str) -> SocketClient:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await open_socket(_REACTOR, http.number, {**HEADERS, **named})


async def turn(
    http: HTTP, client: SocketClient, text: object, *told: Any, **fields: Any
) -> list[Any]:
    """One turn, whose question is answered by events; by words if there are none."""
    count = len(http.backend.asks)
    client.messages.clear()
    client.send({"type": "response.create", "input": text, **fields})
    await until(lambda: len(http.backend.asks) > count)
    if told:
        for event in told:
            http.backend.asks[-1].tell(event)
    else:
        http.backend.asks[-1].answer("one", " two")
    return await client.answer()


async def close(client: SocketClient) -> None:
    client.say(CloseConnection(1000))
    await client.lost()


@ensureDeferred
async def test_turn_is_told_in_the_events_of_a_stream(http: HTTP) -> None:
    client = await connect(http)
    assert client.headers["x-request-id"].startswith("req_")
    told = await turn(http, client, "hello")
    assert [event["type"] for event in told[:2]] == [
        "response.created",
        "response.in_progress",
    ]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    for event in told:
        assert response_event_errors(event) == []
    assert response_errors(told[-1]["response"]) == []
    # It is kept like any other.
    kept = await http.store.responses.get(told[-1]["response"]["id"])
    assert kept is not None
    await close(client)
    assert client.closed is not None
    assert client.closed[0] == 1000


@ensureDeferred
async def test_half_a_surrogate_pair_does_not_end_a_conversation(http: HTTP) -> None:
    client = await connect(http)
    told = await turn(http, client, "cut \ud83d")
    assert told[-1]["type"] == "response.completed"
    assert turns(http.backend.asks[-1]) == [("user", ["cut \ufffd"])]
    await close(client)


@ensureDeferred
async def test_last_turn_is_continued_without_a_store(http: HTTP) -> None:
    client = await connect(http)
    first = await turn(http, client, "one", store=False)
    name = first[-1]["response"]["id"]
    second = await turn(http, client, "two", store=False, previous_response_id=name)
    assert turns(http.backend.asks[-1]) == [
        ("user", ["one"]),
        ("assistant", ["one two"]),
        ("user", ["two"]),
    ]
    assert second[-1]["response"]["previous_response_id"] == name
    # One that is kept then brings along what is not.
    third = await turn(
        http, client, "three", previous_response_id=second[-1]["response"]["id"]
    )
    chain = await http.store.responses.chain(third[-1]["response"]["id"])
    assert chain is not None
    assert len(chain.items) == 6
    await turn(http, client, "four", previous_response_id=third[-1]["response"]["id"])
    assert len(turns(http.backend.asks[-1])) == 7
    # Only the last one is remembered, and only here.
    client.messages.clear()
    [error] = await client.turn(input="x", store=False, previous_response_id=name)
    assert error["status"] == 400
    assert error["error"]["code"] == "previous_response_not_found"
    assert await http.store.responses.get(name) is None
    await close(client)


@pytest.mark.parametrize("begun", [False, True])
@ensureDeferred
async def test_failed_turn_forgets_what_it_continued(
    http: HTTP, request_lines: list[str], begun: bool
) -> None:
    client = await connect(http)
    first = await turn(http, client, "one", store=False)
    name = first[-1]["response"]["id"]
    head = [START, TextDelta("half")] if begun else []
    failed = await turn(
        http,
        client,
        "two",
        *head,
        Failed(RateLimited("slow down", cause=Cause.PROVIDER_LIMIT)),
        store=False,
        previous_response_id=name,
    )
    assert " rate_limit_exceeded (provider_limit) " in request_lines[-1]
    if begun:
        assert failed[-1]["type"] == "response.failed"
        assert all(event["type"] != "error" for event in failed)
    else:
        assert failed[-1]["type"] == "error"
        assert failed[-1]["status"] == 429
        assert failed[-1]["error"]["code"] == "rate_limit_exceeded"
    [error] = await client.turn(input="x", store=False, previous_response_id=name)
    assert error["error"]["code"] == "previous_response_not_found"
    # The connection is as good as before.
    told = await turn(http, client, "again", store=False)
    assert told[-1]["type"] == "response.completed"
    await close(client)


@ensureDeferred
async def test_events_of_a_failed_turn_have_no_gap(http: HTTP) -> None:
    client = await connect(http)
    broken = Failed(RateLimited("slow down", cause=Cause.PROVIDER_LIMIT))
    told = await turn(http, client, "hello", START, TextDelta("half"), broken)
    assert told[-1]["type"] == "response.failed"
    assert [event["sequence_number"] for event in told] == [*range(len(told))]
    # A client that fetches the stream again counts in the same way.
    name = told[-1]["response"]["id"]
    path = f"/v1/responses/{name}?stream=true&starting_after={len(told) - 2}"
    again = await http.request("GET", path)
    heard = events(await again.text())
    assert [json.loads(data) for data in heard[:-1]] == told[-1:]
    await close(client)


@ensureDeferred
async def test_turn_that_only_warms_up_can_be_continued(http: HTTP) -> None:
    client = await connect(http)
    told = await client.turn(input="one", store=False, generate=False)
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"]["output"] == []
    assert http.backend.asks == []
    name = told[-1]["response"]["id"]
    await turn(http, client, "two", store=False, previous_response_id=name)
    assert turns(http.backend.asks[-1]) == [("user", ["one"]), ("user", ["two"])]
    await close(client)


@ensureDeferred
async def test_messages_are_answered_one_after_the_other(http: HTTP) -> None:
    client = await connect(http)
    for text in ("one", "two", "three"):
        client.send({"type": "response.create", "input": text, "store": False})
    for number in (1, 2, 3):
        await until(lambda n=number: len(http.backend.asks) == n)  # type: ignore[misc]
        http.backend.asks[-1].answer(f"re: {number}")
    done = "response.completed"
    await until(lambda: [m["type"] for m in client.messages].count(done) == 3)
    texts = [
        message["response"]["output"][0]["content"][0]["text"]
        for message in client.messages
        if message["type"] == done
    ]
    assert texts == ["re: 1", "re: 2", "re: 3"]
    await close(client)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("no JSON", None),
        ("[]", None),
        ("{}", "type"),
        ('{"type": "response.steer"}', "type"),
        ('{"type": "response.create"}', "input"),
        ('{"type": "response.create", "input": 3}', "input"),
        (
            '{"type": "response.create", "input": "x", "background": true}',
            "background",
        ),
    ],
)
@ensureDeferred
async def test_message_that_means_nothing(
    http: HTTP, message: str, param: str | None
) -> None:
    client = await connect(http)
    client.say(TextMessage(message))
    [error] = await client.answer()
    assert (error["type"], error["status"]) == ("error", 400)
    assert error["error"]["param"] == param
    assert error["error"]["message"]
    await close(client)


@ensureDeferred
async def test_client_that_leaves_ends_its_question(http: HTTP) -> None:
    client = await connect(http)
    client.send({"type": "response.create", "input": "hello"})
    await until(lambda: http.backend.asks)
    http.backend.asks[-1].tell(START, TextDelta("half"))
    client.transport.abortConnection()
    await until(lambda: http.backend.asks[-1].cancelled)


@ensureDeferred
async def test_client_that_does_not_read_pauses_the_answer(http: HTTP) -> None:
    client = await connect(http)
    client.send({"type": "response.create", "input": "hello", "store": False})
    await until(lambda: http.backend.asks)
    asked = http.backend.asks[-1]
    asked.tell(START)
    client.transport.pauseProducing()
    while not asked.paused:
        asked.tell(TextDelta("x" * 100_000))
        await until(lambda: True)
    client.transport.resumeProducing()
    await until(lambda: not asked.paused)
    asked.tell(FINISHED)
    assert (await client.answer())[-1]["type"] == "response.completed"
    await close(client)


@ensureDeferred
async def test_fault_of_ours_is_told_and_passes(
    http: HTTP, monkeypatch: pytest.MonkeyPatch, expected_errors: ExpectedErrors
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    expected_errors.allow("a fault of ours")
    client = await connect(http)
    with monkeypatch.context() as patch:
        patch.setattr("ccproxy.api.responses.output.stream.ResponseStream._begin", fail)
        [error] = await turn(http, client, "hello", store=False)
    assert error["status"] == 500
    assert "a fault of ours" not in json.dumps(error)
    assert (await turn(http, client, "hello"))[-1]["type"] == "response.completed"
    await close(client)


# The handshake


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({"origin": "https://evil.example"}, 403, "foreign_origin"),
        ({"origin": "http://[foo"}, 403, "foreign_origin"),
        ({"sec-websocket-extensions": "\xff"}, 400, "invalid_request"),
    ],
)
@ensureDeferred
async def test_stranger_is_refused_at_the_door(
    http: HTTP, headers: dict[str, str], status: int, code: str
) -> None:
    client = await connect(http, **headers)
    await until(lambda: client.refused.endswith(b"}}"))
    assert client.status == status
    assert json.loads(client.refused)["error"]["code"] == code
    client.transport.abortConnection()


@ensureDeferred
async def test_page_of_our_own_may_come_in(http: HTTP) -> None:
    client = await connect(http, origin=f"http://127.0.0.1:{http.number}")
    assert client.status == 101
    await close(client)


@ensureDeferred
async def test_plain_get_is_told_what_is_missing(http: HTTP) -> None:
    response = await http.request("GET", "/v1/responses")
    assert response.code == 426
    document = await response.json()
    assert document["error"]["code"] == "upgrade_required"
    upgrade = {"upgrade": "websocket", "sec-websocket-version": "8"}
    response = await http.request("GET", "/v1/responses", headers=upgrade)
    assert response.code == 426
    assert response.headers.getRawHeaders("sec-websocket-version") == ["13"]
    await response.content()
    upgrade = {"upgrade": "websocket", "sec-websocket-version": "13"}
    response = await http.request("GET", "/v1/responses", headers=upgrade)
    assert response.code == 400
    await response.content()


# Manners


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (BytesMessage(b"\0"), 1003),
        (TextMessage("x" * 10_001), 1009),
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007),
        (b"\x8f\x80\0\0\0\0", 1002),
        (b"\x81\x02hi", 1002),
    ],
)
@ensureDeferred
async def test_bad_manners_close_the_connection(
    http: HTTP, said: Any, code: int
) -> None:
    client = await connect(http)
    if isinstance(said, bytes):
        client.transport.write(said)
    else:
        client.say(said)
    await until(lambda: client.closed)
    assert client.closed is not None
    assert client.closed[0] == code
    await client.lost()


@ensureDeferred
async def test_flood_of_messages_is_not_stored_up(http: HTTP) -> None:
    client = await connect(http)
    for _ in range(40):
        client.send({"type": "response.create", "input": "x"})
    await until(lambda: client.closed)
    assert client.closed is not None
    assert client.closed[0] == 1008
    assert len(http.backend.asks) <= 1
    await until(lambda: all(asked.cancelled for asked in http.backend.asks))


@ensureDeferred
async def test_ping_is_answered_between_fragments(http: HTTP) -> None:
    client = await connect(http)
    text = json.dumps({"type": "response.create", "input": "hello", "store": False})
    client.say(TextMessage(text[:9], message_finished=False))
    client.say(Ping(b"there?"))
    await until(lambda: client.pongs)
    client.say(TextMessage(text[9:]))
    await until(lambda: http.backend.asks)
    http.backend.asks[-1].answer("yes")
    assert (await client.answer())[-1]["type"] == "response.completed"
    await close(client)


async def pass_time(http: HTTP, client: SocketClient, seconds: float) -> None:
    """Let time pass for a peer that shows signs of life."""
    passed = 0
    while passed < seconds and client.closed is None:
        passed += 30
        http.clock.advance(30)
        heard = client.pongs + 1
        if client.connection.state is ConnectionState.OPEN:
            client.say(Ping())
            await until(lambda n=heard: client.pongs >= n or client.closed)  # type: ignore[misc]


@ensureDeferred
async def test_old_connection_is_told_and_closed(http: HTTP) -> None:
    client = await connect(http)
    client.send({"type": "response.create", "input": "hello", "store": False})
    await until(lambda: http.backend.asks)
    # The peer lives; only its age counts.
    await pass_time(http, client, 3600)
    # A turn that has begun is answered first.
    http.backend.asks[-1].answer("yes")
    code = "websocket_connection_limit_reached"
    await until(lambda: client.closed)
    done, error = client.messages[-2:]
    assert done["type"] == "response.completed"
    assert error["error"]["code"] == code
    await client.lost()


@ensureDeferred
async def test_idle_connection_is_closed(http: HTTP) -> None:
    client = await connect(http)
    await pass_time(http, client, 1800)
    assert client.pings > 50
    await until(lambda: client.closed)
    assert client.closed is not None
    assert client.closed[0] == 1001
    await client.lost()


@ensureDeferred
async def test_peer_that_is_silent_for_long_is_gone(http: HTTP) -> None:
    client = await connect(http)
    client.transport.pauseProducing()
    http.clock.advance(30)
    http.clock.advance(30)
    http.clock.advance(30)
    http.clock.advance(31)
    client.transport.resumeProducing()
    await client.lost()


# Any split of what comes in is the same


class Peer:
    """The two ends of a connection without a network."""

    def __init__(self) -> None:
        self.transport = StringTransport()
        limits = SocketLimits(message_bytes=1000)
        connection = Connection(ConnectionType.SERVER)
        memory = MemoryBudget(2**20).holder()
        self.socket = WebSocket(connection, self.transport, limits, Clock(), memory)
        self.client = Connection(ConnectionType.CLIENT)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.lists(st.text(max_size=40), max_size=6),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_any_split_of_the_stream_is_the_same(texts: list[str], cuts: list[int]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    peer = Peer()
    data = b"".join(peer.client.send(TextMessage(text)) for text in texts)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in pairwise(places):
        peer.socket.data_received(data[begin:end])
    heard: list[str] = []
    for _ in texts:
        peer.socket.receive().addCallback(heard.append)
    assert heard == texts
    peer.socket.connection_lost()


# A peer that does not read


def server_end(http: HTTP) -> Any:
    """What the transport of the only connection tells whether it is read."""
    [channel] = http.site._channels
    return channel._requestProducer


def paused_peer() -> Peer:
    peer = Peer()
    peer.socket.pauseProducing()
    return peer


def test_pings_of_a_peer_that_does_not_read_are_answered_once() -> None:
    peer = paused_peer()
    for number in range(10_000):
        peer.socket.data_received(peer.client.send(Ping(str(number).encode())))
    assert peer.transport.value() == b""
    peer.socket.resumeProducing()
    peer.client.receive_data(peer.transport.value())
    [pong] = peer.client.events()
    assert pong == Pong(b"9999")
    peer.socket.connection_lost()


@ensureDeferred
async def test_bad_messages_of_a_peer_that_does_not_read_are_not_answered(
    http: HTTP,
) -> None:
    client = await connect(http)
    client.transport.pauseProducing()
    socket = server_end(http)
    socket.pauseProducing()
    for _ in range(100):
        client.say(TextMessage("no JSON"))
    client.transport.resumeProducing()
    await until(lambda: client.closed)
    assert client.closed is not None
    # The peer is sent away instead of being told a hundred times.
    assert client.closed[0] == 1008
    assert client.messages == []
    await client.lost()


@ensureDeferred
async def test_messages_are_answered_when_the_peer_reads_again(http: HTTP) -> None:
    client = await connect(http)
    socket = server_end(http)
    socket.pauseProducing()
    client.say(TextMessage("no JSON"))
    client.say(Ping())
    socket.resumeProducing()
    [error] = await client.answer()
    assert error["status"] == 400
    await close(client)


@ensureDeferred
async def test_waiting_for_a_reader_ends_with_the_connection(http: HTTP) -> None:
    client = await connect(http)
    socket = server_end(http)
    socket.pauseProducing()
    client.say(TextMessage("no JSON"))
    client.transport.abortConnection()
    await client.lost()
    await until(lambda: not http.site._channels)
