"""Workers whose question is over, until they can be asked again."""

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.worker.worker import Worker

# A worker settles in some 10 ms, a new one takes 450 ms and much of a processor.
_SOON_SECONDS = 0.1


class SettlingWorkers:
    """The workers that settle, and the patience of the questions that wait for them.

    Args:
        waited: called when those that wait have waited long enough for one of them.
    """

    def __init__(self, clock: IReactorTime, waited: Callable[[], None]) -> None:
        self._clock = clock
        self._waited = waited
        # Each with the time until which it is worth to be waited for.
        self._workers: dict[Worker, float] = {}
        self._patience: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        """Those that there are now; they may leave while this is iterated."""
        return iter(tuple(self._workers))

    def add(self, worker: Worker) -> None:
        """Take a worker whose question is over, or is about to be given up."""
        self._workers[worker] = self._clock.seconds() + _SOON_SECONDS

    def discard(self, worker: Worker) -> bool:
        """Remove a worker; tells whether it was there."""
        was_there = self._workers.pop(worker, None) is not None
        if not self._workers and self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return was_there

    def are_soon_ready(self, system: str) -> int:
        """How many are expected to be ready in a moment, and to be of use.

        Args:
            system: the system prompt of the question; empty for none.
        """
        if not self._workers:
            return 0
        now = self._clock.seconds()
        return sum(
            now < until and (bool(system) or worker.system is None)
            for worker, until in self._workers.items()
        )

    def wait(self) -> None:
        """Have ``waited`` called when one of them is not worth waiting for any more.

        Only while there are any that are.
        """
        if self._patience is None:
            now = self._clock.seconds()
            ends = [until for until in self._workers.values() if now < until]
            until = min(ends, default=now)
            self._patience = self._clock.callLater(until - now, self._expire)

    def _expire(self) -> None:
        self._patience = None
        self._waited()
