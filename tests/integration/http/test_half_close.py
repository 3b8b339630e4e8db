"""Clients that end their half of the connection, and clients that are gone."""

import pytest
from pytest_twisted import ensureDeferred

from tests.integration.http.conftest import AUTHORIZATION, HTTP, chat_bytes
from tests.support.backend import FINISHED, ScriptedRequest, started
from tests.support.raw import RawClient, request
from tests.support.waiting import until


async def asked(http: HTTP, data: bytes) -> tuple[RawClient, ScriptedRequest]:
    client = await http.connect()
    client.send(data)
    await until(lambda: bool(http.backend.asks))
    return client, http.backend.asks[-1]


@pytest.mark.parametrize("is_streamed", [False, True])
@ensureDeferred
async def test_client_gets_its_answer(http: HTTP, is_streamed: bool) -> None:
    client, ask = await asked(http, chat_bytes("hello", stream=is_streamed))
    client.transport.loseWriteConnection()
    # The second one is sent when the client would have refused the first.
    await until(lambda: client.received.count(b"HTTP/1.1 102 ") == 2)
    assert not ask.cancelled
    ask.answer("the answer")
    received = await client.lost()
    final = received.rpartition(b"102 Processing\r\n\r\n")[2]
    assert final.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"the answer" in final
    assert not is_streamed or b"[DONE]" in final


@ensureDeferred
async def test_client_of_a_stream_that_has_begun(http: HTTP) -> None:
    client, ask = await asked(http, chat_bytes("hello", stream=True))
    ask.tell(*started("the "))
    await client.expect(b"the ")
    client.transport.loseWriteConnection()
    await until(lambda: client.received.count(b": still there\n") == 2)
    assert not ask.cancelled
    ask.tell(FINISHED)
    received = await client.lost()
    assert b"HTTP/1.1 102" not in received
    assert received.index(b": still there\n") < received.index(b"[DONE]")


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("has_begun", [False, True])
@ensureDeferred
async def test_client_that_has_closed_costs_no_answer(
    http: HTTP, is_streamed: bool, has_begun: bool
) -> None:
    client, ask = await asked(http, chat_bytes("hello", stream=is_streamed))
    if has_begun:
        ask.tell(*started("the "))
        await until(lambda: not is_streamed or b"the " in client.received)
    client.transport.loseConnection()
    await until(lambda: ask.cancelled)


@ensureDeferred
async def test_client_of_http_1_0_is_gone(http: HTTP) -> None:
    data = chat_bytes("hello").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    client, ask = await asked(http, data)
    client.transport.loseWriteConnection()
    await until(lambda: ask.cancelled)
    assert await client.lost() == b""


@ensureDeferred
async def test_two_requests_at_once_are_both_answered(http: HTTP) -> None:
    client, ask = await asked(http, chat_bytes("one") + chat_bytes("two"))
    client.transport.loseWriteConnection()
    ask.answer("first")
    await until(lambda: len(http.backend.asks) == 2)
    http.backend.asks[-1].answer("second")
    received = await client.lost()
    assert received.index(b"first") < received.index(b"second")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a",
        request(
            "POST",
            "/v1/chat/completions",
            b'{"model": ',
            authorization=AUTHORIZATION,
            content_length="1000",
        ),
    ],
)
@ensureDeferred
async def test_request_that_never_ends_closes_the_connection(
    http: HTTP, data: bytes
) -> None:
    client = await http.connect()
    client.send(data)
    client.transport.loseWriteConnection()
    assert await client.lost() == b""
    assert http.backend.asks == []


@ensureDeferred
async def test_refused_client_that_ends_its_half_is_let_go(http: HTTP) -> None:
    client = await http.connect()
    client.send(request("POST", "/v1/chat/completions", b"{}"))
    client.transport.loseWriteConnection()
    assert (await client.lost()).startswith(b"HTTP/1.1 401 ")
