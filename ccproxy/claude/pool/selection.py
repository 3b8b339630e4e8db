"""Which worker a request gets, and which idle ones make room for it.

A request takes, in this order: an idle worker that has its system prompt; another idle
worker; a spare; a new worker; an idle worker in place of a new one. Without a system
prompt, only a worker that never had one can be asked.
"""

from collections.abc import Callable

from ccproxy.claude.observer import Served, StopReason
from ccproxy.claude.pool.client import PoolClient
from ccproxy.claude.pool.idle import IdleWorkers, worker_kind
from ccproxy.claude.pool.processes import WorkerProcesses
from ccproxy.claude.pool.settling import SettlingWorkers
from ccproxy.claude.pool.slots import ProcessSlots
from ccproxy.claude.pool.spares import SpareWorkers
from ccproxy.claude.worker.worker import Worker


class WorkerSelector:
    """Chooses among the workers that no request has.

    Args:
        start: starts a worker in a free slot; raises `CCProxyError`.
    """

    def __init__(
        self,
        idle: IdleWorkers,
        spares: SpareWorkers,
        settling: SettlingWorkers,
        processes: WorkerProcesses,
        slots: ProcessSlots,
        start: Callable[[], Worker],
    ) -> None:
        self._idle = idle
        self._spares = spares
        self._settling = settling
        self._processes = processes
        self._slots = slots
        self._start = start

    @property
    def leaving(self) -> int:
        """How many workers become free, or end, in a moment."""
        return self._slots.leaving + len(self._settling) + self._spares.warming

    def choose(self, client: PoolClient, promised: int) -> tuple[Worker, Served] | None:
        """The worker for a request; None: there is none now.

        Args:
            client: the request.
            promised: how many places are promised to requests before it.

        Raises:
            CCProxyError: a worker had to be started, and could not be.
        """
        if not client.wants_new:
            worker = self._take_idle(client.system)
            if worker is not None:
                return worker, worker_kind(worker)
            if self._settling.are_soon_ready(client.system) > promised:
                self._settling.wait()
                return None
        worker = self._spares.take(client.system)
        if worker is not None:
            return worker, Served.SPARE
        if self._slots.is_free and self._spares.warming <= promised:
            if self._processes.are_allowed():
                return self._start(), Served.NEW
            # The binary is being examined; `Pool.wake` is called at the end of that.
            return None
        worker = self._take_idle(client.system)
        return None if worker is None else (worker, worker_kind(worker))

    def make_room(self, places: int) -> bool:
        """Stop idle processes until ``places`` become free; tells whether they do."""
        while self.leaving + self._slots.free < places:
            if not self.dismiss_one() and not self._slots.make_room():
                return False
        return True

    def dismiss_one(self, why: StopReason = StopReason.ROOM) -> bool:
        """Stop one worker that no request has; tells whether there was one."""
        worker = self._idle.take_oldest() or self._spares.take_any()
        if worker is not None:
            self._processes.retire(worker, why)
        return worker is not None

    def dismiss_all(self) -> None:
        """Stop all workers that no request has, because the server stops."""
        while self.dismiss_one(StopReason.SHUTDOWN):
            pass

    def _take_idle(self, system: str) -> Worker | None:
        while (worker := self._idle.take(system)) is not None:
            if worker.can_ask(system):
                return worker
            # It was stopped by a signal and would not answer.
            worker.kill()
            self._processes.retire(worker, StopReason.LOST)
        return None
