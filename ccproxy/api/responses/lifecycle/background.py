"""Background responses, whose answers do not depend on the client's connection.

When the answer has ended, the response is stored. Clients see the end after that. If
the store fails, the clients of this server see a failed response, and the server tries
to store the failure until the store accepts it.
"""

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from ccproxy.api.responses.lifecycle.event_log import EventLog
from ccproxy.api.responses.lifecycle.stored import kept_response
from ccproxy.api.responses.lifecycle.turns import PreparedResponse, ResponseBuilder
from ccproxy.core.encoding import WireEvent
from ccproxy.core.errors import CCProxyError, InternalError, StorageFailed
from ccproxy.core.stream import Event, Failed
from ccproxy.store.database import shield
from ccproxy.store.responses import ResponseStore
from ccproxy.web.completion_group import CompletionGroup
from ccproxy.web.context import RequestIdentity
from ccproxy.web.memory import HeldMemory
from ccproxy.web.observer import AnswerStats

# How often the store is asked whether another server has cancelled a response.
_POLL_SECONDS = 2.0
_RETRY_SECONDS = 5.0

_BACKGROUND = "background"
_OK = 200


class BackgroundResponse:
    """One background response.

    Attributes:
        response: the document for clients. It contains the end only after the attempt
            to store the end.
    """

    def __init__(
        self, turn: PreparedResponse, identity: RequestIdentity, clock: IReactorTime
    ) -> None:
        self.turn = turn
        self.identity = identity
        self.began_seconds = clock.seconds()
        self.stats = AnswerStats(clock.seconds)
        self.event_log = EventLog()
        encoder = turn.encoder
        self.group = CompletionGroup(
            [self._receive], lambda: encoder.is_over, self.stats
        )
        self.event_log.record(turn.encoder.queue())
        self.response = turn.encoder.response

    def cancel(self) -> None:
        """Cancel the answer; does nothing if the answer has ended."""
        if not self.turn.encoder.is_over:
            self.group.cancel()
            self.event_log.record(self.turn.encoder.cancel())
            self.group.finish()

    def fail(self, error: CCProxyError) -> None:
        """End the answer with an error of the proxy."""
        if not self.turn.encoder.is_over:
            self.event_log.record(self.turn.encoder.encode([Failed(error)]))

    def finish(self, end: Sequence[WireEvent]) -> None:
        """Make the end visible to clients."""
        self.response = self.turn.encoder.response
        self.event_log.record(end)
        self.event_log.finish()

    @property
    def document(self) -> bytes:
        """The response for clients, with encrypted content."""
        return kept_response(self.response, self.turn.encoder.output)

    def _receive(self, events: Sequence[Event]) -> None:
        encoder = self.turn.encoder
        if not encoder.is_over:
            self.event_log.record(encoder.encode(events))
            if not encoder.is_over:
                self.response = encoder.response


class BackgroundResponses:
    """All background responses of this server.

    Args:
        turns: has the backend, and encodes responses for the store.
        stored: the store of responses.
        clock: schedules polling and retries.
    """

    _log = Logger()

    def __init__(
        self, turns: ResponseBuilder, stored: ResponseStore, clock: IReactorTime
    ) -> None:
        self._turns = turns
        self._stored = stored
        self._clock = clock
        self._jobs: dict[str, BackgroundResponse] = {}
        self._ends: set[Deferred[None]] = set()
        self._sleeps: set[Deferred[None]] = set()
        self._is_stopping = False
        self._polling = LoopingCall(self._poll)
        self._polling.clock = clock

    def start(
        self,
        turn: PreparedResponse,
        identity: RequestIdentity,
        memory: HeldMemory,
    ) -> "Deferred[BackgroundResponse]":
        """Store the response, and send its request.

        The memory is released when the response is over.

        Fires with the response when the beginning is stored.

        Fails with `StorageFailed` if it cannot be stored; no request is sent then.

        On cancel: the response still runs.
        """
        return shield(Deferred.fromCoroutine(self._start(turn, identity, memory)))

    async def _start(
        self, turn: PreparedResponse, identity: RequestIdentity, memory: HeldMemory
    ) -> BackgroundResponse:
        identity = evolve(identity, route=f"{identity.route} {_BACKGROUND}", id=turn.id)
        job = BackgroundResponse(turn, identity, self._clock)
        try:
            await self._stored.begin(self._turns.beginning(turn))
        except Exception:
            memory.release()
            raise
        self._jobs[turn.id] = job
        end = Deferred.fromCoroutine(self._run(job))
        self._ends.add(end)
        end.addErrback(lambda failure: self._log.failure("lost a response", failure))
        end.addCallback(lambda _: memory.release())
        end.addCallback(lambda _: self._is_over(end))
        if self._ends and not self._polling.running:
            self._polling.start(_POLL_SECONDS, now=False)
        return job

    def get(self, identifier: str) -> BackgroundResponse | None:
        """A response of this server whose end is not stored yet; None: not found."""
        return self._jobs.get(identifier)

    async def cancel(self, job: BackgroundResponse) -> None:
        """Cancel a response, and wait until the cancellation is stored."""
        job.cancel()
        await self._finished(job)

    async def drain(self) -> None:
        """Wait until all responses are stored; stop retrying those that fail."""
        self._is_stopping = True
        for sleep in tuple(self._sleeps):
            sleep.cancel()
        while self._ends:
            await DeferredList(list(self._ends))

    def _is_over(self, end: "Deferred[None]") -> None:
        self._ends.discard(end)
        if not self._ends and self._polling.running:
            self._polling.stop()

    async def _finished(self, job: BackgroundResponse) -> None:
        finished: Deferred[None] = Deferred()

        def changed() -> None:
            if job.event_log.is_over and not finished.called:
                finished.callback(None)

        job.event_log.listen(changed)
        changed()
        try:
            await finished
        finally:
            job.event_log.unlisten(changed)

    async def _run(self, job: BackgroundResponse) -> None:
        turn = job.turn
        advanced = Deferred.fromCoroutine(self._advance(job))
        try:
            await job.group.run(self._turns.backend, turn.question)
        except Exception:  # noqa: BLE001  # whatever it is, the response must end
            self._log.failure("the response {id} failed", id=turn.id)
            job.fail(
                InternalError(
                    "the proxy has a bug; its log has the details, please report it"
                )
            )
        await advanced
        try:
            await self._keep(job)
        except Exception:  # noqa: BLE001  # clients must get an end
            self._log.failure("the response {id} was not stored", id=turn.id)
            bug = InternalError(
                "the proxy has a bug; its log has the details, please report it"
            )
            job.finish(turn.encoder.conclude(bug))
            await self._keep_failure(job)
        self._log_end(job)
        self._jobs.pop(turn.id, None)

    def _log_end(self, job: BackgroundResponse) -> None:
        encoder = job.turn.encoder
        error = encoder.error
        outcome = "cancelled" if encoder.response.status == "cancelled" else "ok"
        job.identity.ended(
            status=_OK if error is None else error.status,
            outcome=outcome if error is None else error.code,
            cause=None if error is None else error.cause,
            seconds=self._clock.seconds() - job.began_seconds,
            model=encoder.model,
            stats=job.stats,
        )

    async def _advance(self, job: BackgroundResponse) -> None:
        try:
            await self._stored.set_status(job.turn.id, "in_progress")
        except StorageFailed:
            # The end is stored later, with its own status.
            return

    async def _keep(self, job: BackgroundResponse) -> None:
        turn = job.turn
        end = turn.encoder.conclude()
        try:
            await self._stored.finish(
                turn.id, self._turns.ending(turn, [*job.event_log.events, *end])
            )
        except StorageFailed as error:
            job.finish(turn.encoder.conclude(error))
            await self._keep_failure(job)
        else:
            job.finish(end)

    async def _keep_failure(self, job: BackgroundResponse) -> None:
        """Store the failure; retry until the store accepts it, or the server stops."""
        ending = self._turns.ending(job.turn, job.event_log.events)
        while not self._is_stopping:
            sleep: Deferred[None] = deferLater(self._clock, _RETRY_SECONDS)
            self._sleeps.add(sleep)
            try:
                await sleep
                await self._stored.finish(job.turn.id, ending)
            except StorageFailed:
                continue
            except CancelledError:
                # The next server that reads the response marks it as failed.
                pass
            finally:
                self._sleeps.discard(sleep)
            return

    def _poll(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._apply_cancellations())

    async def _apply_cancellations(self) -> None:
        mine = [j for j in self._jobs.values() if not j.turn.encoder.is_over]
        if not mine:
            return
        try:
            running = await self._stored.still_running([job.turn.id for job in mine])
        except StorageFailed:
            # If the store still fails at the end, that failure is reported.
            return
        for job in mine:
            if job.turn.id not in running:
                job.cancel()
