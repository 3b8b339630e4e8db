"""The server's end of a WebSocket: messages, limits, pings, closing.

wsproto implements the protocol. `twisted.web.websocket`, which uses wsproto too, has no
limits, and logs a traceback when the peer violates the protocol.

=========  ================================================================
OPEN       messages can be sent and received
CLOSING    our close frame was sent; the peer has 3 seconds to send its own
CLOSED     the connection is closed, or about to be closed
=========  ================================================================

Received messages are queued, at most 32, until `receive` takes them. The connection is
read even while a message is being answered, so that a disconnect is noticed at once.

Source: RFC 6455; wsproto's documentation.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError
from zope.interface import implementer

from ccproxy.core.errors import ServerFull
from ccproxy.web.memory import HeldMemory

GOING_AWAY = 1001
_NORMAL, _PROTOCOL, _NOT_TEXT = 1000, 1002, 1003
_TOO_MANY, _TOO_BIG, _TRY_LATER = 1008, 1009, 1013
BUG = 1011
_MOST_WAITING = 32
# A close reason is part of a frame of at most 125 bytes.
_LONGEST_REASON = 100


@frozen(kw_only=True)
class SocketLimits:
    """The limits of one WebSocket.

    Attributes:
        message_bytes: the largest message.
        age_seconds: the connection's maximum age; 60 minutes in Open Responses.
        idle_seconds: how long `receive` waits for a message before the socket is
            closed.
        ping_seconds: a ping is sent if nothing was received for this time; the
            connection is aborted if nothing was received for three times as long.
        close_seconds: time limit for the peer's close frame.
    """

    message_bytes: int
    age_seconds: float = 3600.0
    idle_seconds: float = 1800.0
    ping_seconds: float = 30.0
    close_seconds: float = 3.0


class SocketClosed(Exception):
    """The socket is closed: there are no more messages."""


class SocketTooOld(Exception):
    """The connection has reached its age limit; messages can still be sent."""


class _State(Enum):
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


@implementer(IPushProducer)
class WebSocket:
    """The server's end of one WebSocket.

    Attributes:
        is_paused: whether the peer has stopped reading.
        on_pause: called when the peer stops reading.
        on_resume: called when the peer reads again.
    """

    _log = Logger()

    def __init__(
        self,
        connection: Connection,
        transport: Any,
        limits: SocketLimits,
        clock: IReactorTime,
        memory: HeldMemory,
    ) -> None:
        self._memory = memory
        self._connection = connection
        self._transport = transport
        self._limits = limits
        self._clock = clock
        self._state = _State.OPEN
        self._parts: list[str] = []
        self._size = 0
        # The messages that wait, each with its size in bytes.
        self._messages: deque[tuple[str, int]] = deque()
        self._waiting_bytes = 0
        self._receiver: Deferred[str] | None = None
        self._is_old = False
        # The last ping received while the peer was not reading. Its pong is sent later.
        self._unanswered_ping: Ping | None = None
        self._room: Deferred[None] | None = None
        self.is_paused = False
        self._received_seconds = clock.seconds()
        self._timers: dict[str, IDelayedCall] = {}
        self.on_pause: Callable[[], None] = lambda: None
        self.on_resume: Callable[[], None] = lambda: None
        self._later("age", limits.age_seconds, self._reach_age_limit)
        self._later("ping", limits.ping_seconds, self._ping)

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._state is _State.OPEN

    def receive(self) -> "Deferred[str]":
        """Wait for the next message; only one caller may wait.

        Fires with the message's text.

        Fails with `SocketClosed` if there is no further message, with `SocketTooOld` if
        the connection has reached its age limit.
        """
        receiver: Deferred[str] = Deferred()
        if self._state is not _State.OPEN:
            receiver.errback(SocketClosed())
        elif self._is_old:
            receiver.errback(SocketTooOld())
        elif self._messages:
            text, size_bytes = self._messages.popleft()
            self._waiting_bytes -= size_bytes
            self._hold()
            receiver.callback(text)
        else:
            self._receiver = receiver
            self._later("idle", self._limits.idle_seconds, self._idle)
        return receiver

    async def writable(self) -> None:
        """Wait until the peer reads; only one caller may wait.

        Raises:
            SocketClosed: the connection is closed.
        """
        if self._state is _State.OPEN and self.is_paused:
            self._room = Deferred()
            await self._room
        if self._state is not _State.OPEN:
            raise SocketClosed

    def send(self, text: bytes) -> None:
        """Send a message of UTF-8 text; does nothing if the socket is closed."""
        if self._state is _State.OPEN:
            self._write(TextMessage(text.decode()))

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Send a close frame; does nothing if the socket is not open.

        Args:
            code: the status code of the frame.
            reason: ASCII text, of which 100 characters are sent.
        """
        if self._state is not _State.OPEN:
            return
        self._write(CloseConnection(code, reason[:_LONGEST_REASON]))
        self._ended(_State.CLOSING)
        self._later(
            "close", self._limits.close_seconds, self._transport.abortConnection
        )

    def data_received(self, data: bytes) -> None:
        """Decode data that the peer has sent."""
        self._received_seconds = self._clock.seconds()
        if self._state is _State.CLOSED:
            return
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                self._event(event)
        except RemoteProtocolError as error:
            hint = error.event_hint
            code = hint.code if isinstance(hint, CloseConnection) else _PROTOCOL
            self.close(int(code), "protocol error")
            self._close_connection()

    def connection_lost(self) -> None:
        """Stop all timers: the connection is closed."""
        self._ended(_State.CLOSED)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def pauseProducing(self) -> None:
        """Pause the producer of messages: the peer does not read."""
        self.is_paused = True
        self.on_pause()

    def resumeProducing(self) -> None:
        """Resume the producer of messages."""
        self.is_paused = False
        ping, self._unanswered_ping = self._unanswered_ping, None
        if ping is not None:
            self._write(ping.response())
        self._make_room()
        self.on_resume()

    def stopProducing(self) -> None:
        """Do nothing: `connection_lost` is called as well."""

    def _event(self, event: object) -> None:
        match event:
            case TextMessage():
                self._text(event)
            case BytesMessage():
                self.close(_NOT_TEXT, "send text, not bytes")
            case Ping() if self.is_paused:
                # Only the last ping has to be answered (RFC 6455, 5.5.3).
                self._unanswered_ping = event
            case Ping():
                self._write(event.response())
            case Pong():
                return
            case CloseConnection():
                if self._connection.state is ConnectionState.REMOTE_CLOSING:
                    self._write(event.response())
                elif self._connection.state is ConnectionState.OPEN:
                    # In the state OPEN, wsproto uses this event to report that the peer
                    # has violated the protocol.
                    self._write(CloseConnection(event.code, "protocol error"))
                self._close_connection()

    def _text(self, event: TextMessage) -> None:
        if self._state is not _State.OPEN:
            return
        self._size += len(event.data.encode())
        if self._size > self._limits.message_bytes:
            most = self._limits.message_bytes
            self.close(_TOO_BIG, f"a message may have at most {most} bytes")
            return
        try:
            self._hold()
        except ServerFull:
            self.close(_TRY_LATER, "too many large requests at one time; try again")
            return
        if event.data:
            self._parts.append(event.data)
        if not event.message_finished:
            return
        text, size_bytes = "".join(self._parts), self._size
        self._parts.clear()
        self._size = 0
        if self._receiver is not None:
            self._hold()
            self._deliver(text)
        elif len(self._messages) < _MOST_WAITING and self._has_room(size_bytes):
            self._messages.append((text, size_bytes))
            self._waiting_bytes += size_bytes
        else:
            self.close(_TOO_MANY, "too many messages are waiting")

    def _has_room(self, size_bytes: int) -> bool:
        return self._waiting_bytes + size_bytes <= 2 * self._limits.message_bytes

    def _hold(self) -> None:
        self._memory.set(self._waiting_bytes + self._size)

    def _deliver(self, outcome: str | Exception) -> None:
        receiver, self._receiver = self._receiver, None
        self._stop("idle")
        if receiver is None:
            return
        if isinstance(outcome, str):
            receiver.callback(outcome)
        else:
            receiver.errback(outcome)

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.called:
            room.callback(None)

    def _ended(self, state: _State) -> None:
        self._state = state
        self._unanswered_ping = None
        self._messages.clear()
        self._parts.clear()
        self._waiting_bytes = self._size = 0
        self._memory.release()
        self._stop("age")
        self._stop("ping")
        self._deliver(SocketClosed())
        self._make_room()

    def _close_connection(self) -> None:
        self._ended(_State.CLOSED)
        self._transport.loseConnection()
        # `loseConnection` alone waits forever for a peer that does not read.
        self._later(
            "close", self._limits.close_seconds, self._transport.abortConnection
        )

    def _write(self, event: Any) -> None:
        try:
            self._transport.write(self._connection.send(event))
        except LocalProtocolError:
            # The peer has already sent its close frame.
            self._log.debug("a frame was not sent: the WebSocket is already closed")

    def _abort(self) -> None:
        self._transport.abortConnection()

    def _reach_age_limit(self) -> None:
        self._is_old = True
        self._deliver(SocketTooOld())

    def _idle(self) -> None:
        self.close(GOING_AWAY, "no message was received for a long time")

    def _ping(self) -> None:
        silence_seconds = self._clock.seconds() - self._received_seconds
        if silence_seconds > 3 * self._limits.ping_seconds:
            self._transport.abortConnection()
            return
        if silence_seconds >= self._limits.ping_seconds:
            self._write(Ping())
        self._later("ping", self._limits.ping_seconds, self._ping)

    def _later(self, name: str, seconds: float, call: Callable[[], object]) -> None:
        def due() -> None:
            del self._timers[name]
            call()

        self._stop(name)
        self._timers[name] = self._clock.callLater(seconds, due)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
