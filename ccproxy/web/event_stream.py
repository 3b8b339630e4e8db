"""Event streams: headers, keep-alive, back pressure, and the events of an answer.

**Back pressure.** An `SSEWriter` is the producer that Twisted pauses when the client's
socket is full. The writer then pauses its source. The source of an answer's events is
an `EventStream`, which pauses the CLI processes of its answers. Nothing is queued here.

**Keep-alive.** If nothing was written for `KEEP_ALIVE_SECONDS`, a keep-alive is sent,
so that neither the client nor a proxy closes the connection. In the Messages API it is
the event `PING`. In OpenAI's APIs it is a comment of one line, without the empty line
that ends an event: OpenAI's SDK for Go and old Python clients parse a comment with an
empty line as an event without data, and fail.

**Errors.** The status line is sent with the first event. A request that fails before
gets an HTTP error status. A later error is the last event of the stream.

Source: WHATWG HTML, "Server-sent events"; docs/twisted-notes.md, "Backpressure".
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from ccproxy.core.backend import PreparedQuestion
from ccproxy.core.encoding import Encode, WireEvent, sse_frames
from ccproxy.core.stream import Event, UpstreamRetry
from ccproxy.web.completion_group import CompletionGroup
from ccproxy.web.context import AnswerResult, RequestContext

# Proxies and clients close silent connections after 30 s or more.
KEEP_ALIVE_SECONDS = 15.0
# A comment line; a parser skips it when it reads the next event.
KEEP_ALIVE = b": keep-alive\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


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
    QUIET = auto()  # nothing has been sent: an error can still set the HTTP status
    STREAMING = auto()
    CLOSED = auto()


@implementer(IPushProducer)
class SSEWriter:
    """Writes one event stream to one client.

    Args:
        request: the client's request.
        clock: schedules the keep-alive.
        source: paused and resumed with the client's socket.
        notice: returns the bytes of a keep-alive.

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
        """Register as Twisted's producer; call it before the first write."""
        self._state = _State.QUIET
        self._quiet = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        self._request.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send data; the first call also sends the headers of an event stream."""
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
        """End the stream; may be called at any time, also repeatedly."""
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
        # A full socket needs no keep-alive: data is still being sent.
        if not self.is_paused:
            self.write(self._notice())


class StreamEncoder(AnswerResult, Protocol):
    """Encodes the events of an answer as the stream events of one API."""

    @property
    def encoders(self) -> Sequence[Encode]:
        """One encoder for each answer; most requests have one answer."""


class EventStream:
    """Streams the answers to one request to its client.

    Args:
        context: the context of the request; records usage, times and error.
        encoder: encodes the events.
        conclude: called when the answers are complete; returns the last events.
        record: called with the encoded events before they are sent.
        keep_alive: the bytes of a keep-alive.
    """

    def __init__(
        self,
        context: RequestContext,
        encoder: StreamEncoder,
        *,
        conclude: Callable[[], Awaitable[Sequence[WireEvent]]] | None = None,
        record: Callable[[Sequence[WireEvent]], None] | None = None,
        keep_alive: bytes = KEEP_ALIVE,
    ) -> None:
        self._context = context
        self._keep_alive = keep_alive
        self._encoder = encoder
        self._conclude = conclude
        self._record = record
        receivers = [partial(self._receive, encode) for encode in encoder.encoders]
        self._group = CompletionGroup(receivers, self._is_over, context.stats)
        self._retry: UpstreamRetry | None = None
        self._writer = SSEWriter(
            context.request,
            context.services.clock,
            self,
            lambda: _comment(self._retry) + self._keep_alive,
        )

    async def run(self, question: PreparedQuestion) -> None:
        """Send the request, and stream its answers to their end.

        Raises:
            CCProxyError: the request failed before anything was sent.
        """
        with self._context.following(self._encoder), self._context.streaming():
            self._writer.open()
            try:
                if self._writer.is_paused:
                    self._group.pause()
                await self._group.run(self._context.services.backend, question)
                if self._encoder.error is not None and self._writer.is_quiet:
                    raise self._encoder.error
                if self._conclude is not None:
                    self._writer.write(sse_frames(await self._conclude()))
            finally:
                self._writer.close()

    def pause(self) -> None:
        """Pause the answers."""
        self._group.pause()

    def resume(self) -> None:
        """Resume the answers."""
        self._group.resume()

    def gone(self) -> None:
        """Cancel the answers: the client has disconnected. Klein cancels `run`."""
        self._group.cancel()

    def _is_over(self) -> bool:
        failed = self._encoder.error is not None and self._writer.is_quiet
        return failed or self._encoder.is_over

    def _receive(self, encode: Encode, events: Sequence[Event]) -> None:
        if self._writer.is_closed:
            return
        encoded = encode(events)
        if self._writer.is_quiet:
            if self._encoder.error is not None:
                return
            self._group.set_headers(self._context.request)
        if self._record is not None:
            self._record(encoded)
        data = sse_frames(encoded)
        last = events[-1]
        self._retry = last if isinstance(last, UpstreamRetry) else None
        if self._retry is not None and not self._writer.is_quiet:
            data += _comment(self._retry)
        self._writer.write(data)


def _comment(retry: UpstreamRetry | None) -> bytes:
    """A comment line about a retry that the CLI waits for; empty if there is none."""
    if retry is None:
        return b""
    return (
        f": waiting for the model's provider ({' '.join(retry.reason.split())}), "
        f"try {retry.attempt + 1} in {retry.delay_seconds:.1f} s\n"
    ).encode()
