"""Server-sent events: from the answers to the client's socket, and back pressure.

A client that does not read pauses the questions, which pause their processes.

The status line waits for the first thing to say, so that a question that fails
before is told by its HTTP status. From then on an error is the stream's last event.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ccproxy.core.errors import CCProxyError
from ccproxy.core.question import PreparedQuestion
from ccproxy.core.stream import Event, UpstreamRetry, Usage
from ccproxy.web.answer_stats import AnswerStats
from ccproxy.web.backend import Backend, CompletionGroup
from ccproxy.web.replies import set_queue_header
from ccproxy.web.sse import Encode, WireEvent, sse_frames
from ccproxy.web.sse_writer import SSEWriter


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

    @property
    def encoders(self) -> Sequence[Encode]:
        """One for the events of each question; most requests ask one."""


async def _nothing_more() -> Sequence[WireEvent]:
    return ()


class EventStream:
    """Streams the answers to one question to one client.

    Args:
        stats: what the answers say of their use is noted there.
        conclude: called when the answers are over; what is to be sent last.
        told: told what the events mean to the client.
    """

    def __init__(
        self,
        request: Request,
        encoder: StreamEncoder,
        clock: IReactorTime,
        stats: AnswerStats,
        conclude: Callable[[], Awaitable[Sequence[WireEvent]]] = _nothing_more,
        told: Callable[[Sequence[WireEvent]], None] | None = None,
    ) -> None:
        self._request = request
        self._encoder = encoder
        self._conclude = conclude
        self._told = told
        self._over: Deferred[None] = Deferred()
        receivers = [partial(self._receive, encode) for encode in encoder.encoders]
        self._group = CompletionGroup(receivers, stats, self._over.errback)
        self._retry: UpstreamRetry | None = None
        self._writer = SSEWriter(request, clock, self, lambda: _notice(self._retry))

    async def run(self, backend: Backend, question: PreparedQuestion) -> None:
        """Ask and stream until the end, or until this is cancelled.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        self._writer.open()
        try:
            self._group.put(backend, question)
            if self._writer.is_paused:
                self._group.pause()
            await self._over
            if self._encoder.error is not None and self._writer.is_quiet:
                raise self._encoder.error
            self._writer.write(sse_frames(await self._conclude()))
        finally:
            self._group.cancel()
            self._writer.close()

    def pause(self) -> None:
        """Let the answers wait."""
        self._group.pause()

    def resume(self) -> None:
        """Let them come again."""
        self._group.resume()

    def gone(self) -> None:
        """Give the questions up; whoever runs this cancels it."""
        self._group.cancel()

    def _receive(self, encode: Encode, events: Sequence[Event]) -> None:
        if self._writer.is_closed or self._over.called:
            return
        told = encode(events)
        if self._writer.is_quiet and self._encoder.error is not None:
            self._over.callback(None)
            return
        if self._writer.is_quiet:
            set_queue_header(self._request, self._group.queued_seconds)
        if self._told is not None:
            self._told(told)
        data = sse_frames(told)
        last = events[-1]
        self._retry = last if isinstance(last, UpstreamRetry) else None
        if self._retry is not None and not self._writer.is_quiet:
            data += _notice(self._retry)
        self._writer.write(data)
        if self._encoder.is_over:
            self._over.callback(None)


def _notice(retry: UpstreamRetry | None) -> bytes:
    """A comment of one line; see `SSEWriter` on the empty line."""
    if retry is None:
        return b": keep-alive\n"
    return (
        f": waiting for the model's provider ({' '.join(retry.reason.split())}), "
        f"try {retry.attempt + 1} in {retry.delay_seconds:.1f} s\n"
    ).encode()
