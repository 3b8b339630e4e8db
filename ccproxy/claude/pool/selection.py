"""Chooses the worker that a request gets, and the workers that are stopped.

A request takes, in this order: an idle worker that has its system prompt; another idle
worker; a worker that will soon have settled, for which it waits; a spare; a new worker.
A request whose worker was lost takes a spare or a new worker; if neither is possible,
an idle worker. A request without a system prompt needs a worker that never had one.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.claude.observer import Served, StopReason
from ccproxy.claude.pool.processes import ProcessSlots, StoppingProcesses, WorkerFactory
from ccproxy.claude.pool.requests import PoolClient
from ccproxy.claude.pool.spares import SpareWorkers
from ccproxy.claude.worker.worker import Worker

# The time for which a request waits for a settling worker before it takes a spare or a
# new worker. Settling takes about 10 ms, a start 450 ms and much processor time.
_SOON_SECONDS = 0.1


@define(eq=False)
class _Place:
    system: str | None
    timer: IDelayedCall


class IdleWorkers:
    """Idle workers, the least recently used first.

    Each operation except iteration takes constant time.

    Args:
        seconds: how long an idle worker is kept.
        clock: for timers.
        expired: called with each worker whose time is over.
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
        """Whether there is an idle worker that never had a system prompt."""
        return None in self._by_system

    def admit(self, worker: Worker) -> None:
        """Add an idle worker; it is kept for ``seconds``."""
        timer = self._clock.callLater(self._seconds, self._expire, worker)
        self._places[worker] = _Place(worker.system, timer)
        self._by_system.setdefault(worker.system, OrderedDict())[worker] = None
        if worker.system is not None:
            self._used[worker] = None

    def take(self, system: str) -> Worker | None:
        """Remove the best worker for a system prompt; None: there is no such worker.

        The best is the most recently used worker that has the prompt, which saves 8 ms;
        then the least recently used worker with another prompt; then a worker that
        never had a prompt. Such a worker is taken last, because only it can serve a
        request without a prompt: a prompt cannot be removed.

        Args:
            system: the system prompt; empty for none.
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
        """Remove the least recently used worker; None: there is none."""
        return self._remove(next(iter(self._places))) if self._places else None

    def discard(self, worker: Worker) -> bool:
        """Remove a worker; returns whether it was idle."""
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
    """The kind of an idle worker; a worker that was never asked counts as a spare."""
    return Served.IDLE if worker.questions else Served.SPARE


class SettlingWorkers:
    """Settling workers, and a timer for the requests that wait for them.

    Args:
        clock: for the timer.
        waited: called when a request has waited long enough for a settling worker.
    """

    def __init__(self, clock: IReactorTime, waited: Callable[[], None]) -> None:
        self._clock = clock
        self._waited = waited
        # For each worker: the time until which a request waits for the worker.
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
        """Remove a worker; returns whether it was settling."""
        was_there = self._workers.pop(worker, None) is not None
        if not self._workers and self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return was_there

    def count_soon_ready(self, system: str) -> int:
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


class WorkerSelector:
    """Chooses among the workers without a request.

    Args:
        start: starts a worker in a free slot; raises `CCProxyError`.
    """

    def __init__(
        self,
        idle: IdleWorkers,
        spares: SpareWorkers,
        settling: SettlingWorkers,
        factory: WorkerFactory,
        stopping: StoppingProcesses[Worker],
        slots: ProcessSlots,
        start: Callable[[], Worker],
    ) -> None:
        self._idle = idle
        self._spares = spares
        self._settling = settling
        self._factory = factory
        self._stopping = stopping
        self._slots = slots
        self._start = start

    @property
    def leaving(self) -> int:
        """How many workers will soon be free or gone."""
        return self._slots.leaving + len(self._settling) + self._spares.warming

    def choose(self, client: PoolClient, promised: int) -> tuple[Worker, Served] | None:
        """Choose the worker for a request; None: there is none now.

        Args:
            client: the request.
            promised: the number of workers that will soon be free but are promised to
                earlier requests.

        Raises:
            CCProxyError: no worker could be started.
        """
        if not client.wants_new:
            worker = self._take_idle(client.system)
            if worker is not None:
                return worker, worker_kind(worker)
            if self._settling.count_soon_ready(client.system) > promised:
                self._settling.wait()
                return None
        worker = self._spares.take(client.system)
        if worker is not None:
            return worker, Served.SPARE
        if self._slots.is_free and self._spares.warming <= promised:
            if self._factory.is_allowed():
                return self._start(), Served.NEW
            # The binary is being examined; `Pool.wake` is called after the examination.
            return None
        worker = self._take_idle(client.system)
        return None if worker is None else (worker, worker_kind(worker))

    def make_room(self, places: int) -> bool:
        """Stop idle processes, so that ``places`` requests can get a worker.

        Returns:
            Whether enough workers are, or will be, free.
        """
        while self.leaving + self._slots.free < places:
            if not self.dismiss_one() and not self._slots.make_room():
                return False
        return True

    def dismiss_one(self, why: StopReason = StopReason.ROOM) -> bool:
        """Stop one worker without a request; returns whether there was one."""
        worker = self._idle.take_oldest() or self._spares.take_any()
        if worker is not None:
            self._stopping.retire(worker, why)
        return worker is not None

    def dismiss_outdated(self) -> None:
        """Stop each idle worker and each spare of a binary that is no longer in use."""
        for worker in (*self._idle, *self._spares):
            if not self._factory.is_current(worker):
                _ = self._idle.discard(worker) or self._spares.discard(worker)
                self._stopping.retire(worker, StopReason.OUTDATED)

    def dismiss_all(self) -> None:
        """Stop all workers without a request: none of them is needed any more."""
        while self.dismiss_one(StopReason.SHUTDOWN):
            pass

    def _take_idle(self, system: str) -> Worker | None:
        while (worker := self._idle.take(system)) is not None:
            if worker.can_ask(system):
                return worker
            # A process that was stopped by SIGSTOP would not answer.
            worker.kill()
            self._stopping.retire(worker, StopReason.LOST)
        return None
