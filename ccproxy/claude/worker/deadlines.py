"""The time limits of one answer: first token, silence, the whole answer.

While an answer is paused, because its client does not read, only the limit on the
whole answer runs; the limit on silence starts again when the answer goes on.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.errors import Cause, TimedOut

# A client rather has the provider's refusal than waits for longer.
_LONGEST_WAIT_SECONDS = 120.0


class Deadlines:
    """Watches one answer, from `start` to `stop`.

    Args:
        limits: the time limits.
        clock: for timers.
        expired: called once, with the error for the limit that passed, after the
            watch has stopped.
    """

    def __init__(
        self,
        limits: TurnTimeouts,
        clock: IReactorTime,
        expired: Callable[[TimedOut], None],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._expired = expired
        self._has_token = False
        self._paused = False
        self._next: IDelayedCall | None = None
        self._whole: IDelayedCall | None = None

    def start(self) -> None:
        """Start to wait for the first token; ends the watch before."""
        self.stop()
        self._has_token = self._paused = False
        self._listen()
        self._whole = self._clock.callLater(self._limits.turn_timeout, self._too_long)

    def token(self) -> None:
        """Note that a token has arrived."""
        self._has_token = True
        if self._next is not None:
            self._next.reset(self._limits.silence_timeout)

    def waiting(self) -> None:
        """Note that the CLI waits before it asks the provider again."""
        if self._has_token:
            self.token()

    def can_wait(self, delay_seconds: float) -> bool:
        """Whether a wait of this length is short, and ends before the limits."""
        return delay_seconds < _LONGEST_WAIT_SECONDS and all(
            delay_seconds < call.getTime() - self._clock.seconds()
            for call in (self._next, self._whole)
            if call is not None
        )

    def pause(self) -> None:
        """Stop the limit on silence."""
        self._paused = True
        self._cancel_next()

    def resume(self) -> None:
        """Start the limit on silence again."""
        self._paused = False
        if self._next is None and self._whole is not None:
            self._listen()

    def stop(self) -> None:
        """Stop the watch; may be called at any time."""
        for call in (self._next, self._whole):
            if call is not None and call.active():
                call.cancel()
        self._next = self._whole = None

    def _cancel_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _listen(self) -> None:
        limits = self._limits
        self._next = self._clock.callLater(
            limits.silence_timeout if self._has_token else limits.first_token_timeout,
            self._silent,
        )

    def _silent(self) -> None:
        if self._has_token:
            seconds = self._limits.silence_timeout
            self._expire(
                f"the answer stopped for {seconds:g} s (--silence-timeout)",
                Cause.SILENCE_TIMEOUT,
            )
        else:
            seconds = self._limits.first_token_timeout
            self._expire(
                f"no token within {seconds:g} s (--first-token-timeout)",
                Cause.FIRST_TOKEN_TIMEOUT,
            )

    def _too_long(self) -> None:
        seconds = self._limits.turn_timeout
        self._expire(
            f"the answer took more than {seconds:g} s (--turn-timeout)",
            Cause.TURN_TIMEOUT,
        )

    def _expire(self, message: str, cause: Cause) -> None:
        self.stop()
        self._expired(
            TimedOut(f"{message}; try again, or raise the limit", cause=cause)
        )
