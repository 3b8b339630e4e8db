"""Responses that are made in the background, whether or not a client waits.

A job runs until its encoder is over, is then on its way into the store, and is over for
its clients when the store has it. What could not be kept is failed, for whoever asks
here, and the store is told again until it takes it: a response never stays unfinished
while its server lives.
"""

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from ccproxy.api.responses.event_log import EventLog
from ccproxy.api.responses.stored import kept_response
from ccproxy.api.responses.turns import PreparedResponse, ResponseBuilder
from ccproxy.core.errors import CCProxyError, InternalError, StorageFailed
from ccproxy.core.stream import Event, Failed
from ccproxy.store.responses import ResponseStore
from ccproxy.store.shield import shield
from ccproxy.web.answer_stats import AnswerStats
from ccproxy.web.completion_group import CompletionGroup
from ccproxy.web.context import RequestIdentity
from ccproxy.web.sse import WireEvent

# Other servers of the store may cancel what runs here.
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 5.0

_BACKGROUND = "background"
_OK = 200


class BackgroundResponse:
    """One response in the making.

    Attributes:
        response: as clients see it; it is over once that is kept, or could not be.
    """

    def __init__(
        self, turn: PreparedResponse, asker: RequestIdentity, clock: IReactorTime
    ) -> None:
        self.turn = turn
        self.asker = asker
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
        """Make no more of it than there is."""
        if not self.turn.encoder.is_over:
            self.group.cancel()
            self.event_log.record(self.turn.encoder.cancel())
            self.group.finish()

    def fail(self, error: CCProxyError) -> None:
        """End it for a reason that no answer gave."""
        if not self.turn.encoder.is_over:
            self.event_log.record(self.turn.encoder.encode([Failed(error)]))

    def finish(self, end: Sequence[WireEvent]) -> None:
        """Tell the end, which is known now."""
        self.response = self.turn.encoder.response
        self.event_log.record(end)
        self.event_log.finish()

    @property
    def document(self) -> bytes:
        """The response as clients see it."""
        return kept_response(self.response, self.turn.encoder.output)

    def _receive(self, events: Sequence[Event]) -> None:
        encoder = self.turn.encoder
        if not encoder.is_over:
            self.event_log.record(encoder.encode(events))
            if not encoder.is_over:
                self.response = encoder.response


class BackgroundResponses:
    """All responses that are made in the background here."""

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
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(
        self, turn: PreparedResponse, asker: RequestIdentity
    ) -> "Deferred[BackgroundResponse]":
        """Keep that it was asked, and ask; whoever waits for that may go away.

        Raises:
            StorageFailed: it could not be kept, and was not asked.
        """
        return shield(Deferred.fromCoroutine(self._start(turn, asker)))

    async def _start(
        self, turn: PreparedResponse, asker: RequestIdentity
    ) -> BackgroundResponse:
        asker = evolve(asker, route=f"{asker.route} {_BACKGROUND}", id=turn.id)
        job = BackgroundResponse(turn, asker, self._clock)
        await self._stored.begin(self._turns.beginning(turn))
        self._jobs[turn.id] = job
        end = Deferred.fromCoroutine(self._run(job))
        self._ends.add(end)
        end.addErrback(lambda failure: self._log.failure("lost a response", failure))
        end.addCallback(lambda _: self._is_over(end))
        if self._ends and not self._looking.running:
            self._looking.start(_LOOK_SECONDS, now=False)
        return job

    def get(self, identifier: str) -> BackgroundResponse | None:
        """A response that is made here, or was and is not kept yet."""
        return self._jobs.get(identifier)

    async def cancel(self, job: BackgroundResponse) -> None:
        """End one, and wait until that is kept."""
        job.cancel()
        await self._finished(job)

    async def drain(self) -> None:
        """Wait until all are kept; what the store does not take now is given up."""
        self._is_stopping = True
        for sleep in tuple(self._sleeps):
            sleep.cancel()
        while self._ends:
            await DeferredList(list(self._ends))

    def _is_over(self, end: "Deferred[None]") -> None:
        self._ends.discard(end)
        if not self._ends and self._looking.running:
            self._looking.stop()

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
                InternalError("the proxy has a fault; its log has it, please report it")
            )
        await advanced
        try:
            await self._keep(job)
        except Exception:  # noqa: BLE001  # whoever listens must hear an end
            self._log.failure("the response {id} was not kept", id=turn.id)
            bug = InternalError(
                "the proxy has a fault; its log has it, please report it"
            )
            job.finish(turn.encoder.conclude(bug))
            await self._keep_failure(job)
        self._log_end(job)
        self._jobs.pop(turn.id, None)

    def _log_end(self, job: BackgroundResponse) -> None:
        encoder = job.turn.encoder
        error = encoder.error
        outcome = "cancelled" if encoder.response["status"] == "cancelled" else "ok"
        job.asker.ended(
            status=_OK if error is None else error.status,
            outcome=outcome if error is None else error.code,
            seconds=self._clock.seconds() - job.began_seconds,
            model=encoder.model,
            usage=encoder.usage,
            stats=job.stats,
        )

    async def _advance(self, job: BackgroundResponse) -> None:
        try:
            await self._stored.set_status(job.turn.id, "in_progress")
        except StorageFailed:
            # How it ends is what counts, and is told.
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
        """Have the store take that it failed, as soon as it takes anything."""
        ending = self._turns.ending(job.turn, job.event_log.events)
        while not self._is_stopping:
            sleep: Deferred[None] = deferLater(self._clock, _AGAIN_SECONDS)
            self._sleeps.add(sleep)
            try:
                await sleep
                await self._stored.finish(job.turn.id, ending)
            except StorageFailed:
                continue
            except CancelledError:
                # Who finds it next finds its server gone.
                pass
            finally:
                self._sleeps.discard(sleep)
            return

    def _look(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._cancel_what_others_did())

    async def _cancel_what_others_did(self) -> None:
        mine = [j for j in self._jobs.values() if not j.turn.encoder.is_over]
        if not mine:
            return
        try:
            running = await self._stored.still_running([job.turn.id for job in mine])
        except StorageFailed:
            # Its end will meet with the same, and tell.
            return
        for job in mine:
            if job.turn.id not in running:
                job.cancel()
