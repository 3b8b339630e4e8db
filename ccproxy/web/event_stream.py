"""Server-sent events: from the answers to the client's socket, and back pressure.

A client that does not read pauses the questions, which pause their processes.

The status line waits for the first thing to say, so that a question that fails
before is told by its HTTP status. From then on an error is the stream's last event.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ccproxy.conversation import Prompt
from ccproxy.errors import CCProxyError
from ccproxy.events import Event, Usage, Waiting
from ccproxy.web.backend import Asks, Backend
from ccproxy.web.outlet import Outlet
from ccproxy.web.receipt import Receipt
from ccproxy.web.response import tell_queue


class StreamEncoder(Protocol):
    """A dialect's stream in the making."""

    @property
    def is_over(self) -> bool:
        """Whether all events have been encoded."""

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


async def _nothing_more() -> bytes:
    return b""


class EventStream:
    """Streams the answers to one question to one client.

    Args:
        receipt: what the answers say of their use is noted there.
        conclude: called when the answers are over; what is to be sent last.
        told: told what the events mean to the client.
    """

    def __init__(
        self,
        request: Request,
        encoder: StreamEncoder,
        clock: IReactorTime,
        receipt: Receipt,
        conclude: Callable[[], Awaitable[bytes]] = _nothing_more,
        told: Callable[[bytes], None] | None = None,
    ) -> None:
        self._request = request
        self._encoder = encoder
        self._conclude = conclude
        self._told = told
        self._over: Deferred[None] = Deferred()
        self._asks = Asks(self._receive, receipt, self._over.errback)
        self._waiting: Waiting | None = None
        self._outlet = Outlet(request, clock, self, lambda: _notice(self._waiting))

    async def run(self, backend: Backend, prompt: Prompt, choices: int) -> None:
        """Ask and stream until the end, or until this is cancelled.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        self._outlet.open()
        try:
            self._asks.put(backend, prompt, choices)
            if self._outlet.is_paused:
                self._asks.pause()
            await self._over
            if self._encoder.error is not None and self._outlet.is_quiet:
                raise self._encoder.error
            self._outlet.write(await self._conclude())
        finally:
            self._asks.cancel()
            self._outlet.close()

    def pause(self) -> None:
        """Let the answers wait."""
        self._asks.pause()

    def resume(self) -> None:
        """Let them come again."""
        self._asks.resume()

    def gone(self) -> None:
        """Give the questions up; whoever runs this cancels it."""
        self._asks.cancel()

    def _receive(self, choice: int, events: Sequence[Event]) -> None:
        if self._outlet.is_closed or self._over.called:
            return
        data = self._encoder.encode(choice, events)
        if self._outlet.is_quiet and self._encoder.error is not None:
            self._over.callback(None)
            return
        if self._outlet.is_quiet:
            tell_queue(self._request, self._asks.queued_seconds)
        if self._told is not None:
            self._told(data)
        last = events[-1]
        self._waiting = last if isinstance(last, Waiting) else None
        if self._waiting is not None and not self._outlet.is_quiet:
            data += _notice(self._waiting)
        self._outlet.write(data)
        if self._encoder.is_over:
            self._over.callback(None)


def _notice(waiting: Waiting | None) -> bytes:
    if waiting is None:
        return b": keep-alive\n\n"
    return (
        f": waiting for the model's provider ({' '.join(waiting.reason.split())}), "
        f"try {waiting.attempt + 1} in {waiting.delay_seconds:.1f} s\n\n"
    ).encode()
