"""Records the events of a response's stream, and sends them to clients.

An event's index in the log is its ``sequence_number``.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ccproxy.core.encoding import DONE, WireEvent, sse_frames
from ccproxy.web.event_stream import SSEWriter

# The number of events in one write. A full socket pauses the reader between writes.
_BATCH_EVENTS = 256


class EventLog:
    """The list of a stream's events, which grows until `finish`.

    Attributes:
        events: all events so far.
        is_over: whether `finish` was called.
    """

    def __init__(self) -> None:
        self.events: list[WireEvent] = []
        self.is_over = False
        self._listeners: list[Callable[[], None]] = []

    def record(self, events: Sequence[WireEvent]) -> None:
        """Append events."""
        if events:
            self.events += events
            self._notify()

    def finish(self) -> None:
        """Mark the log as complete."""
        self.is_over = True
        self._notify()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function after each change."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Stop calling a function."""
        self._listeners.remove(listener)

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()


class EventLogReader:
    """Sends a log to a client as fast as the client reads.

    Args:
        request: the client's request.
        clock: schedules the keep-alive.
        event_log: the events.
    """

    def __init__(
        self, request: Request, clock: IReactorTime, event_log: EventLog
    ) -> None:
        self._event_log = event_log
        self._writer = SSEWriter(request, clock, self)
        self._next = 0
        self._is_done = False
        self._over: Deferred[None] = Deferred()

    async def run(self, after: int = -1) -> None:
        """Send events until the log is complete.

        Args:
            after: the ``sequence_number`` of the last event that the client has; -1:
                none.
        """
        self._next = after + 1
        self._writer.open()
        self._event_log.listen(self._play)
        try:
            self._play()
            await self._over
        finally:
            self._event_log.unlisten(self._play)
            self._writer.close()

    def pause(self) -> None:
        """Do nothing: `_play` checks whether the client reads."""

    def resume(self) -> None:
        """Continue to send."""
        self._play()

    def gone(self) -> None:
        """Do nothing: Klein cancels `run` when the client disconnects."""

    def _play(self) -> None:
        log = self._event_log
        while not self._writer.is_paused and not self._writer.is_closed:
            events = log.events[self._next : self._next + _BATCH_EVENTS]
            if not events:
                if log.is_over and not self._is_done:
                    self._is_done = True
                    self._writer.write(sse_frames([DONE]))
                    self._over.callback(None)
                return
            # This comes before the write, because `write` may call `_play` again.
            self._next += len(events)
            self._writer.write(sse_frames(events))
