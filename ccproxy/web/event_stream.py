"""Streams an answer to one client as server-sent events, with back pressure.

A client that does not read pauses the questions, which pause their processes.

The status line waits for the first event, so that a question that fails before it is
answered with its own HTTP status. A later error is the last event of the stream.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ccproxy.core.errors import CCProxyError
from ccproxy.core.question import PreparedQuestion
from ccproxy.core.stream import Event, UpstreamRetry, Usage
from ccproxy.web.answer_stats import AnswerStats
from ccproxy.web.backend import Backend
from ccproxy.web.completion_group import CompletionGroup
from ccproxy.web.replies import set_queue_header
from ccproxy.web.sse import Encode, WireEvent, sse_frames
from ccproxy.web.sse_writer import KEEP_ALIVE, SSEWriter


class StreamEncoder(Protocol):
    """Makes the events of one API's stream."""

    @property
    def is_over(self) -> bool:
        """Whether all events have been encoded."""

    @property
    def error(self) -> CCProxyError | None:
        """The error that ended the answer."""

    @property
    def model(self) -> str:
        """The full id of the model that answers; empty before it does."""

    @property
    def usage(self) -> Usage:
        """The usage of the answer, once it is over."""

    @property
    def encoders(self) -> Sequence[Encode]:
        """One for the events of each question; most requests ask one."""


class EventStream:
    """Streams the answers to one question to one client.

    Args:
        request: of the client.
        encoder: makes the events.
        clock: times the keep-alive comments.
        stats: gets usage and times of the answers.
        conclude: called when the answers are over; returns the last events.
        record: called with the events before they are sent.
    """

    def __init__(
        self,
        request: Request,
        encoder: StreamEncoder,
        clock: IReactorTime,
        stats: AnswerStats,
        *,
        conclude: Callable[[], Awaitable[Sequence[WireEvent]]] | None = None,
        record: Callable[[Sequence[WireEvent]], None] | None = None,
    ) -> None:
        self._request = request
        self._encoder = encoder
        self._conclude = conclude
        self._record = record
        receivers = [partial(self._receive, encode) for encode in encoder.encoders]
        self._group = CompletionGroup(receivers, self._is_over, stats)
        self._retry: UpstreamRetry | None = None
        self._writer = SSEWriter(request, clock, self, lambda: _comment(self._retry))

    async def run(self, backend: Backend, question: PreparedQuestion) -> None:
        """Ask and stream until the end, or until this is cancelled.

        Raises:
            CCProxyError: the question failed before anything was sent.
        """
        self._writer.open()
        try:
            if self._writer.is_paused:
                self._group.pause()
            await self._group.run(backend, question)
            if self._encoder.error is not None and self._writer.is_quiet:
                raise self._encoder.error
            if self._conclude is not None:
                self._writer.write(sse_frames(await self._conclude()))
        finally:
            self._writer.close()

    def pause(self) -> None:
        """Stop the answers from coming."""
        self._group.pause()

    def resume(self) -> None:
        """Let them come."""
        self._group.resume()

    def gone(self) -> None:
        """Cancel the questions: the client has disconnected. Klein cancels `run`."""
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
            set_queue_header(self._request, self._group.queued_seconds)
        if self._record is not None:
            self._record(encoded)
        data = sse_frames(encoded)
        last = events[-1]
        self._retry = last if isinstance(last, UpstreamRetry) else None
        if self._retry is not None and not self._writer.is_quiet:
            data += _comment(self._retry)
        self._writer.write(data)


def _comment(retry: UpstreamRetry | None) -> bytes:
    """A comment of one line; see `SSEWriter` on the empty line."""
    if retry is None:
        return KEEP_ALIVE
    return (
        f": waiting for the model's provider ({' '.join(retry.reason.split())}), "
        f"try {retry.attempt + 1} in {retry.delay_seconds:.1f} s\n"
    ).encode()
