"""Whether a CLI is worth being started: not while those before never said a word.

=========  =================================================================
CLOSED     CLIs are started; those in a row that never answered are counted
OPEN       none is started: a question fails at once, with the time to come again
PROBING    one is started, to see whether it answers; questions still fail
=========  =================================================================

A start takes 0.7 s of a processor. A CLI that has been broken, by an update or by its
machine, would take all of it for as long as clients try again. The first answer of any
CLI closes the circuit; no question is put at risk for that.
"""

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ccproxy.core.errors import CCProxyError, ClaudeUnresponsive

# One may have been killed by chance, and another with it.
_MOST_IN_A_ROW = 3
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
# What a probe takes, or about that.
_PROBE_SECONDS = 1.0


class _State(Enum):
    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()


class CircuitBreaker:
    """Counts the CLIs that never answered.

    Attributes:
        probe: starts one and asks it nothing; fires when it has answered or failed,
            and never fails. Set once, before the first failure.
    """

    _log = Logger()
    probe: "Callable[[], Deferred[None]]"

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._state = _State.CLOSED
        self._failures = 0
        self._why = ""
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._timer: IDelayedCall | None = None

    @property
    def is_closed(self) -> bool:
        """Whether CLIs are started."""
        return self._state is _State.CLOSED

    def check(self) -> None:
        """Let a CLI be started.

        Raises:
            ClaudeDown: it would be in vain; says why, and when there is another try.
        """
        if self.is_closed:
            return
        after = _PROBE_SECONDS
        if self._timer is not None:
            after += self._timer.getTime() - self._clock.seconds()
        raise ClaudeUnresponsive(
            f"the claude CLI has not answered {self._failures} times in a row (last: "
            f"{self._why}); it is tried again by itself, so ask again later",
            retry_after_seconds=after,
        )

    def record_success(self) -> None:
        """Note that a CLI has answered."""
        if not self.is_closed:
            self._log.info("the claude CLI answers again")
        self.reset()

    def record_failure(self, error: CCProxyError) -> None:
        """Note that a CLI has failed that had not answered anything."""
        self._failures += 1
        self._why = error.message
        if self.is_closed and self._failures >= _MOST_IN_A_ROW:
            self._log.error("no claude CLI is started for now: {why}", why=self._why)
            self._open()

    def reset(self) -> None:
        """Begin anew; no probe will follow."""
        self._state = _State.CLOSED
        self._failures = 0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _open(self) -> None:
        self._state = _State.OPEN
        self._timer = self._clock.callLater(self._pause_seconds, self._try)

    def _try(self) -> None:
        self._timer = None
        self._state = _State.PROBING
        self.probe().addCallback(self._tried)

    def _tried(self, _: None) -> None:
        if self._state is _State.PROBING:
            doubled = 2 * self._pause_seconds
            self._pause_seconds = min(doubled, _LONGEST_PAUSE_SECONDS)
            self._open()
