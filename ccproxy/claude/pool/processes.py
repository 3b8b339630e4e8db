"""Starts and stops workers, and counts their slots."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from ccproxy.claude.observer import ClaudeObserver, StopReason
from ccproxy.claude.pool.factory import WorkerFactory
from ccproxy.claude.pool.slots import ProcessSlots
from ccproxy.claude.worker.worker import Worker


class WorkerProcesses:
    """Starts and stops workers; each takes a slot until its process is gone.

    Args:
        factory: starts workers.
        slots: the places for processes.
        observer: counts processes.
        gone: called when a process is gone.
    """

    def __init__(
        self,
        factory: WorkerFactory,
        slots: ProcessSlots,
        observer: ClaudeObserver,
        gone: Callable[[], None],
    ) -> None:
        self._factory = factory
        self._slots = slots
        self._observer = observer
        self._gone = gone
        self._stopping: set[Worker] = set()
        self._all_gone: Deferred[None] | None = None

    @property
    def stopping(self) -> int:
        """The number of workers that are being stopped."""
        return len(self._stopping)

    def are_allowed(self) -> bool:
        """Whether a worker may be started now; False: the binary is being examined.

        Raises:
            CCProxyError: the binary cannot be used.
        """
        return self._factory.is_allowed()

    def start(self, *, is_probe: bool = False) -> Worker:
        """Start a worker; the caller has checked that a slot is free.

        Args:
            is_probe: start it even if the circuit is open.

        Raises:
            CCProxyError: the worker cannot be started.
        """
        worker = self._factory.start(is_probe=is_probe)
        self._slots.take()
        return worker

    def retire(self, worker: Worker, why: StopReason) -> None:
        """Stop a worker's process; its slot is free when the process is gone."""
        self._observer.cli_stopped(why)
        self._stopping.add(worker)
        self._slots.leave()
        worker.close().addCallback(lambda _: self._retired(worker))

    def kill(self) -> None:
        """Kill the processes that are being stopped."""
        for worker in tuple(self._stopping):
            worker.kill()

    def all_gone(self) -> "Deferred[None]":
        """Fires when no process is being stopped any more."""
        if not self._stopping:
            return succeed(None)
        self._all_gone = Deferred()
        return self._all_gone

    def _retired(self, worker: Worker) -> None:
        self._stopping.discard(worker)
        self._slots.give_back()
        self._gone()
        if not self._stopping and self._all_gone is not None:
            all_gone, self._all_gone = self._all_gone, None
            all_gone.callback(None)
