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
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError
from ccproxy.events import Event, Usage, Waiting
from ccproxy.web.backend import Ask, Backend, ask_all

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


@implementer(IPushProducer)
class EventStream:
    """Streams the answers to one question to one client."""

    def __init__(
        self, request: Request, encoder: StreamEncoder, clock: IReactorTime
    ) -> None:
        self._request = request
        self._encoder = encoder
        self._clock = clock
        self._asks: list[Ask] = []
        self._waiting: Waiting | None = None
        self._paused = False
        self._quiet: IDelayedCall | None = None
        self._over: Deferred[None] = Deferred()
        self._began = False
        self._ended = False
        self._gone = False

    async def run(self, backend: Backend, prompt: Prompt, choices: int) -> None:
        """Ask and stream until the end, or until this is cancelled.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        # Before the first write: one registered later may never be paused.
        self._request.registerProducer(self, True)
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        try:
            self._asks = ask_all(backend, prompt, choices, self._receive)
            if self._paused:
                self.pauseProducing()
            await self._over
        finally:
            self._give_up()
            if not self._gone:
                self._request.unregisterProducer()
        if self._encoder.error is not None and not self._began:
            raise self._encoder.error

    def pauseProducing(self) -> None:
        """Let the answers wait: the client does not read."""
        self._paused = True
        for ask in self._asks:
            ask.pause()

    def resumeProducing(self) -> None:
        """Let them come again."""
        self._paused = False
        for ask in self._asks:
            ask.resume()

    def stopProducing(self) -> None:
        """Learn that the connection is gone; called by Twisted only."""
        self._gone = True
        self._give_up()

    def _give_up(self) -> None:
        self._ended = True
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        # They know us by their listeners: without this the whole answer would stay
        # in memory until the collector of cycles finds it.
        asks, self._asks = self._asks, []
        for ask in asks:
            ask.cancel()

    def _receive(self, choice: int, events: Sequence[Event]) -> None:
        if self._ended:
            return
        data = self._encoder.encode(choice, events)
        if self._encoder.error is not None and not self._began:
            data = b""
        elif isinstance(events[-1], Waiting):
            self._waiting = events[-1]
            if self._began:
                data += _notice(events[-1])
        else:
            self._waiting = None
        if data:
            self._write(data)
        if self._encoder.is_over:
            self._ended = True
            self._over.callback(None)

    def _keep_alive(self) -> None:
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        # A full socket is not silent, and must not be filled further.
        if not self._paused:
            self._write(_notice(self._waiting))

    def _write(self, data: bytes) -> None:
        if not self._began:
            self._began = True
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
