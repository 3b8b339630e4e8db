"""A stream of events that is recorded, and played as often as anybody wants."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from ccproxy.api.responses.event_encoder import skip_events
from ccproxy.web.sse_writer import SSEWriter

_CHUNK_BYTES = 2**16


class EventLog:
    """What has been told so far, and whether there will be more."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._listeners: list[Callable[[], None]] = []
        self.is_over = False

    @property
    def data(self) -> bytes:
        """Everything so far."""
        return bytes(self._data)

    def record(self, data: bytes) -> None:
        """Add whole events."""
        if data:
            self._data += data
            self._tell()

    def finish(self) -> None:
        """Note that this was all."""
        self.is_over = True
        self._tell()

    def skip(self, begin: int, count: int) -> tuple[int, int]:
        """Where to go on after some events, and how many of them are to come."""
        return skip_events(self._data, begin, count)

    def part(self, begin: int, size: int) -> bytes:
        """Some of it."""
        return bytes(self._data[begin : begin + size])

    def listen(self, listener: Callable[[], None]) -> None:
        """Have somebody told of each change."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Have them told no longer."""
        self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()


class EventLogReader:
    """Plays a tape to a client, from some event on, at the client's own pace."""

    def __init__(
        self, request: Request, clock: IReactorTime, event_log: EventLog
    ) -> None:
        self._event_log = event_log
        self._writer = SSEWriter(request, clock, self)
        self._place = self._to_skip = 0
        self._over: Deferred[None] = Deferred()

    async def run(self, after: int = -1) -> None:
        """Play until the end, or until this is cancelled.

        Args:
            after: the ``sequence_number`` of the last event that the client has.
        """
        self._to_skip = after + 1
        self._writer.open()
        self._event_log.listen(self._play)
        try:
            self._play()
            await self._over
        finally:
            self._event_log.unlisten(self._play)
            self._writer.close()

    def pause(self) -> None:
        """Nothing to do: what is played asks the outlet."""

    def resume(self) -> None:
        """Go on."""
        self._play()

    def gone(self) -> None:
        """Play no more; whoever runs this cancels it."""

    def _play(self) -> None:
        while not self._writer.is_paused and not self._writer.is_closed:
            # The client has them; on a tape that is still made they may be to come.
            self._place, self._to_skip = self._event_log.skip(
                self._place, self._to_skip
            )
            is_behind = self._to_skip > 0
            data = b"" if is_behind else self._event_log.part(self._place, _CHUNK_BYTES)
            if not data:
                if self._event_log.is_over and not self._over.called:
                    self._over.callback(None)
                return
            # Before the write, which may come back here by a pause and resume.
            self._place += len(data)
            self._writer.write(data)
