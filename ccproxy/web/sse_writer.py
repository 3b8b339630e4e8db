"""Writes an event stream to a client: headers, keep-alive, back pressure.

An `SSEWriter` is the producer that Twisted pauses when the socket is full. The writer
then pauses its source, and queues nothing.

If nothing is written for `KEEP_ALIVE_SECONDS`, a comment is sent, so that neither
client nor proxy closes the connection. A comment is one line, without the empty line
that ends an event: OpenAI's SDK for Go and old Python clients take a comment and an
empty line for an event without data, and fail.

Source: WHATWG HTML, "Server-sent events"; docs/twisted-notes.md,
"Backpressure".
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

# Proxies and clients give up on silent connections after 30 s and more.
KEEP_ALIVE_SECONDS = 15.0
# The comment line is part of the event that follows it.
KEEP_ALIVE = b": keep-alive\n"


class StreamSource(Protocol):
    """The producer of the data that an `SSEWriter` writes."""

    def pause(self) -> None:
        """Stop writing."""

    def resume(self) -> None:
        """Write again."""

    def gone(self) -> None:
        """Stop for good: the client has disconnected."""


class _State(Enum):
    NEW = auto()
    QUIET = auto()  # nothing has been sent: an error is still an HTTP status
    STREAMING = auto()
    CLOSED = auto()


@implementer(IPushProducer)
class SSEWriter:
    """Writes one event stream to one client.

    Args:
        request: of the client.
        clock: times the comments.
        source: paused and resumed with the client's socket.
        notice: makes the comment that keeps the connection alive.

    Attributes:
        is_paused: whether the client's socket is full.
    """

    def __init__(
        self,
        request: Request,
        clock: IReactorTime,
        source: StreamSource,
        notice: Callable[[], bytes] = lambda: KEEP_ALIVE,
    ) -> None:
        self._request = request
        self._clock = clock
        self._source = source
        self._notice = notice
        self._state = _State.NEW
        self._quiet: IDelayedCall | None = None
        self.is_paused = False
        self._is_connected = True

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has been sent yet."""
        return self._state in (_State.NEW, _State.QUIET)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._state is _State.CLOSED

    def open(self) -> None:
        """Begin. Twisted pauses only a producer that is registered before a write."""
        self._state = _State.QUIET
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        self._request.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send data; the first time with the headers of an event stream."""
        if self._state is _State.CLOSED or not data:
            return
        if self._state is not _State.STREAMING:
            self._state = _State.STREAMING
            self._request.setHeader("content-type", "text/event-stream; charset=utf-8")
            self._request.setHeader("cache-control", "no-cache")
            # Otherwise nginx buffers the whole response.
            self._request.setHeader("x-accel-buffering", "no")
        if self._quiet is not None:
            self._quiet.reset(KEEP_ALIVE_SECONDS)
        self._request.write(data)

    def close(self) -> None:
        """End the stream; can be called at any time, and again."""
        was_open = self._state in (_State.QUIET, _State.STREAMING)
        self._stop()
        if was_open and self._is_connected:
            self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """Pause the source: the client's socket is full."""
        self.is_paused = True
        self._source.pause()

    def resumeProducing(self) -> None:
        """Resume the source."""
        self.is_paused = False
        self._source.resume()

    def stopProducing(self) -> None:
        """Stop: the client has disconnected. Called by Twisted only."""
        self._is_connected = False
        self._stop()
        self._source.gone()

    def _stop(self) -> None:
        self._state = _State.CLOSED
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def _keep_alive(self) -> None:
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        # A full socket has data on its way, and must not be filled further.
        if not self.is_paused:
            self.write(self._notice())
