"""An upstream that breaks off its answer at any byte, on the real CLI.

The suite tries a few positions; ``CCPROXY_RESETS=1`` every one, 7 every seventh.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.protocols.portforward import (
    ProxyClient,
    ProxyClientFactory,
    ProxyFactory,
    ProxyServer,
)
from typing_extensions import override

from tests.support.invariant import End, Outcome, ask
from tests.support.server import RunningProxy, Upstream, answer

Start = Callable[..., RunningProxy]

WHOLE = "one two three"
# In words, because the CLI passes on what it is told.
_POSITION = re.compile(rb"cut it at byte (\d+)")
_REACTOR: Any = reactor


class _Answer(ProxyClient):
    """Passes an answer on, up to where it is to be cut."""

    peer: Any
    passed = 0

    @override
    def dataReceived(self, data: bytes) -> None:
        position = self.peer.position()
        factory = self.peer.factory
        if position is None:
            factory.longest = max(factory.longest, self.passed + len(data))
        elif self.passed + len(data) >= position:
            data = data[: max(position - self.passed, 0)]
            self.peer.transport.write(data)
            factory.cut(position)
            # In good order and not, by turns.
            if position % 2:
                self.peer.transport.abortConnection()
            else:
                self.peer.transport.loseConnection()
            return
        self.passed += len(data)
        self.peer.transport.write(data)


class _AnswerFactory(ProxyClientFactory):
    noisy = False
    protocol = _Answer


class _Request(ProxyServer):
    """Passes a request on, and reads in it where its answer is to be cut."""

    clientProtocolFactory = _AnswerFactory  # noqa: N815  # the name is Twisted's
    factory: Any
    received = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        self.received += data
        super().dataReceived(data)

    def position(self) -> int | None:
        match = _POSITION.search(self.received)
        if match is None or int(match[1]) in self.factory.done:
            return None
        return int(match[1])


class Scissors(ProxyFactory):
    """Cuts the first answer to each question that says where."""

    noisy = False
    protocol = _Request

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.longest = 0
        self.done: set[int] = set()

    def cut(self, position: int) -> None:
        self.done.add(position)


@pytest.fixture
def scissors(upstream: Upstream) -> Iterator[tuple[Scissors, str]]:
    factory = Scissors("127.0.0.1", upstream.port.getHost().port)
    port = _REACTOR.listenTCP(0, factory, interface="127.0.0.1")
    yield factory, f"http://127.0.0.1:{port.getHost().port}"
    pytest_twisted.blockon(port.stopListening())


def positions(length: int) -> list[int]:
    step = int(os.environ.get("CCPROXY_RESETS", "0"))
    if step:
        return list(range(0, length, step))
    # In the head, behind it, and in the events one after the other.
    return [0, 9, *range(length // 8, length, length // 8), length - 1]


@ensureDeferred
async def test_reset_at_any_byte_of_an_answer(
    proxy: Start, upstream: Upstream, scissors: tuple[Scissors, str]
) -> None:
    factory, url = scissors
    upstream.script(answer(WHOLE))
    server = proxy(environment={"ANTHROPIC_BASE_URL": url}, max_processes=3)
    first = await ask(server, "hello", stream=True)
    assert (first.end, first.text) == (End.COMPLETE, WHOLE)
    ends: dict[int, Outcome] = {}

    async def cut(position: int) -> None:
        words = f"cut it at byte {position}"
        outcome = await ask(server, words, stream=position % 4 < 2)
        ends[position] = outcome
        if outcome.end is End.COMPLETE:
            assert outcome.text == WHOLE, position
        else:
            assert outcome.end is End.ERROR, position
            assert WHOLE.startswith(outcome.text), position

    tried = positions(factory.longest)
    few = DeferredSemaphore(3)
    waited: list[Deferred[None]] = []
    for position in tried:
        waited.append(few.run(cut, position))
    await gatherResults(waited, consumeErrors=True)
    assert factory.done == {*tried}
    failed = {p: o.error for p, o in ends.items() if o.error is not None}
    print(
        f"{len(tried)} positions of {factory.longest}, {len(failed)} errors: {failed}"
    )
    following = await ask(server, "hello", stream=True)
    assert (following.end, following.text) == (End.COMPLETE, WHOLE)
