"""The stdin of a child process, with real pipes."""

from collections.abc import AsyncIterator
from typing import Any

from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol
from typing_extensions import override

from ccproxy.claude.process.process import ChildStdin
from tests.support.waiting import until

_REACTOR: Any = reactor
# More than a pipe takes at once.
LONG = b"x" * 300_000


class Cat(ProcessProtocol):
    """A child that sends back what it is sent."""

    transport: Any

    def __init__(self) -> None:
        self.came = b""
        self.has_ended = False

    @override
    def outReceived(self, data: bytes) -> None:
        self.came += data

    @override
    def processEnded(self, reason: object) -> None:
        self.has_ended = True


@async_yield_fixture
async def cat() -> AsyncIterator[Cat]:
    child = Cat()
    _REACTOR.spawnProcess(child, b"/bin/cat", [b"cat"], env={})
    yield child
    if not child.has_ended:
        child.transport.loseConnection()
    await until(lambda: child.has_ended)


@ensureDeferred
async def test_what_fits_is_written_at_once(cat: Cat) -> None:
    ChildStdin(cat.transport).write(b"short\n")
    # No turn of the reactor has passed.
    assert cat.transport.pipes[0] not in _REACTOR.getWriters()
    await until(lambda: cat.came == b"short\n")


@ensureDeferred
async def test_all_of_it_arrives_in_order(cat: Cat) -> None:
    stdin = ChildStdin(cat.transport)
    sent = [b"1", LONG, b"2", b"3", LONG, b"4"]
    for data in sent:
        stdin.write(data)
    await until(lambda: len(cat.came) == sum(map(len, sent)))
    assert cat.came == b"".join(sent)


@ensureDeferred
async def test_what_follows_a_full_pipe_is_written_at_once_again(cat: Cat) -> None:
    stdin = ChildStdin(cat.transport)
    stdin.write(LONG)
    assert cat.transport.pipes[0] in _REACTOR.getWriters()
    await until(lambda: len(cat.came) == len(LONG))
    stdin.write(b"short")
    assert cat.transport.pipes[0] not in _REACTOR.getWriters()
    stdin.write(LONG)
    await until(lambda: len(cat.came) == 2 * len(LONG) + len(b"short"))
    assert cat.came == LONG + b"short" + LONG


@ensureDeferred
async def test_a_child_that_does_not_listen_is_written_nothing(cat: Cat) -> None:
    stdin = ChildStdin(cat.transport)
    stdin.write(LONG)
    cat.transport.signalProcess("KILL")
    await until(lambda: cat.has_ended)
    stdin.write(b"more")
    stdin.write(LONG)
    assert LONG.startswith(cat.came)
