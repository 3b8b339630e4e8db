"""Workers that nobody asks just now, by the system prompt that they have."""

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
    """Workers that are ready, the one used longest ago first.

    Every operation takes the same time however many there are.

    Args:
        seconds: how long one is kept.
        expired: given each that was kept for so long.
    """

    def __init__(
        self, seconds: float, clock: IReactorTime, expired: Callable[[Worker], object]
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._expired = expired
        self._places: OrderedDict[Worker, _Place] = OrderedDict()
        # The same workers by their system prompt; None: never had one.
        self._by_system: dict[str | None, OrderedDict[Worker, None]] = {}
        # Those that have had a system prompt.
        self._used: OrderedDict[Worker, None] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def __contains__(self, worker: Worker) -> bool:
        """Whether a worker is one of them."""
        return worker in self._places

    def __iter__(self) -> Iterator[Worker]:
        """Those that there are now; they may be taken while this is iterated."""
        return iter(tuple(self._places))

    @property
    def has_pristine(self) -> bool:
        """Whether one of them never had a system prompt."""
        return None in self._by_system

    def admit(self, worker: Worker) -> None:
        """Keep a worker for a while."""
        timer = self._clock.callLater(self._seconds, self._expire, worker)
        self._places[worker] = _Place(worker.system, timer)
        self._by_system.setdefault(worker.system, OrderedDict())[worker] = None
        if worker.system is not None:
            self._used[worker] = None

    def take(self, system: str) -> Worker | None:
        """The worker that is the best for a system prompt; None: none can be asked.

        One that has the prompt already, the one used last, saves 8 ms. Otherwise one
        that has another prompt, the one used longest ago: one that never had any is
        kept for questions without, because a prompt cannot be taken back.
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
        """The worker that was used longest ago; None: there is none."""
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
    """What an idle worker is: one that was only looked at is as good as a spare."""
    return Served.IDLE if worker.questions else Served.SPARE
