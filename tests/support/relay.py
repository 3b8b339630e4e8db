"""A relay between a TCP port and a Unix socket, which can fall silent."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

_REACTOR: Any = reactor


class Relay:
    """Listens on loopback, and relays each connection to a Unix socket.

    Attributes:
        is_silent: whether received data is dropped, in both directions.
    """

    def __init__(self, socket_path: str) -> None:
        self.is_silent = False
        self.ends: set[_End] = set()
        self._path = socket_path
        factory = Factory.forProtocol(lambda: _Front(self))
        self._port = _REACTOR.listenTCP(0, factory, interface="127.0.0.1")

    @property
    def number(self) -> int:
        """The number of the port."""
        number: int = self._port.getHost().port
        return number

    def connect(self, back: "_End") -> None:
        """Connect the other end of a connection."""
        endpoint = UNIXClientEndpoint(_REACTOR, self._path)
        connectProtocol(endpoint, back)

    async def stop(self) -> None:
        """Close the port and all connections."""
        await maybeDeferred(self._port.stopListening)
        ends = tuple(self.ends)
        for end in ends:
            end.transport.abortConnection()
        await DeferredList([end.lost for end in ends])


class _End(Protocol):
    transport: Any

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.other: _End | None = None
        self.lost: Deferred[None] = Deferred()
        self._early = b""

    @override
    def connectionMade(self) -> None:
        self.relay.ends.add(self)
        self.transport.write(self._early)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self.relay.is_silent or self.other is None:
            return
        if self.other.connected:
            self.other.transport.write(data)
        else:
            self.other._early += data

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.relay.ends.discard(self)
        if self.other is not None and self.other.connected:
            self.other.transport.loseConnection()
        self.lost.callback(None)


class _Front(_End):
    @override
    def connectionMade(self) -> None:
        super().connectionMade()
        self.other = _End(self.relay)
        self.other.other = self
        self.relay.connect(self.other)
