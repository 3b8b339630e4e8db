"""Many clients at once, and clients that never read while others are served."""

import gc
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults

from ccproxy.core.stream import TextDelta
from tests.integration.http.conftest import HTTP, chat_bytes
from tests.support.backend import FINISHED, ScriptedRequest, started
from tests.support.raw import request
from tests.support.waiting import until

CLIENTS = 500
STANDING = 6
HEALTH = request("GET", "/health")
# What the system keeps for a connection at the most, both ends of it.
MOST_HELD_BYTES = 16_000_000
PIECE = "x" * 50_000


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CLIENTS
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("streamed", [False, True])
@ensureDeferred
async def test_500_clients_at_once(
    serve: Callable[..., HTTP], descriptors: None, streamed: bool
) -> None:
    http = serve()
    clients = await gatherResults([http.connect() for _ in range(CLIENTS)])
    for number, client in enumerate(clients):
        client.send(chat_bytes(f"client {number}", stream=streamed))
    # All of them are there before the first is answered.
    await until(lambda: len(http.backend.asks) == CLIENTS)
    for ask in http.backend.asks:
        [message] = ask.request.messages
        ask.answer(f"to {message.content!r}")
    for number, client in enumerate(clients):
        await client.expect(f"client {number}'".encode())
        assert client.received.startswith(b"HTTP/1.1 200")
    for client in clients:
        client.abort()


async def serve_one(http: HTTP, end: bytes, data: bytes = HEALTH) -> None:
    """A client that reads."""
    client = await http.connect()
    client.send(data)
    await client.expect(end)
    client.abort()
    # Twisted keeps the clients of `connectProtocol`; here only the server counts.
    client.received = b""


@ensureDeferred
async def test_clients_that_never_read_do_not_harm_others(http: HTTP) -> None:
    standing = [await http.connect() for _ in range(STANDING)]
    for client in standing:
        client.transport.pauseProducing()
        client.send(chat_bytes("standing", stream=True))
    await until(lambda: len(http.backend.asks) == STANDING)
    held: list[ScriptedRequest] = list(http.backend.asks)
    for ask in held:
        ask.tell(*started())
    told_bytes = 0

    def tell_more() -> int:
        """As a model does: whoever is not told to stop goes on."""
        flowing = [ask for ask in held if not ask.paused]
        for ask in flowing:
            ask.tell(TextDelta(PIECE))
        return len(flowing) * len(PIECE)

    # Each is told to stop once its connection is full, and all that the system holds.
    rounds = 0
    while rounds < 20:
        more_bytes = tell_more()
        told_bytes += more_bytes
        rounds = 0 if more_bytes else rounds + 1
        await serve_one(http, b"ok")
    before = resident_bytes()
    http.backend.asked = lambda ask: ask.answer(PIECE * 4, "the end")
    for _ in range(100):
        await serve_one(http, b"the end", chat_bytes("reader", stream=True))
        del http.backend.asks[-1]
        told_bytes += tell_more()
    # The readers' ends are in this process, too.
    gc.collect()
    # 20 MB went by; what stands still was hardly added to.
    assert resident_bytes() - before < 10_000_000
    assert told_bytes < STANDING * MOST_HELD_BYTES
    assert not any(ask.cancelled for ask in held)
    for ask, client in zip(held, standing, strict=True):
        client.transport.resumeProducing()
        await until(lambda a=ask: not a.paused)  # type: ignore[misc]  # bound now
        ask.tell(FINISHED)
        await client.expect(b"[DONE]")
        client.abort()
