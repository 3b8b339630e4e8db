"""Starts and stops processes; each takes a slot until it is gone."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed

from ccproxy.claude.observer import ClaudeObserver, StopReason
from ccproxy.claude.pool.factory import WorkerFactory
from ccproxy.claude.pool.slots import ProcessSlots
from ccproxy.claude.worker.worker import Worker


class Stoppable(Protocol):
    """A CLI process: a worker, or a session of native mode."""

    def close(self) -> "Deferred[None]":
        """Stop the process. Fires when it is gone; never fails."""

    def kill(self) -> None:
        """Kill the process; the Deferred of `close` fires when it is gone."""


_Process = TypeVar("_Process", bound=Stoppable)


class StoppingProcesses(Generic[_Process]):
    """The processes that are being stopped.

    Args:
        slots: the places for processes.
        observer: counts processes.
        gone: called when a process is gone.
    """

    def __init__(
        self,
        slots: ProcessSlots,
        observer: ClaudeObserver,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._slots = slots
        self._observer = observer
        self._gone = gone
        self._stopping: set[_Process] = set()
        self._all_gone: Deferred[None] | None = None

    @property
    def stopping(self) -> int:
        """The number of processes that are being stopped."""
        return len(self._stopping)

    def retire(self, process: _Process, why: StopReason) -> None:
        """Stop a process; its slot is free when the process is gone."""
        self._observer.cli_stopped(why)
        self._stopping.add(process)
        self._slots.leave()
        process.close().addCallback(lambda _: self._retired(process))

    def kill(self) -> None:
        """Kill the processes that are being stopped."""
        for process in tuple(self._stopping):
            process.kill()

    def all_gone(self) -> "Deferred[None]":
        """Fires when no process is being stopped any more."""
        if not self._stopping:
            return succeed(None)
        self._all_gone = Deferred()
        return self._all_gone

    def _retired(self, process: _Process) -> None:
        self._stopping.discard(process)
        self._slots.give_back()
        self._gone()
        if not self._stopping and self._all_gone is not None:
            all_gone, self._all_gone = self._all_gone, None
            all_gone.callback(None)


class WorkerProcesses(StoppingProcesses[Worker]):
    """Starts and stops workers.

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
        super().__init__(slots, observer, gone)
        self._factory = factory

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
