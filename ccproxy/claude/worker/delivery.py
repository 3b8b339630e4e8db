"""Delivers events to the listener of an answer, within time limits."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ccproxy.claude.worker.deadlines import Deadlines
from ccproxy.config.limits import TurnTimeouts
from ccproxy.core.backend import Listener
from ccproxy.core.errors import Cause, CCProxyError, RateLimited, TimedOut
from ccproxy.core.stream import (
    Event,
    Failed,
    Finished,
    InputJSONDelta,
    MessageStart,
    TextDelta,
    ThinkingDelta,
    UpstreamRetry,
    is_token,
)

# Nearly all events are of these types.
_PIECES = (TextDelta, ThinkingDelta, InputJSONDelta)


class Delivery:
    """The listener of one answer after the other, and the time limits.

    Attributes:
        listener: receives the events; None: nobody does.
        has_sent: whether a message of the last answer was sent.

    Args:
        limits: the time limits of an answer.
        clock: for timers.
        expired: called with the error of a limit that has passed.
    """

    def __init__(
        self,
        limits: TurnTimeouts,
        clock: IReactorTime,
        expired: Callable[[TimedOut], None],
    ) -> None:
        self._deadlines = Deadlines(limits, clock, expired)
        self.listener: Listener | None = None
        self.has_sent = False

    def begin(self, listener: Listener) -> None:
        """Begin an answer."""
        self.listener = listener
        self.has_sent = False
        self._deadlines.start()

    def leave(self) -> None:
        """Send no more events."""
        self.listener = None
        self._deadlines.stop()

    def pause(self) -> None:
        """Stop the limit on silence until `resume`."""
        self._deadlines.pause()

    def resume(self) -> None:
        """Start the limit on silence again."""
        self._deadlines.resume()

    def filter_events(
        self, events: list[Event], why: Callable[[CCProxyError], CCProxyError]
    ) -> list[Event]:
        """The events to send: up to the end of the answer.

        Args:
            events: the events that have arrived.
            why: maps an error to a more exact one, if more is known.
        """
        # A timer is set anew for each batch, not for each of its tokens.
        if any(map(is_token, events)):
            self._deadlines.token()
        for position, event in enumerate(events):
            if isinstance(event, _PIECES):
                continue
            match event:
                case UpstreamRetry(delay_seconds=delay_seconds):
                    if not self._deadlines.can_wait(delay_seconds):
                        error = RateLimited(
                            "the model's provider asks to wait for longer than this "
                            "request may take",
                            retry_after_seconds=delay_seconds,
                            cause=Cause.WAIT_TOO_LONG,
                        )
                        return [*events[:position], Failed(why(error))]
                    self._deadlines.waiting()
                case Finished() | Failed():
                    return events[: position + 1]
                case MessageStart():
                    self.has_sent = True
        return events
