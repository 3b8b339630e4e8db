"""Checks every few seconds whether a CLI process is alive, busy or idle.

A stopped process is detected by its state in the system. A hanging process is detected
by a ping without an answer. Both take at most ten seconds. Only the CLI can detect a
dead provider: the CLI ends an answer whose connection receives no byte for too long.

Source: docs/claude-cli-protocol.md, "Is it alive".
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from ccproxy.claude.process.process import ClaudeProcess
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.core.errors import Cause

_LOOK_SECONDS = 5.0
# A ping is answered within milliseconds; on a loaded machine, within some hundred.
_ANSWER_SECONDS = 5.0


class Heartbeat:
    """The heartbeat of one CLI process.

    Attributes:
        is_heard: set by the owner when the CLI has written something, and when the
            CLI's output is read again after a pause.
        patience_seconds: the time for which the CLI may be busy with a large request,
            without an answer to a ping.

    Args:
        process: the CLI's process.
        controls: sends control requests to the process.
        clock: for the timers.
        must_answer: whether the CLI has to answer now.
        lost: called if the process is not alive, with a message and a cause.
    """

    def __init__(
        self,
        process: ClaudeProcess,
        controls: ControlChannel,
        clock: IReactorTime,
        *,
        must_answer: Callable[[], bool],
        lost: Callable[[str, Cause], None],
    ) -> None:
        self._process = process
        self._controls = controls
        self._clock = clock
        self._must_answer = must_answer
        self._lost = lost
        self._looking: IDelayedCall | None = None
        self._is_started = self._is_checking = self.is_heard = False
        self.patience_seconds = 0.0

    def start(self) -> None:
        """Check in a few seconds, and then repeatedly."""
        self._is_started = True
        if self._looking is not None:
            # This happens twice for each request. A new timer would take longer.
            self._looking.reset(_LOOK_SECONDS)
        elif not self._is_checking:
            self._looking = self._clock.callLater(_LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Stop the checks; may be called at any time."""
        self._is_started = False
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    async def _check(self) -> None:
        if self._process.is_stopped:
            self._lost(
                "the claude CLI was stopped, or has ended", Cause.PROCESS_STOPPED
            )
            return
        if not self._owes_answer():
            return
        self.is_heard = False
        seconds = _ANSWER_SECONDS + self.patience_seconds
        if not await self._controls.answers(seconds, self._clock):
            # If the reactor was late, the answer may be in the pipe, unread.
            await deferLater(self._clock, 0)
            if not self.is_heard and self._owes_answer():
                self._lost("the claude CLI does not answer", Cause.NO_REPLY)

    def _owes_answer(self) -> bool:
        # While the CLI's output is not read, no answer can arrive.
        can_answer = self._process.answers_pings and not self._process.is_paused
        return can_answer and self._must_answer()

    def _look(self) -> None:
        self._looking = None
        self._is_checking = True
        Deferred.fromCoroutine(self._check()).addCallback(self._checked)

    def _checked(self, _: None) -> None:
        self._is_checking = False
        if self._is_started:
            self.start()
