"""Idle workers by their system prompt."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.observer import Served
from ccproxy.claude.worker.worker import Worker


@define(eq=False)
class _Place:
    system: str | None
    timer: IDelayedCall


class IdleWorkers:
    """Idle workers, the least recently used first.

    The time of an operation does not depend on their number.

    Args:
        seconds: how long an idle worker is kept.
        clock: for timers.
        expired: called with each worker that was kept for so long.
    """

    def __init__(
        self, seconds: float, clock: IReactorTime, expired: Callable[[Worker], object]
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._expired = expired
        self._places: OrderedDict[Worker, _Place] = OrderedDict()
        # By system prompt; None: workers that never had one.
        self._by_system: dict[str | None, OrderedDict[Worker, None]] = {}
        # Workers that have had a system prompt.
        self._used: OrderedDict[Worker, None] = OrderedDict()

    def __len__(self) -> int:
        """The number of idle workers."""
        return len(self._places)

    def __contains__(self, worker: Worker) -> bool:
        """Whether a worker is idle."""
        return worker in self._places

    def __iter__(self) -> Iterator[Worker]:
        """The idle workers; they may be taken during the iteration."""
        return iter(tuple(self._places))

    @property
    def has_pristine(self) -> bool:
        """Whether a worker never had a system prompt."""
        return None in self._by_system

    def admit(self, worker: Worker) -> None:
        """Keep a worker for a while."""
        timer = self._clock.callLater(self._seconds, self._expire, worker)
        self._places[worker] = _Place(worker.system, timer)
        self._by_system.setdefault(worker.system, OrderedDict())[worker] = None
        if worker.system is not None:
            self._used[worker] = None

    def take(self, system: str) -> Worker | None:
        """The best worker for a system prompt; None: no worker can take it.

        A worker that has the prompt already saves 8 ms; the most recently used one is
        taken. Otherwise the least recently used worker with another prompt is taken.
        Workers that never had a prompt are kept for requests without one, because a
        prompt cannot be removed.
        """
        same = self._by_system.get(system or None)
        if same:
            return self._remove(next(reversed(same)))
        if not system:
            return None
        for workers in (self._used, self._places):
            if workers:
                return self._remove(next(iter(workers)))
        return None

    def take_oldest(self) -> Worker | None:
        """The least recently used worker; None: there is none."""
        return self._remove(next(iter(self._places))) if self._places else None

    def discard(self, worker: Worker) -> bool:
        """Remove a worker; tells whether it was there."""
        if worker not in self._places:
            return False
        self._remove(worker)
        return True

    def _expire(self, worker: Worker) -> None:
        self._remove(worker)
        self._expired(worker)

    def _remove(self, worker: Worker) -> Worker:
        place = self._places.pop(worker)
        if place.timer.active():
            place.timer.cancel()
        same = self._by_system[place.system]
        del same[worker]
        if not same:
            del self._by_system[place.system]
        self._used.pop(worker, None)
        return worker


def worker_kind(worker: Worker) -> Served:
    """The kind of an idle worker: without a question it is as good as a spare."""
    return Served.IDLE if worker.questions else Served.SPARE
