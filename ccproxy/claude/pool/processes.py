"""The workers' processes, from their start until they are gone, and their places."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from ccproxy.claude.observer import ClaudeObserver, StopReason
from ccproxy.claude.pool.factory import WorkerFactory
from ccproxy.claude.pool.slots import ProcessSlots
from ccproxy.claude.worker.worker import Worker


class WorkerProcesses:
    """Starts and stops workers; each takes a slot until its process is gone.

    Args:
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
        """How many are being stopped."""
        return len(self._stopping)

    def are_allowed(self) -> bool:
        """Whether one may be started now; False: the CLI is being examined.

        Raises:
            CCProxyError: not with the CLI that is there.
        """
        return self._factory.is_allowed()

    def start(self, *, is_probe: bool = False) -> Worker:
        """Start a worker; whoever calls has seen that a slot is free.

        Args:
            is_probe: start it even if it is not expected to answer.

        Raises:
            CCProxyError: that is not possible.
        """
        worker = self._factory.start(is_probe=is_probe)
        self._slots.take()
        return worker

    def retire(self, worker: Worker, why: StopReason) -> None:
        """Stop a worker's process; its slot is free when that is gone."""
        self._observer.cli_stopped(why)
        self._stopping.add(worker)
        self._slots.leave()
        worker.close().addCallback(lambda _: self._retired(worker))

    def kill(self) -> None:
        """Let no process that is being stopped take its time."""
        for worker in tuple(self._stopping):
            worker.kill()

    def all_gone(self) -> "Deferred[None]":
        """Fires when none is being stopped any more."""
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
