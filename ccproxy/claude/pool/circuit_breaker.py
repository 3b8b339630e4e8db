"""Stops starting the CLI after it has failed several times without any answer.

=========  =================================================================
CLOSED     CLIs are started; consecutive failures before any answer are counted
OPEN       no CLI is started: requests fail at once, with a time to retry
PROBING    one CLI is started as a test; requests still fail
=========  =================================================================

A start takes 0.7 s of processor time. Without the breaker, a broken update of the CLI
would keep a processor busy as long as clients retry. The test uses no client's request.
The first answer of any CLI closes the circuit.
"""

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ccproxy.core.errors import Cause, CCProxyError, ClaudeUnresponsive

# One or two failures may be accidents, such as a kill from outside.
_MOST_CONSECUTIVE_FAILURES = 3
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
# About the time that a probe takes.
_PROBE_SECONDS = 1.0


class _State(Enum):
    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()


class CircuitBreaker:
    """Counts CLIs that failed before they answered anything.

    Attributes:
        probe: starts a CLI without a request; fires when the CLI has answered or
            failed, and never fails. Set once, before the first failure.
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
        """Whether CLIs may be started."""
        return self._state is _State.CLOSED

    def check(self) -> None:
        """Check that a CLI may be started.

        Raises:
            ClaudeUnresponsive: the circuit is open; the error has the reason and the
                time of a retry.
        """
        if self.is_closed:
            return
        after = _PROBE_SECONDS
        if self._timer is not None:
            after += self._timer.getTime() - self._clock.seconds()
        raise ClaudeUnresponsive(
            f"the claude CLI has not answered {self._failures} times in a row (last: "
            f"{self._why}); the proxy tests it again by itself; retry later",
            retry_after_seconds=after,
            cause=Cause.CIRCUIT_OPEN,
        )

    def record_success(self) -> None:
        """Note that a CLI has answered."""
        if not self.is_closed:
            self._log.info("the claude CLI answers again")
        self.reset()

    def record_failure(self, error: CCProxyError) -> None:
        """Note that a CLI has failed before it answered anything."""
        self._failures += 1
        self._why = error.message
        if self.is_closed and self._failures >= _MOST_CONSECUTIVE_FAILURES:
            self._log.error(
                "no claude CLI is started until it answers a test: {why}", why=self._why
            )
            self._open()

    def reset(self) -> None:
        """Close the circuit and cancel the next probe."""
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
