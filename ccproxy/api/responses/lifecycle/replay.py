"""Sends the event stream of a running or a stored response again."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.server import Request

from ccproxy.api.responses.lifecycle.background import BackgroundResponses
from ccproxy.api.responses.lifecycle.event_log import EventLog, EventLogReader
from ccproxy.api.responses.lifecycle.stored import (
    decode_events,
    end_of_stream,
    shown_response,
)
from ccproxy.core.encoding import WireEvent
from ccproxy.core.errors import CCProxyError, ServerFull, StorageFailed
from ccproxy.store.records import StoredResponse
from ccproxy.store.responses import ResponseStore
from ccproxy.web.apart import LargeWork
from ccproxy.web.memory import HeldMemory

_POLL_SECONDS = 1.0


class ResponseReplay:
    """Sends the streams of background responses and of stored responses.

    Args:
        stored: has the stored responses.
        jobs: has this server's running background responses.
        clock: schedules polling.
        large_work: processes large streams in a thread.
    """

    def __init__(
        self,
        stored: ResponseStore,
        jobs: BackgroundResponses,
        clock: IReactorTime,
        large_work: LargeWork,
    ) -> None:
        self._stored = stored
        self._jobs = jobs
        self._clock = clock
        self._large_work = large_work

    async def play(
        self, request: Request, name: str, after: int, memory: HeldMemory
    ) -> bool:
        """Send a stream to its end.

        Args:
            request: the client's request.
            name: the response's id.
            after: the number of the last event that the client has; -1: none.
            memory: holds the events.

        Returns:
            False if there is no such response. Nothing was written in this case.
        """
        job = self._jobs.get(name)
        if job is not None:
            await EventLogReader(request, self._clock, job.event_log).run(after)
            return True
        kept = await self._stored.get(name)
        if kept is None:
            return False
        event_log = EventLog()
        filled = Deferred.fromCoroutine(self._fill(event_log, kept, after, memory))
        filled.addErrback(_expected)
        try:
            await EventLogReader(request, self._clock, event_log).run()
        finally:
            filled.cancel()
        return True

    async def _fill(
        self,
        event_log: EventLog,
        kept: StoredResponse,
        after: int,
        memory: HeldMemory,
    ) -> None:
        """Fill a log with the stored events.

        If another server still runs the response, wait for its end.
        """
        try:
            events = await self._events(kept, after, memory)
        except (StorageFailed, ServerFull) as error:
            events = await self._end(kept.document, kept.status, after, error)
        event_log.record(events)
        event_log.finish()

    async def _events(
        self, kept: StoredResponse, after: int, memory: HeldMemory
    ) -> list[WireEvent]:
        now: StoredResponse | None = kept
        while now is not None and now.is_running:
            await deferLater(self._clock, _POLL_SECONDS)
            now = await self._stored.get(kept.id)
        events = await self._stored.events(kept.id)
        if events is None:
            last = now or kept
            status = last.status if now is not None else "cancelled"
            return await self._end(last.document, status, after)
        memory.add(len(events))
        decoded = await self._large_work.run(len(events), decode_events, events)
        return decoded[after + 1 :]

    async def _end(
        self,
        document: bytes,
        status: str,
        after: int,
        error: CCProxyError | None = None,
    ) -> list[WireEvent]:
        """Make the end of a stream whose events are not stored."""

        def make() -> list[WireEvent]:
            shown = shown_response(document, status, shows_encrypted=False)
            return end_of_stream(shown, after, error)

        return await self._large_work.run(len(document), make)


def _expected(failure: Failure) -> None:
    failure.trap(CancelledError)
