"""Control requests to the CLI and their answers; long lines are written in pieces.

Encoding 32 MB as a JSON string takes half a second or more, which would block the
reactor.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from uuid import uuid4

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ccproxy.claude.protocol import records, requests
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed

# A piece is encoded in some milliseconds.
_PIECE_BYTES = 2**18
_CONTINUES = 0b1000_0000
_CONTINUES_MASK = 0b1100_0000

_encode = msgspec.json.Encoder().encode


def in_pieces(line_of: Callable[[str], bytes], text: bytes) -> Iterator[bytes]:
    """Encode a line that contains a long text, in pieces.

    Args:
        line_of: makes the line that contains a text as one JSON string.
        text: in UTF-8.
    """
    mark = uuid4().hex
    head, _, tail = line_of(mark).partition(mark.encode())
    yield head
    start = 0
    while start < len(text):
        end = min(start + _PIECE_BYTES, len(text))
        while end < len(text) and text[end] & _CONTINUES_MASK == _CONTINUES:
            end -= 1
        yield _encode(text[start:end].decode())[1:-1]
        start = end
    yield tail


class LineWriter:
    """Writes lines; no other line interrupts a line that is written in pieces.

    Args:
        write: writes bytes to the CLI.
    """

    def __init__(self, write: Callable[[bytes], None], clock: IReactorTime) -> None:
        self._write = write
        self._clock = clock
        self._is_within_line = False
        self._waiting: list[bytes] = []

    def send(self, line: bytes) -> None:
        """Write a line, after the line that `send_pieces` is writing."""
        if self._is_within_line:
            self._waiting.append(line)
        else:
            self._write(line)

    async def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """Write a line in pieces, with turns of the reactor between them.

        Only one such line may be written at a time.
        """
        self._is_within_line = True
        for piece in pieces:
            self._write(piece)
            await deferLater(self._clock, 0)
        self._is_within_line = False
        waiting, self._waiting = self._waiting, []
        self._write(b"".join(waiting))


class ControlChannel:
    """Sends control requests to one process and waits for the answers.

    Args:
        send: writes a line to the CLI.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._has_never_answered = True
        self._numbers = itertools.count(1)
        self._waiting: dict[str, Deferred[records.ControlResponse]] = {}

    def ask(self, request: Mapping[str, object]) -> "Deferred[records.ControlResponse]":
        """Send a request; fires with the CLI's answer.

        Fails with `ClaudeFailed` if the CLI refuses the request, or with the error of
        `abandon`.
        """
        return self._put(request, self._send).addCallback(_accepted)

    def _put(
        self, request: Mapping[str, object], send: Callable[[bytes], None]
    ) -> "Deferred[records.ControlResponse]":
        identifier, waiter = self._expect()
        send(requests.control_request(identifier, request))
        return waiter

    def _expect(self) -> "tuple[str, Deferred[records.ControlResponse]]":
        identifier = f"ccproxy-{next(self._numbers)}"
        waiter: Deferred[records.ControlResponse] = Deferred()
        self._waiting[identifier] = waiter
        return identifier, waiter

    def ask_all(
        self, asked: Iterable[Mapping[str, object]]
    ) -> "list[Deferred[records.ControlResponse]]":
        """Send several requests in one write; returns a Deferred for each, as `ask`."""
        lines: list[bytes] = []
        waiters = [self._put(request, lines.append) for request in asked]
        self._send(b"".join(lines))
        return [waiter.addCallback(_accepted) for waiter in waiters]

    def ask_in_pieces(
        self, request_of: Callable[[str], Mapping[str, object]], text: bytes
    ) -> "tuple[Iterator[bytes], Deferred[records.ControlResponse]]":
        """Make a request with a long text.

        Returns:
            The pieces of the request's line, which the caller has to write, and a
            Deferred like that of `ask`.
        """
        identifier, waiter = self._expect()
        pieces = in_pieces(
            lambda text: requests.control_request(identifier, request_of(text)), text
        )
        return pieces, waiter.addCallback(_accepted)

    async def answers(self, seconds: float, clock: IReactorTime) -> bool:
        """Send a ping; returns whether the CLI answers within ``seconds``."""
        answered = self._put(requests.ping(), self._send)
        answered.addTimeout(seconds, clock)
        try:
            await answered
        except (DeferredTimeoutError, CCProxyError):
            return False
        return True

    def receive(self, record: records.ControlResponse) -> None:
        """Fire the Deferred of an answer's request; ignores unexpected answers."""
        self._has_never_answered = False
        waiter = self._waiting.pop(record.response.request_id, None)
        if waiter is not None:
            waiter.callback(record)

    @property
    def is_waiting(self) -> bool:
        """Whether a request is still unanswered."""
        return bool(self._waiting)

    def take_never_answered(self) -> bool:
        """True if the CLI has answered no request yet; later calls return False."""
        never_answered, self._has_never_answered = self._has_never_answered, False
        return never_answered

    def abandon(self, error: CCProxyError) -> None:
        """Make the Deferreds of all unanswered requests fail."""
        waiters, self._waiting = self._waiting, {}
        for waiter in waiters.values():
            waiter.errback(error)
            # Without this, Twisted would log the error if no caller waits for it.
            waiter.addErrback(_forget)


def _forget(failure: Failure) -> None:
    failure.trap(CCProxyError)


def _accepted(record: records.ControlResponse) -> records.ControlResponse:
    if record.response.subtype != "success":
        raise ClaudeFailed(
            f"the claude CLI refused a control request: {record.response.error}",
            cause=Cause.COMMAND_REFUSED,
        )
    return record
