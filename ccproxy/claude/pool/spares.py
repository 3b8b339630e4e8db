"""Workers that are started ahead of time and have had no request.

Spares are started one by one, while no requests arrive and no request waits for its
worker to start. So their starts do not slow down answers. They do not run at a lower
priority, because only root may raise the priority again when a spare takes a request.
"""

from collections.abc import Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from ccproxy.claude.observer import StopReason
from ccproxy.claude.worker.worker import Worker
from ccproxy.core.errors import CCProxyError

# The time without a request before a spare is started. A start takes 0.45 s.
_QUIET_SECONDS = 0.25
# Pause after a failed start; doubled after each further failure.
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class SpareOwner(Protocol):
    """Starts and stops the processes of spares."""

    @property
    def is_starting_worker(self) -> bool:
        """Whether a request waits for its worker to start; then no spare is started."""

    def has_room_for_spare(self) -> bool:
        """Whether a spare may be started; if not, it may free a slot for later.

        Raises:
            CCProxyError: no worker can be started.
        """

    def start_worker(self) -> Worker:
        """Start a worker; raises `CCProxyError`."""

    def retire(self, worker: Worker, why: StopReason) -> None:
        """Stop a worker that was a spare."""


class SpareWorkers:
    """Keeps a number of spares.

    Args:
        wanted: the number of spares.
        owner: starts and stops their processes.
        clock: for timers.
    """

    _log = Logger()

    def __init__(self, wanted: int, owner: SpareOwner, clock: IReactorTime) -> None:
        self._wanted = wanted
        self._owner = owner
        self._clock = clock
        self._workers: dict[Worker, None] = {}
        self._timer: IDelayedCall | None = None
        self._pause_seconds = 0.0

    def __len__(self) -> int:
        """The number of spares."""
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        """The spares; they may be taken during the iteration."""
        return iter(tuple(self._workers))

    @property
    def missing(self) -> int:
        """The number of spares that are missing."""
        return self._wanted - len(self._workers)

    @property
    def warming(self) -> int:
        """The number of spares that are being warmed up and cannot take a request."""
        return sum(worker.is_settling for worker in self._workers)

    def admit(self, worker: Worker) -> None:
        """Keep a worker as a spare, and warm it up."""
        self._workers[worker] = None
        Deferred.fromCoroutine(_warm_up(worker)).addErrback(self._not_warm, worker)

    def take(self, system: str) -> Worker | None:
        """Take a spare for a request with this system prompt; None: there is none.

        A ready spare is preferred to a starting one. Spares that do not run any more
        are retired.
        """
        if not self._workers:
            return None
        starting: Worker | None = None
        for worker in self:
            if worker.can_ask(system):
                if worker.is_ready:
                    return self._taken(worker)
                starting = starting or worker
            elif worker.is_ready or worker.is_starting:
                self._lose(worker, "it is no longer running")
        return None if starting is None else self._taken(starting)

    def discard(self, worker: Worker) -> bool:
        """Remove a spare, to stop it; returns whether it was there."""
        was_there = worker in self._workers
        self._workers.pop(worker, None)
        return was_there

    def take_any(self) -> Worker | None:
        """Remove the newest spare, to stop it; None: there is none."""
        return self._workers.popitem()[0] if self._workers else None

    def lost(self, worker: Worker) -> bool:
        """Retire a worker that has ended, if it is a spare; returns whether it is."""
        if worker not in self._workers:
            return False
        self._lose(worker, "it ended by itself")
        self.refill()
        return True

    def refill(self, *, now: bool = False) -> None:
        """Start missing spares when no request has arrived for a moment."""
        if self.missing <= 0:
            return
        delay = max(self._pause_seconds, 0.0 if now else _QUIET_SECONDS)
        if self._timer is None:
            self._timer = self._clock.callLater(delay, self._fill)
        else:
            self._timer.reset(delay)

    def stop(self) -> None:
        """Start no more spares until `refill`."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _taken(self, worker: Worker) -> Worker:
        del self._workers[worker]
        self._pause_seconds = 0.0
        return worker

    def _fill(self) -> None:
        self._timer = None
        if self.missing <= 0:
            return
        if self._owner.is_starting_worker:
            self.refill()
            return
        try:
            if not self._owner.has_room_for_spare():
                return
            worker = self._owner.start_worker()
        except CCProxyError as error:
            self._back_off(str(error))
        else:
            self.admit(worker)
        self.refill()

    def _lose(self, worker: Worker, why: str) -> None:
        del self._workers[worker]
        worker.kill()
        self._owner.retire(worker, StopReason.LOST)
        self._back_off(why)

    def _not_warm(self, failure: Failure, worker: Worker) -> None:
        if worker not in self._workers:
            # The worker was taken or stopped; its request gets the error.
            failure.trap(CCProxyError)
            return
        if failure.check(CCProxyError) is None:
            self._log.failure("a spare could not be warmed up", failure)
        self._lose(worker, failure.getErrorMessage())
        self.refill()

    def _back_off(self, why: str) -> None:
        # Repeated failures are logged at a lower level.
        level = LogLevel.debug if self._pause_seconds else LogLevel.warn
        doubled = max(_FIRST_PAUSE_SECONDS, 2 * self._pause_seconds)
        self._pause_seconds = min(doubled, _LONGEST_PAUSE_SECONDS)
        self._log.emit(
            level,
            "no claude CLI can be kept ready ({why}); next try in {seconds:g} s",
            why=why,
            seconds=self._pause_seconds,
        )


async def _warm_up(worker: Worker) -> None:
    if worker.is_starting:
        await worker.open()
    if worker.is_ready:
        await worker.warm_up()
