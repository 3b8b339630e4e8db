"""The server's side of one helper process: starts it, gives it jobs, kills it.

========  ===========================================  =======================
state     the server waits for                         kills the helper
========  ===========================================  =======================
STARTING  READY: the helper's imports are done         after ``start_seconds``
IDLE      the next job                                 after ``idle_seconds``
ASKED     BEGUN: the helper has read the job           after ``begin_seconds``
BUSY      the job's outcome                            after the job's limit
KILLED    the end of the process
ENDED     nothing
========  ===========================================  =======================

If a helper does not begin its job, for example after a SIGSTOP, the cause is the helper
and not the job. So another helper gets the job.
"""

import os
import signal
import sys
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol

import msgspec
from attrs import frozen
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from ccproxy.claude.schemas.helper_messages import HelperAnswer, HelperOutcome
from ccproxy.core.errors import InternalError

_STDERR_BYTES = 2000
# An answer is one sentence.
_MOST_LINE_BYTES = 100_000
# The environment variables by which Python finds its own libraries.
_PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
# `import ccproxy` would import the whole server. With an empty package in its place, a
# helper starts in 110 ms instead of 800 ms.
_BOOT = """\
import sys, types
package = types.ModuleType("ccproxy")
package.__path__ = [sys.argv[1]]
sys.modules["ccproxy"] = package
from ccproxy.claude.schemas.helper_main import main
main(int(sys.argv[2]))
"""
_PACKAGE = Path(__file__).parents[2]
# Outcomes that do not end a job.
_OF_ITSELF = (HelperOutcome.READY, HelperOutcome.BEGUN)


class HelperState(Enum):
    """The state of a helper; see the table above."""

    STARTING = auto()
    IDLE = auto()
    ASKED = auto()
    BUSY = auto()
    KILLED = auto()
    ENDED = auto()


class HelperExit(Enum):
    """Why a helper ended."""

    # The helper was not ready in time, or ended before it was ready.
    NOT_STARTED = auto()
    # The helper did not begin its job.
    NOT_BEGUN = auto()
    # The job reached its time limit.
    TOO_LONG = auto()
    # The helper ended by itself, crashed, or was killed from outside.
    DIED = auto()
    # The owner dismissed the helper, or the helper was idle for too long.
    DISMISSED = auto()


@frozen(kw_only=True)
class HelperLimits:
    """Limits of each helper process."""

    memory_bytes: int = 512 * 1024 * 1024
    start_seconds: float = 15.0
    begin_seconds: float = 2.0
    idle_seconds: float = 300.0


class HelperOwner(Protocol):
    """The receiver of a helper's events."""

    def helper_idle(self, helper: "HelperProcess") -> None:
        """The helper is ready for its first job."""

    def helper_answered(self, helper: "HelperProcess", answer: HelperAnswer) -> None:
        """The helper's job ended; the helper is idle, or killed."""

    def helper_lost(self, helper: "HelperProcess", why: HelperExit) -> None:
        """The helper takes no more jobs; its job, if any, has no answer."""

    def helper_ended(self, helper: "HelperProcess") -> None:
        """The helper is reaped and its pipes are closed; this is the last call."""


class HelperProcess(ProcessProtocol):
    """The protocol of a helper process; made by `spawn`."""

    _log = Logger()

    def __init__(
        self, owner: HelperOwner, clock: IReactorTime, limits: HelperLimits
    ) -> None:
        self._owner = owner
        self._clock = clock
        self._limits = limits
        self._state = HelperState.STARTING
        self._pid = 0
        self._job_seconds = 0.0
        self._rest = b""
        self._stderr = b""
        self._timer: IDelayedCall | None = None

    @classmethod
    def spawn(
        cls,
        owner: HelperOwner,
        spawner: IReactorProcess,
        clock: IReactorTime,
        limits: HelperLimits,
    ) -> "HelperProcess":
        """Start a helper.

        Raises:
            OSError: the system has no process or file descriptor left.
        """
        helper = cls(owner, clock, limits)
        environment = {
            name: os.environ[name] for name in _PASSED_ON if name in os.environ
        }
        # The helper uses the packages of this process. -S excludes any others.
        environment["PYTHONPATH"] = os.pathsep.join(
            entry for entry in sys.path if os.path.isabs(entry)
        )
        arguments = ["-P", "-S", "-X", "utf8", "-c", _BOOT]
        arguments += [str(_PACKAGE), str(limits.memory_bytes)]
        spawner.spawnProcess(
            helper,
            os.fsencode(sys.executable),
            [os.fsencode(word) for word in (sys.executable, *arguments)],
            env=environment,
        )
        helper._wait(limits.start_seconds, HelperExit.NOT_STARTED)
        return helper

    @property
    def state(self) -> HelperState:
        """The helper's state."""
        return self._state

    @property
    def pid(self) -> int:
        """The process id."""
        return self._pid

    @property
    def last_words(self) -> str:
        """The helper's stderr from before it was ready."""
        return self._stderr.decode("utf-8", "replace").strip()

    def ask(self, line: bytes, seconds: float) -> None:
        """Give an idle helper a job.

        Args:
            line: a `HelperRequest` as JSON.
            seconds: the job's time limit, from BEGUN on.
        """
        if self._state is not HelperState.IDLE:
            raise InternalError(f"a helper is asked while it is {self._state.name}")
        self._state = HelperState.ASKED
        self._job_seconds = seconds
        self._wait(self._limits.begin_seconds, HelperExit.NOT_BEGUN)
        transport: Any = self.transport
        transport.write(line + b"\n")

    def dismiss(self) -> None:
        """Kill the helper; the owner gets only ``helper_ended``."""
        self._kill()

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._pid = transport.pid

    @override
    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._state in (HelperState.KILLED, HelperState.ENDED):
                return
            try:
                self._take(msgspec.json.decode(line, type=HelperAnswer))
            except msgspec.DecodeError:
                self._lose(HelperExit.DIED)
        if len(self._rest) > _MOST_LINE_BYTES:
            self._lose(HelperExit.DIED)

    @override
    def errReceived(self, data: bytes) -> None:
        # Later stderr might quote a client's data, which must not be logged.
        if self._state is HelperState.STARTING:
            self._stderr = (self._stderr + data)[-_STDERR_BYTES:]

    @override
    def processEnded(self, reason: Failure) -> None:
        status: Any = reason.value
        if self._state is HelperState.STARTING:
            self._lose(HelperExit.NOT_STARTED)
        elif self._state is HelperState.BUSY and status.signal == signal.SIGALRM:
            self._lose(HelperExit.TOO_LONG)
        else:
            self._lose(HelperExit.DIED)
        self._state = HelperState.ENDED
        self._owner.helper_ended(self)

    def _take(self, answer: HelperAnswer) -> None:
        match self._state, answer.outcome:
            case HelperState.STARTING, HelperOutcome.READY:
                self._rest_idle()
                self._owner.helper_idle(self)
            case HelperState.ASKED, HelperOutcome.BEGUN:
                self._state = HelperState.BUSY
                self._wait(self._job_seconds, HelperExit.TOO_LONG)
            case HelperState.BUSY, HelperOutcome.MEMORY:
                # After a MemoryError, the helper's data may be incomplete.
                self._kill()
                self._owner.helper_answered(self, answer)
            case HelperState.BUSY, outcome if outcome not in _OF_ITSELF:
                self._rest_idle()
                self._owner.helper_answered(self, answer)
            case _:
                self._lose(HelperExit.DIED)

    def _rest_idle(self) -> None:
        self._state = HelperState.IDLE
        self._wait(self._limits.idle_seconds, HelperExit.DISMISSED)

    def _wait(self, seconds: float, why: HelperExit) -> None:
        self._stop_timer()
        self._timer = self._clock.callLater(seconds, self._lose, why)

    def _lose(self, why: HelperExit) -> None:
        """Kill the helper, and report why; a second call does nothing."""
        if self._state not in (HelperState.KILLED, HelperState.ENDED):
            self._log.debug("helper {pid}: {why}", pid=self.pid, why=why.name)
            self._kill()
            self._owner.helper_lost(self, why)

    def _kill(self) -> None:
        self._stop_timer()
        if self._state not in (HelperState.KILLED, HelperState.ENDED):
            self._state = HelperState.KILLED
            transport: Any = self.transport
            try:
                transport.signalProcess("KILL")
            except ProcessExitedAlready:
                return

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
