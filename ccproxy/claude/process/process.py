"""The Twisted protocol of one CLI process: stdin, lines of stdout, and the end.

=============  ==========================================================
RUNNING        lines go to the owner, `send` writes to stdin
TERMINATING    stdout is dropped; SIGTERM was sent, and SIGKILL follows
               after the grace time; `kill` sends SIGKILL at once
ENDED          reaped, pipes closed; the owner has been called
=============  ==========================================================

After SIGTERM, the CLI stops its children and removes its lock and session files within
about 60 ms (1.5 s with a running Bash tool). After SIGKILL, its children and files
remain. So `ClaudeProcess` removes the files. It finds the processes that outlive the
CLI by the CLI's process group, and by the mark in their environment, and kills them.

Twisted would write in the next turn of the reactor, and change the epoll registration
before and after the write. The CLI gets three or four short lines for each request and
reads them at once, so the extra turn would be most of the cost of such a line.
Therefore `ChildStdin` writes to the pipe at once:

=============  ==================================  ===============================
state of pipe  what happens to data                next state
=============  ==================================  ===============================
open           written at once; if the pipe gets   full, if Twisted has got
               full, Twisted gets the rest         data
full           Twisted gets the data, and writes   open, when Twisted has written
               it after the rest                   everything
=============  ==================================  ===============================

Source: docs/twisted-notes.md, "Child processes"; docs/claude-cli-protocol.md, "What is
left behind".
"""

import os
import shutil
import signal
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IDelayedCall,
    IPullProducer,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from ccproxy.claude.process.binary import check_program
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.process.owner import ProcessExit, ProcessOwner
from ccproxy.claude.process.procfs import (
    is_stopped,
    kill_each,
    leftovers,
    marked_processes,
    resident_bytes,
)
from ccproxy.claude.protocol.codec import LineSplitter, WireError, is_noise
from ccproxy.core.errors import Cause, ClaudeUnavailable, Overloaded

# A CLI with a running tool needs 1.5 s to end by itself.
GRACE_SECONDS = 3.0
# If another process holds the pipes of a reaped process, they are closed after this
# time.
_RELEASE_SECONDS = 2.0
# Large, because an error of the provider may quote a part of the request.
_STDERR_BYTES = 2**15
_MOST_NOISE = 100  # lines
_STDERR = 2


@implementer(IPullProducer)
class ChildStdin:
    """Writes to the stdin of a child, in order.

    Args:
        transport: the child's transport. Only Twisted's POSIX transports have pipes;
            any other transport writes all data itself.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._is_full = False

    def write(self, data: bytes) -> None:
        """Write as much as the pipe takes now; Twisted writes the rest."""
        if not self._is_full:
            data = data[self._write_some(data) :]
        if not data:
            return
        if not self._is_full and self._pipe is not None:
            # `registerProducer` calls `resumeProducing` at once, which has to do
            # nothing yet. The next call comes when everything is written.
            self._transport.registerProducer(self, False)
            self._is_full = True
        self._transport.write(data)

    def resumeProducing(self) -> None:
        """Note that Twisted has written everything; called by Twisted only."""
        if self._is_full:
            self._is_full = False
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Note that the pipe is closed; called by Twisted only."""

    @property
    def _pipe(self) -> Any:
        """Twisted's writer of the pipe; None after the pipe is closed."""
        return getattr(self._transport, "pipes", {}).get(0)

    def _write_some(self, data: bytes) -> int:
        pipe = self._pipe
        if pipe is None:
            return 0
        written = pipe.writeSomeData(data)
        # Any other result means a broken pipe, which Twisted detects as well.
        return written if isinstance(written, int) else 0


class _State(Enum):
    RUNNING = auto()
    TERMINATING = auto()
    ENDED = auto()


class ClaudeProcess(ProcessProtocol):
    """The protocol of one CLI process; make it with `spawn`."""

    _log = Logger()
    # Process.pauseProducing is not declared on IProcessTransport.
    transport: Any
    _stdin: ChildStdin

    def __init__(
        self,
        launch: LaunchSpec,
        mark: str,
        owner: ProcessOwner,
        clock: IReactorTime,
    ) -> None:
        self._launch = launch
        self._mark = mark
        self._owner = owner
        self._clock = clock
        self._state = _State.RUNNING
        self._paused = False
        self._splitter = LineSplitter()
        self._stderr = b""
        # The lines that are not JSON, since the last read that had only JSON lines.
        self._noisy_lines = 0
        self._temporary = launch.temporary(mark)
        self._pid: int | None = None
        self._timer: IDelayedCall | None = None
        self._waiters: list[Deferred[None]] = []

    @classmethod
    def spawn(
        cls,
        launch: LaunchSpec,
        mark: str,
        owner: ProcessOwner,
        spawner: IReactorProcess,
        clock: IReactorTime,
    ) -> "ClaudeProcess":
        """Start a CLI.

        Raises:
            ClaudeUnavailable: there is no such program, or it is not the CLI.
            Overloaded: the system has no process or file descriptor left.
        """
        check_program(launch.binary)
        protocol = cls(launch, mark, owner, clock)
        launch = launch.marked(mark)
        try:
            # A cleaner of temporary files may have removed empty directories.
            for folder in (launch.cwd, protocol._temporary):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            spawner.spawnProcess(
                protocol,
                os.fsencode(launch.argv[0]),
                [os.fsencode(argument) for argument in launch.argv],
                env=dict(launch.environment),
            )
        except FileNotFoundError as error:
            protocol._forget_files()
            raise ClaudeUnavailable(
                f"cannot start the claude CLI: {error}", cause=Cause.CLI_DOES_NOT_RUN
            ) from error
        except OSError as error:
            protocol._forget_files()
            raise Overloaded(
                f"this machine cannot start another process now: {error.strerror}",
                cause=Cause.MACHINE_FULL,
            ) from error
        return protocol

    @property
    def pid(self) -> int | None:
        """The process id; with `setsid` also the id of its group and its session."""
        return self._pid

    @property
    def resident_bytes(self) -> int:
        """The memory of the process; 0 if the system does not report it."""
        return 0 if self._pid is None else resident_bytes(self._pid)

    @property
    def is_stopped(self) -> bool:
        """Whether the process is stopped (SIGSTOP) or has ended; False if unknown."""
        return self._pid is not None and is_stopped(self._pid)

    @property
    def answers_pings(self) -> bool:
        """Whether the CLI answers control requests that it does not know."""
        return self._launch.answers_pings

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read from the process."""
        return self._paused

    def send(self, line: bytes) -> None:
        """Write to the CLI's stdin; ignored once the process is being stopped."""
        if self._state is _State.RUNNING:
            self._stdin.write(line)

    def read_errors(self) -> str:
        """The CLI's stderr since `forget_errors`, at most its last 32 kB.

        This method reads everything that is in the pipe, because the CLI writes an
        error to stderr just before the line on stdout that reports the error.
        """
        before = None
        while self._stderr != before and (pipe := self.transport.pipes.get(_STDERR)):
            before = self._stderr
            pipe.doRead()
        return self._stderr.decode("utf-8", "replace")

    def forget_errors(self) -> None:
        """Forget the CLI's stderr so far."""
        self._stderr = b""

    def pause(self) -> None:
        """Stop reading, so that the child blocks once its pipe is full."""
        if self._state is _State.RUNNING and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again, after `pause`."""
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def terminate(self) -> "Deferred[None]":
        """Stop the process and all processes that it has started.

        Fires with None when the process is reaped and its pipes are closed; never
        fails. On cancel, the process is stopped nevertheless.
        """
        if self._state is _State.ENDED:
            return succeed(None)
        if self._state is _State.RUNNING:
            self._stop(signal.SIGTERM)
            if self._timer is None:
                self._timer = self._clock.callLater(
                    GRACE_SECONDS, self._kill_after_grace
                )
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def kill(self) -> None:
        """Kill the process at once; the Deferred of `terminate` fires at its end.

        After SIGTERM, the CLI would run for about 60 ms more and could send a request.
        """
        if self._state is not _State.ENDED:
            self._stop(signal.SIGKILL)

    @override
    def connectionMade(self) -> None:
        self._pid = self.transport.pid
        self._stdin = ChildStdin(self.transport)

    @override
    def outReceived(self, data: bytes) -> None:
        if self._state is not _State.RUNNING:
            return
        try:
            lines = self._splitter.feed(data)
        except WireError as error:
            self._owner.garbage_received(error)
            return
        if any(map(is_noise, lines)):
            lines = self._without_noise(lines)
        elif lines:
            self._noisy_lines = 0
        if lines:
            self._owner.lines_received(lines)

    def _without_noise(self, lines: list[bytes]) -> list[bytes]:
        """Leave out lines that are not JSON; report garbage after too many of them."""
        noise = [line for line in lines if is_noise(line)]
        self._noisy_lines += len(noise)
        if self._noisy_lines > _MOST_NOISE:
            # After so many such lines, the CLI may never write a valid line.
            error = f"too many lines that are not JSON: {self._noisy_lines}"
            self._owner.garbage_received(WireError(error))
            return []
        self._log.warn(
            "claude {pid} wrote {count} lines to stdout that are not JSON and are "
            "passed over; their sizes in bytes: {sizes}",
            pid=self._pid,
            count=len(noise),
            sizes=[len(line) for line in noise],
        )
        return [line for line in lines if not is_noise(line)]

    @override
    def errReceived(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-_STDERR_BYTES:]

    @override
    def processExited(self, reason: Failure) -> None:
        self._clean_up()
        self._stop_timer()
        self._timer = self._clock.callLater(_RELEASE_SECONDS, self._release)

    @override
    def processEnded(self, reason: Failure) -> None:
        self._stop_timer()
        self._state = _State.ENDED
        status: Any = reason.value
        end = ProcessExit(
            code=status.exitCode,
            signal=status.signal,
            stderr=self._stderr.decode("utf-8", "replace"),
            rest=self._splitter.rest,
        )
        self._forget_files()
        self._log.debug("claude {pid} ended: {end}", pid=self._pid, end=str(end))
        waiters, self._waiters = self._waiters, []
        self._owner.process_ended(end)
        for waiter in waiters:
            waiter.callback(None)

    def _stop(self, number: signal.Signals) -> None:
        self._state = _State.TERMINATING
        # A paused pipe would never report its end.
        self.resume()
        self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number.name.removeprefix("SIG"))

    def _kill_after_grace(self) -> None:
        self._timer = None
        self._log.warn("claude {pid} ignores SIGTERM and is killed", pid=self._pid)
        survivors = marked_processes(self._mark)
        self._signal(signal.SIGKILL)
        self._kill_group()
        kill_each(survivors)

    def _clean_up(self) -> None:
        self._kill_group()
        if self._launch.spawns_children:
            kill_each(marked_processes(self._mark))
        if self._pid is not None:
            for path in leftovers(self._launch.environment, self._pid):
                with suppress(OSError):
                    path.unlink()

    def _forget_files(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _kill_group(self) -> None:
        # Without setsid there is no group of this number.
        if self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _release(self) -> None:
        self._timer = None
        if self._paused:
            # The rest of the answer is still in the pipe, for a slow client.
            self._timer = self._clock.callLater(_RELEASE_SECONDS, self._release)
            return
        self._log.warn("another process holds the pipes of claude {pid}", pid=self._pid)
        self.transport.loseConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
