"""Limits the number of CLI processes, and starts and stops them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.observer import ClaudeObserver, StopReason
from ccproxy.claude.pool.circuit_breaker import CircuitBreaker
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.worker.context import CLIContext
from ccproxy.claude.worker.worker import Worker

# A CLI takes 110 to 200 MB; half of the memory is left for other programs.
_BYTES_EACH = 256 * 2**20
_SHARE = 0.5
_MOST = 8


def processes_for(memory_bytes: int) -> int:
    """The number of CLI processes for a machine with this memory; at least one."""
    return min(max(int(memory_bytes * _SHARE) // _BYTES_EACH, 1), _MOST)


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """The machine's memory, or the control group's limit if that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = cgroup.read_text().strip()
    except OSError:
        return total
    return min(total, int(allowed)) if allowed.isdecimal() else total


class ProcessSlots:
    """Slots for CLI processes; a process takes one from its start to its end.

    Args:
        limit: number of processes that may run at a time.

    Attributes:
        taken: number of processes.
        leaving: number of processes that are being stopped; `taken` includes them.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.leaving = 0
        self._freed: list[Callable[[], None]] = []
        self._room_makers: list[Callable[[], bool]] = []

    @property
    def is_free(self) -> bool:
        """Whether another process may be started."""
        return self.taken < self.limit

    @property
    def free(self) -> int:
        """The number of processes that may be started."""
        return max(self.limit - self.taken, 0)

    def take(self) -> None:
        """Take a slot for a new process; the caller must check `is_free` first."""
        self.taken += 1

    def leave(self) -> None:
        """Note that a process is being stopped; `give_back` follows."""
        self.leaving += 1

    def give_back(self) -> None:
        """Free the slot of a process that is gone, and call all watchers."""
        self.leaving -= 1
        self.taken -= 1
        for freed in tuple(self._freed):
            freed()

    def make_room(self) -> bool:
        """Let a watcher stop one idle process; returns whether there was one."""
        return any(make_room() for make_room in self._room_makers)

    def watch(self, freed: Callable[[], None], make_room: Callable[[], bool]) -> None:
        """Register a user of slots.

        Args:
            freed: called whenever a slot has become free.
            make_room: stops one idle process; returns whether there was one.
        """
        self._freed.append(freed)
        self._room_makers.append(make_room)


class WorkerFactory:
    """Starts workers, if the circuit breaker allows it.

    `start` does not check the result of the binary's examination. The caller asks
    `is_allowed` first.

    Args:
        launch: returns how the CLI is started; raises `CCProxyError` if there is no
            CLI.
        context: the context of every worker.
        breaker: refuses starts after repeated failures.
        conformance: examines the binary.
    """

    def __init__(
        self,
        launch: Callable[[], LaunchSpec],
        context: CLIContext,
        breaker: CircuitBreaker,
        conformance: Conformance,
    ) -> None:
        self._launch = launch
        self._context = context
        self._breaker = breaker
        self._conformance = conformance

    def is_allowed(self) -> bool:
        """Whether a worker may be started now; False: the binary is being examined.

        Raises:
            CCProxyError: the binary cannot be used.
        """
        return self._conformance.check()

    def is_current(self, worker: Worker) -> bool:
        """Whether a worker was started from the binary that is in use now."""
        return self._conformance.is_current(worker.launch)

    def start(self, *, is_probe: bool = False) -> Worker:
        """Start a worker.

        Args:
            is_probe: whether to start the worker even if the circuit is open.

        Raises:
            CCProxyError: there is no CLI, it cannot be started, or the circuit is open.
        """
        if not is_probe:
            self._breaker.check()
        worker = Worker(self._conformance.fit(self._launch()), self._context)
        self._context.observer.cli_started()
        return worker


class EmptyWaiter:
    """Lets one caller wait until a collection is empty.

    Args:
        is_empty: returns whether the collection is empty now.
    """

    def __init__(self, is_empty: Callable[[], bool]) -> None:
        self._is_empty = is_empty
        self._emptied: Deferred[None] | None = None

    def wait(self) -> "Deferred[None]":
        """Fires when the collection is empty; may be cancelled."""
        emptied = self._emptied = Deferred(self._forget)
        self.check()
        return emptied

    def check(self) -> None:
        """Fire if the collection is empty; must be called after each removal."""
        if self._emptied is not None and self._is_empty():
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def _forget(self, _: object) -> None:
        self._emptied = None


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
        slots: the slots that the processes have taken.
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
        self._waiter = EmptyWaiter(lambda: not self._stopping)

    @property
    def stopping(self) -> int:
        """The number of processes that are being stopped."""
        return len(self._stopping)

    def retire(self, process: _Process, why: StopReason) -> None:
        """Stop a process; the slot is free when the process is gone."""
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
        return self._waiter.wait()

    def _retired(self, process: _Process) -> None:
        self._stopping.discard(process)
        self._slots.give_back()
        self._gone()
        self._waiter.check()
