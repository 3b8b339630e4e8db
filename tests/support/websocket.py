"""A WebSocket client that sends any frames, valid or not."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from tests.support.waiting import until


class SocketClient(Protocol):
    """A connection; `messages` has the received messages, `closed` the end."""

    transport: Any

    def __init__(self) -> None:
        self.connection = WSConnection(ConnectionType.CLIENT)
        self.messages: list[Any] = []
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.refused = b""
        self.closed: tuple[int, str | None] | None = None
        self.pongs = 0
        self.pings = 0
        self.is_lost = False
        self._text = ""

    def open(self, path: str, headers: Mapping[str, str], host: str) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        asked = Request(host=host, target=path, extra_headers=pairs)
        self.transport.write(self.connection.send(asked))

    @override
    def dataReceived(self, data: bytes) -> None:
        self.connection.receive_data(data)
        for event in self.connection.events():
            match event:
                case AcceptConnection():
                    self.status = 101
                    self._head(event.extra_headers)
                case RejectConnection():
                    self.status = event.status_code
                    self._head(event.headers)
                case RejectData():
                    self.refused += event.data
                case TextMessage():
                    self._text += event.data
                    if event.message_finished:
                        self.messages.append(json.loads(self._text))
                        self._text = ""
                case Ping():
                    self.pings += 1
                    self.transport.write(self.connection.send(event.response()))
                case Pong():
                    self.pongs += 1
                case CloseConnection():
                    self.closed = (event.code, event.reason)
                    if self.connection.state is ConnectionState.REMOTE_CLOSING:
                        self.transport.write(self.connection.send(event.response()))

    def _head(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.headers = {name.decode().lower(): v.decode() for name, v in headers}

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True

    def say(self, event: Any) -> None:
        self.transport.write(self.connection.send(event))

    def send(self, message: object) -> None:
        self.say(TextMessage(json.dumps(message)))

    async def turn(self, **fields: Any) -> list[Any]:
        """Send a request, and wait for the last event of its answer."""
        self.messages.clear()
        self.send({"type": "response.create", **fields})
        return await self.answer()

    async def answer(self) -> list[Any]:
        """Wait for the last event of an answer."""
        last = ("response.completed", "response.incomplete", "response.failed", "error")
        await until(lambda: self.messages and self.messages[-1]["type"] in last)
        return list(self.messages)

    async def lost(self) -> None:
        await until(lambda: self.is_lost)


async def open_socket(
    reactor: Any,
    port: int,
    headers: Mapping[str, str],
    *,
    path: str = "/v1/responses",
    host: str = "",
) -> SocketClient:
    """Connect, and wait for the handshake's outcome."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    client: SocketClient = await connectProtocol(endpoint, SocketClient())
    client.open(path, headers, host or f"127.0.0.1:{port}")
    await until(lambda: client.status is not None or client.is_lost)
    return client
