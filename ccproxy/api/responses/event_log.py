"""Records the events of a response's stream, and plays them to clients.

An event's index is its ``sequence_number``.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ccproxy.core.encoding import DONE, WireEvent, sse_frames
from ccproxy.web.event_stream import SSEWriter

# Events that are written at once; a full socket then pauses the reader.
_BATCH_EVENTS = 256


class EventLog:
    """The events so far, and whether there will be more.

    Attributes:
        events: from the first one on.
        is_over: whether no more events follow.
    """

    def __init__(self) -> None:
        self.events: list[WireEvent] = []
        self.is_over = False
        self._listeners: list[Callable[[], None]] = []

    def record(self, events: Sequence[WireEvent]) -> None:
        """Add events."""
        if events:
            self.events += events
            self._notify()

    def finish(self) -> None:
        """Note that no more events follow."""
        self.is_over = True
        self._notify()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call a function at each change."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Stop calling a function."""
        self._listeners.remove(listener)

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()


class EventLogReader:
    """Plays a log to a client at the client's own pace."""

    def __init__(
        self, request: Request, clock: IReactorTime, event_log: EventLog
    ) -> None:
        self._event_log = event_log
        self._writer = SSEWriter(request, clock, self)
        self._next = 0
        self._is_done = False
        self._over: Deferred[None] = Deferred()

    async def run(self, after: int = -1) -> None:
        """Play until the end, or until this is cancelled.

        Args:
            after: the ``sequence_number`` of the last event that the client has.
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
        """Nothing to do: `_play` asks the writer."""

    def resume(self) -> None:
        """Continue."""
        self._play()

    def gone(self) -> None:
        """Nothing to do: the coroutine that runs this is cancelled."""

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
            # Before the write, which may call this method again by a pause and a
            # resume.
            self._next += len(events)
            self._writer.write(sse_frames(events))
