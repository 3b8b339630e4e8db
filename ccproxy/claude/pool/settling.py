"""Workers that end a turn and rewind, until they are ready again."""

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.worker.worker import Worker

# A worker settles in some 10 ms; a new one takes 450 ms and much processor time.
_SOON_SECONDS = 0.1


class SettlingWorkers:
    """Settling workers, and a timer for the requests that wait for them.

    Args:
        clock: for the timer.
        waited: called when a request has waited long enough for a settling worker.
    """

    def __init__(self, clock: IReactorTime, waited: Callable[[], None]) -> None:
        self._clock = clock
        self._waited = waited
        # Each with the time until which a request waits for it.
        self._workers: dict[Worker, float] = {}
        self._patience: IDelayedCall | None = None

    def __len__(self) -> int:
        """The number of settling workers."""
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        """The settling workers; they may leave during the iteration."""
        return iter(tuple(self._workers))

    def add(self, worker: Worker) -> None:
        """Add a worker whose request is over."""
        self._workers[worker] = self._clock.seconds() + _SOON_SECONDS

    def discard(self, worker: Worker) -> bool:
        """Remove a worker; tells whether it was there."""
        was_there = self._workers.pop(worker, None) is not None
        if not self._workers and self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return was_there

    def are_soon_ready(self, system: str) -> int:
        """The number of workers that will soon be ready for a request.

        Args:
            system: the system prompt of the request; empty for none.
        """
        if not self._workers:
            return 0
        now = self._clock.seconds()
        soon = [worker for worker, until in self._workers.items() if now < until]
        if system:
            return len(soon)
        return sum(worker.system is None for worker in soon)

    def wait(self) -> None:
        """Start the timer: ``waited`` is called when a worker takes too long."""
        if self._patience is None:
            now = self._clock.seconds()
            ends = [until for until in self._workers.values() if now < until]
            until = min(ends, default=now)
            self._patience = self._clock.callLater(until - now, self._expire)

    def _expire(self) -> None:
        self._patience = None
        self._waited()
