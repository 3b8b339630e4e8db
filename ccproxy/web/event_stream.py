"""Server-sent events: from the answers to the client's socket, and back pressure.

An `EventStream` is the producer that Twisted pauses when the socket is full; it
pauses the questions, which pause their processes. Nothing is queued here.

The status line waits for the first thing to say, so that a question that fails
before is told by its HTTP status. If there is nothing for `KEEP_ALIVE_SECONDS`,
the stream begins with a comment, so that nobody hangs up; from then on an error
is the stream's last event.

Source: WHATWG HTML, "Server-sent events"; Twisted facts, "Backpressure".
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError
from ccproxy.events import Event, Usage, Waiting
from ccproxy.web.backend import Asks, Backend

# Proxies and clients give up on silent connections after 30 s and more.
KEEP_ALIVE_SECONDS = 15.0


class StreamEncoder(Protocol):
    """A dialect's stream in the making."""

    @property
    def is_over(self) -> bool:
        """Whether the last byte has been encoded."""

    @property
    def error(self) -> CCProxyError | None:
        """The error that it ended with."""

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""

    @property
    def usage(self) -> Usage:
        """What the answer cost, once it is over."""

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """What events of one choice mean on the wire; maybe nothing."""


class _State(Enum):
    """How far the answer has come."""

    QUIET = auto()  # nothing has been sent: an error is still an HTTP status
    STREAMING = auto()
    OVER = auto()


@implementer(IPushProducer)
class EventStream:
    """Streams the answers to one question to one client."""

    def __init__(
        self, request: Request, encoder: StreamEncoder, clock: IReactorTime
    ) -> None:
        self._request = request
        self._encoder = encoder
        self._clock = clock
        self._over: Deferred[None] = Deferred()
        self._asks = Asks(self._receive, self._over.errback)
        self._state = _State.QUIET
        self._waiting: Waiting | None = None
        self._quiet: IDelayedCall | None = None
        self._is_paused = False
        self._is_connected = True

    async def run(self, backend: Backend, prompt: Prompt, choices: int) -> None:
        """Ask and stream until the end, or until this is cancelled.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        # Before the first write: one registered later may never be paused.
        self._request.registerProducer(self, True)
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        try:
            self._asks.put(backend, prompt, choices)
            if self._is_paused:
                self._asks.pause()
            await self._over
        finally:
            was_quiet = self._state is _State.QUIET
            self._end()
            if self._is_connected:
                self._request.unregisterProducer()
        if self._encoder.error is not None and was_quiet:
            raise self._encoder.error

    def pauseProducing(self) -> None:
        """Let the answers wait: the client does not read."""
        self._is_paused = True
        self._asks.pause()

    def resumeProducing(self) -> None:
        """Let them come again."""
        self._is_paused = False
        self._asks.resume()

    def stopProducing(self) -> None:
        """Learn that the connection is gone; called by Twisted only."""
        self._is_connected = False
        self._end()

    def _end(self) -> None:
        self._state = _State.OVER
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        self._asks.cancel()

    def _receive(self, choice: int, events: Sequence[Event]) -> None:
        if self._state is _State.OVER or self._over.called:
            return
        data = self._encoder.encode(choice, events)
        if self._state is _State.QUIET and self._encoder.error is not None:
            self._over.callback(None)
            return
        last = events[-1]
        self._waiting = last if isinstance(last, Waiting) else None
        if self._waiting is not None and self._state is _State.STREAMING:
            data += _notice(self._waiting)
        if data:
            self._write(data)
        if self._encoder.is_over:
            self._over.callback(None)

    def _keep_alive(self) -> None:
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        # A full socket is not silent, and must not be filled further.
        if not self._is_paused:
            self._write(_notice(self._waiting))

    def _write(self, data: bytes) -> None:
        if self._state is _State.QUIET:
            self._state = _State.STREAMING
            self._request.setHeader("content-type", "text/event-stream; charset=utf-8")
            self._request.setHeader("cache-control", "no-cache")
            # Or nginx would keep the answer until it is whole.
            self._request.setHeader("x-accel-buffering", "no")
        if self._quiet is not None:
            self._quiet.reset(KEEP_ALIVE_SECONDS)
        self._request.write(data)


def _notice(waiting: Waiting | None) -> bytes:
    if waiting is None:
        return b": keep-alive\n\n"
    return (
        f": waiting for the model's provider ({' '.join(waiting.reason.split())}), "
        f"try {waiting.attempt + 1} in {waiting.delay_seconds:.1f} s\n\n"
    ).encode()
