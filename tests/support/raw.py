"""A TCP client that sends any bytes, for invalid requests and aborts."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from tests.support.waiting import until


class RawClient(Protocol):
    """A TCP connection."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.is_lost = False
        self.reason: Failure | None = None

    @override
    def dataReceived(self, data: bytes) -> None:
        self.received += data

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        self.reason = reason

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    async def expect(self, text: bytes) -> None:
        """Wait until a text has been received."""
        await until(lambda: text in self.received)

    async def lost(self) -> bytes:
        """Wait until the server has closed the connection; returns the bytes."""
        await until(lambda: self.is_lost)
        return self.received

    def abort(self) -> None:
        """Abort the connection."""
        self.transport.abortConnection()


def connect(reactor: Any, port: int) -> "Deferred[RawClient]":
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    connected: Deferred[RawClient] = connectProtocol(endpoint, RawClient())
    return connected


def request(method: str, path: str, body: bytes = b"", /, **headers: str) -> bytes:
    """An HTTP/1.1 request; underscores in header names become dashes."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    if body and "content_length" not in headers:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
